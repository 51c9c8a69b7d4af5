"""Every key of the configuration with type, default and meaning, read from the YAML files and their comments.

The comment after a key says what it means::

    molecules: null   # int: train on the first so many molecules; null: all
    salts: keep       # keep | largest | drop: fragments of a molecule

What stands before the first colon is the type where it is one: names of ``KINDS`` and choices between bars.
It is left out where the default shows it. The reference of the documentation is made from this, and a
composed configuration is checked against it: a key that nothing reads is an error.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from chemscale.common.paths import CONFIG_DIRECTORY, own_folder

KINDS = (
    "int",
    "number",
    "text",
    "path",
    "mapping",
    "true",
    "false",
    "null",
    "list of text",
    "list of numbers",
)
NUMBER = r"[-+]?\d+(\.\d*)?([eE][-+]?\d+)?"
ALIKE = 0.8
"""Share of letters in common from which a name may be another one mistyped."""
OF_THE_OPTION = "part of the option"
"""Ends the meaning of a key by which options of a group are told apart."""
NOT_ROOTS = ("sweep", "recipe")
"""Groups that only set keys of others."""


class UnknownKeyError(ValueError):
    """A key that nothing reads; the message names it and the nearest ones that are read."""


@dataclass(frozen=True)
class Key:
    """One key.

    Args:
        name: as on a command line, ``data.molecules``.
        default: as it stands in the file.
        kind: its type: names of ``KINDS`` and choices between bars; empty where nothing tells.
        meaning: one line; empty where the file says nothing.
        stated: whether the comment names the type.
    """

    name: str
    default: str
    kind: str
    meaning: str
    stated: bool = False

    @property
    def is_open(self) -> bool:
        """Whether it may hold names of the user's own."""
        return "mapping" in self.kind

    @property
    def tells_apart(self) -> bool:
        return self.meaning.endswith(OF_THE_OPTION)


@dataclass(frozen=True)
class Option:
    """One file: ``group=name``; group is empty for train and prepare.

    Args:
        about: the comment that the file begins with.
        bases: options of the same group that it is built on.
        keys: its own and those of its bases, by name.
        own: names that the file itself sets.
    """

    group: str
    name: str
    about: str
    bases: tuple[str, ...]
    keys: dict[str, Key]
    own: tuple[str, ...]

    @property
    def can_be_chosen(self) -> bool:
        """Whether it is more than what others of its group are built on."""
        siblings = [option(self.group, name) for name in groups()[self.group] if name != self.name]
        return self.tells_apart or not any(o.tells_apart and self.name in o.bases for o in siblings)

    @property
    def tells_apart(self) -> bool:
        return any(key.tells_apart for key in self.keys.values())

    def fits(self, values: Mapping[str, Any], *, whole: bool) -> bool:
        """Whether a configuration may have been composed with it: keys that tell apart agree, and all
        are there if `whole`."""
        if whole and not self.keys.keys() <= values.keys():
            return False
        apart = [key for key in self.keys.values() if key.tells_apart]
        return all(str(values.get(key.name)) == key.default for key in apart)


# --- reading --------------------------------------------------------------------------------------------


@cache
def groups() -> dict[str, tuple[str, ...]]:
    """Options of every group, by its name."""
    folders = [*sorted(path for path in CONFIG_DIRECTORY.iterdir() if path.is_dir()), own_folder() / "site"]
    return {folder.name: tuple(sorted(p.stem for p in folder.glob("*.yaml"))) for folder in folders}


@cache
def option(group: str, name: str) -> Option:
    """Read an option; group is empty for ``train`` and ``prepare``."""
    folder = own_folder() / group if group == "site" else CONFIG_DIRECTORY / group
    return read_option(folder / f"{name}.yaml", group)


def read_option(path: Path, group: str) -> Option:
    """Read one file of a group, and the options of that group that it is built on."""
    text = path.read_text()
    lines = text.splitlines()
    root = yaml.compose(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    own: list[Key] = []
    bases: tuple[str, ...] = ()
    for key, value in root.value if root else ():
        if key.value == "defaults" and group:
            bases = tuple(item.value for item in value.value if isinstance(item, yaml.ScalarNode))
        elif key.value not in ("defaults", "hydra"):
            prefix = "" if not group or "@package _global_" in lines[0] else f"{group}."
            own += _keys(prefix, key, value, lines)
    keys: dict[str, Key] = {}
    for base in bases:
        if base != "_self_":
            keys |= option(group, base).keys
    for key in own:  # a key that is set again is what it was, unless a type says otherwise
        before = keys.get(key.name)
        keys[key.name] = replace(before, default=key.default) if before and not key.stated else key
    head = [line for line in lines if not line.startswith("# @package")]
    ends = next((n for n, line in enumerate(head) if not line.startswith("#")), len(head))
    about = " ".join(line.lstrip("# ") for line in head[:ends])
    return Option(group, path.stem, about, bases, keys, tuple(key.name for key in own))


def _keys(prefix: str, key: yaml.Node, value: yaml.Node, lines: list[str]) -> Iterator[Key]:
    name = f"{prefix}{key.value}"
    if isinstance(value, yaml.MappingNode) and value.value:
        for inner, node in value.value:
            yield from _keys(f"{name}.", inner, node, lines)
        return
    block = isinstance(value, yaml.SequenceNode) and not value.flow_style
    comment = _comment(lines, key.end_mark if block else value.end_mark)
    default = _source(lines, value) if not block else yaml.safe_dump(_plain(value), default_flow_style=True)
    kind, meaning = split_comment(comment)
    yield Key(name, default.strip(), _kind(kind, value), meaning, bool(kind))


def _comment(lines: list[str], mark: yaml.Mark) -> str:
    """What stands behind a key, and on lines of comment alone right below it in the same column."""
    column = lines[mark.line].find("#", mark.column)
    if column < 0:
        return ""
    found = [lines[mark.line][column + 1 :].strip()]
    for line in lines[mark.line + 1 :]:
        if not re.match(rf" {{{column}}}#", line):
            break
        found.append(line[column + 1 :].strip())
    return " ".join(found)


def split_comment(comment: str) -> tuple[str, str]:
    """Type, empty where none is stated, and meaning of a comment."""
    head, colon, rest = comment.partition(": ")
    words = head.split(" | ")
    is_type = len(words) > 1 or (head in KINDS and head != "null")
    if colon and is_type and all(re.fullmatch(r"[\w/.-]+|list of \w+", word) for word in words):
        return head, rest
    return "", comment


def _kind(stated: str, value: yaml.Node) -> str:
    if stated:
        null = value.tag.endswith(":null") and "null" not in stated.split(" | ")
        return f"{stated} | null" if null else stated
    if isinstance(value, yaml.SequenceNode):
        return "list of numbers" if value.value else ""
    if not isinstance(value, yaml.ScalarNode) or value.value == "???" or value.tag.endswith(":null"):
        return ""
    if re.fullmatch(NUMBER, value.value) and not value.style:
        return "int" if value.tag.endswith(":int") else "number"
    return "true | false" if value.tag.endswith(":bool") else "text"


def _source(lines: list[str], node: yaml.Node) -> str:
    start, end = node.start_mark, node.end_mark
    return lines[start.line][start.column : end.column] if start.line == end.line else str(node.value)


def _plain(node: yaml.Node) -> Any:
    return yaml.safe_load(yaml.serialize(node))


# --- checking -------------------------------------------------------------------------------------------


def check_keys(config: DictConfig, root: str = "train") -> None:
    """Refuse a composed configuration that holds a key that nothing reads.

    Args:
        root: the file that it was composed from, train or prepare.

    Raises:
        UnknownKeyError: the first such key, and the nearest ones that there are.
    """
    tree: Any = OmegaConf.to_container(config, resolve=False)
    tree.pop("hydra", None)
    opened = {name for o in _options(root) for name, key in o.keys.items() if key.is_open}
    values = dict(_flatten("", tree, opened))
    known = _known(values, root)
    for name in values:
        if name not in known and not name.endswith("._target_") and not _within(name, known):
            raise UnknownKeyError(explain(name, known))


def explain(name: str, known: Mapping[str, str] | None = None) -> str:
    """One paragraph on a key that there is not: the nearest keys, or the options that have it.

    Args:
        known: names, and meanings, that the configuration at hand could have; all that any could, if None.
    """
    group, dot, _ = name.partition(".")
    having = [o for o in _options("train") if o.group and name in o.keys and o.can_be_chosen]
    if having and known is not None:
        listed = ", ".join(f"{o.group}={o.name}" for o in having)
        return (
            f"{name}: the chosen {having[0].group} has no such key, nothing would read it; {listed} "
            f"{'has' if len(having) == 1 else 'have'} it."
        )
    if group in NOT_ROOTS:
        return (
            f"{name}: nothing reads this key. A {group} file of your own begins with the line "
            "`# @package _global_`, so that its keys stand at the top."
        )
    names = _meanings(_options("train")) if known is None else dict(known)
    if not dot:
        names |= dict.fromkeys(groups(), "")
    if near := _nearest(name, names):
        told = " or ".join(f"{other} ({names[other]})" if names[other] else other for other in near)
        return f"{name}: nothing reads a key of this name. Did you mean {told}?"
    siblings = sorted(other for other in names if dot and other.startswith(f"{group}."))
    listed = ", ".join(siblings or sorted({other.split(".", 1)[0] for other in names}))
    where = group if siblings else "the configuration"
    return (
        f"{name}: nothing reads a key of this name. In {where} there are {listed}: python -m chemscale.train "
        "--help. Values of your own for ${…} in sweep files go below variables."
    )


def _options(root: str) -> list[Option]:
    """The root and all options of its groups."""
    chosen = groups() if root == "train" else {"data": groups()["data"]}
    roots = {group: names for group, names in chosen.items() if group not in NOT_ROOTS}
    return [option("", root), *(option(group, name) for group, names in roots.items() for name in names)]


def _known(values: Mapping[str, Any], root: str) -> dict[str, str]:
    """Names, and meanings, that a configuration could have, from the options that it may be composed of."""
    first, *options = _options(root)
    chosen = [first]
    for group in {o.group for o in options}:
        members = [o for o in options if o.group == group]
        fitting = [o for o in members if o.fits(values, whole=True)]
        chosen += fitting or [o for o in members if o.fits(values, whole=False)] or members
    known = _meanings(chosen)
    return (dict.fromkeys(_of_classes(values), "") if root == "train" else {}) | known


def _meanings(options: Iterable[Option]) -> dict[str, str]:
    """By name; empty where options differ in what they say."""
    found: dict[str, set[str]] = {}
    for o in options:
        for name, key in o.keys.items():
            found.setdefault(name, set()).update({key.meaning} - {""})
    return {name: meanings.pop() if len(meanings) == 1 else "" for name, meanings in found.items()}


def _of_classes(values: Mapping[str, Any]) -> set[str]:
    """Fields of the classes that parts are handed to whole: a model of one's own needs no file of ours."""
    from chemscale.models.chemgpt import ChemGPTConfig
    from chemscale.models.potentials import CONFIGS, is_potential
    from chemscale.tasks.optimisation import AdamW

    given = {"vocab_size", "pad_id", "bos_id", "eos_id"}  # by the tokenizer
    family = str(values.get("model.family"))
    if family != "chemgpt" and not is_potential(family):  # refused by its name
        return {name for name in values if name.startswith("model.")}
    shape: Any = ChemGPTConfig if family == "chemgpt" else CONFIGS[family]
    found = {f"model.{field.name}" for field in fields(shape) if field.name not in given}
    return found | {"model.family"} | {f"optimizer.{field.name}" for field in fields(AdamW)}


def _flatten(prefix: str, tree: Mapping[str, Any], opened: set[str]) -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and "_target_" in value:
            yield f"{name}._target_", value["_target_"]  # its class refuses what it does not know
        elif isinstance(value, Mapping) and value and name not in opened:
            yield from _flatten(f"{name}.", value, opened)
        else:
            yield name, value


def _within(name: str, known: Iterable[str]) -> bool:
    """Whether it is an empty part, such as a section whose keys were all taken out."""
    return name in groups() or any(other.startswith(f"{name}.") for other in known)


def _nearest(name: str, names: Iterable[str], most: int = 3) -> list[str]:
    """Names whose last words are alike, those of a like part first."""
    part, _, leaf = name.rpartition(".")

    def likeness(other: str) -> float:
        their_part, _, their_leaf = other.rpartition(".")
        words = difflib.SequenceMatcher(None, leaf, their_leaf).ratio()
        parts = difflib.SequenceMatcher(None, part, their_part).ratio()  # 1 where neither has one
        return 0.8 * words + 0.2 * parts

    ranked = sorted(((likeness(other), other) for other in names), reverse=True)
    best = ranked[0][0] if ranked else 0.0
    return [other for score, other in ranked[:most] if score >= max(ALIKE, best - 0.1)]
