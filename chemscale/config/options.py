"""The options of the configuration, and their keys with type, default and meaning, read from the YAML files.

The comment after a key is its meaning::

    molecules: null   # int: train on the first so many molecules; null: all
    salts: keep       # keep | largest | drop: fragments of a molecule

What stands before the first colon is the type where it is one: names of ``KINDS`` and choices between bars.
It is left out where the default shows it. The reference of the documentation is made from this.

What is cached here is a pure function of files that belong to the package and do not change while it runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml

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
DISTINCTIVE = "part of the option"
"""Ends the meaning of a key whose value differs between the options of a group."""


@dataclass(frozen=True)
class Key:
    """One key of the configuration.

    Args:
        name: as on a command line, ``data.molecules``.
        default: as it stands in the file.
        kind: its type: names of ``KINDS`` and choices between bars; empty where it is unknown.
        meaning: one line; empty where the file has none.
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
    def is_distinctive(self) -> bool:
        """Whether its value differs between the options of its group."""
        return self.meaning.endswith(DISTINCTIVE)


@dataclass(frozen=True)
class Option:
    """One file of the configuration, chosen as ``group=name``.

    Args:
        group: its folder; empty for ``train`` and ``prepare``.
        name: of the file.
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
        return self.is_distinctive or not any(o.is_distinctive and self.name in o.bases for o in siblings)

    @property
    def is_distinctive(self) -> bool:
        """Whether one of its keys has a value that the others of its group do not have."""
        return any(key.is_distinctive for key in self.keys.values())

    def fits(self, values: Mapping[str, Any], *, whole: bool) -> bool:
        """Whether a configuration may have been composed with it: its distinctive keys agree.

        Args:
            values: of the configuration, by their dotted names.
            whole: also ask that every key of the option is there.
        """
        if whole and not all(_is_given(name, values) for name in self.keys):
            return False
        distinctive = [key for key in self.keys.values() if key.is_distinctive]
        return all(str(values.get(key.name)) == key.default for key in distinctive)


def _is_given(name: str, values: Mapping[str, Any]) -> bool:
    """Whether a key has a value, or stands within a part that was given one as a whole (``data.units=5``)."""
    parts = name.split(".")
    return any(".".join(parts[:n]) in values for n in range(1, len(parts) + 1))


@cache
def groups() -> dict[str, tuple[str, ...]]:
    """Options of every group, by its name."""
    folders = [*sorted(path for path in CONFIG_DIRECTORY.iterdir() if path.is_dir()), own_folder() / "site"]
    return {folder.name: tuple(sorted(p.stem for p in folder.glob("*.yaml"))) for folder in folders}


@cache
def option(group: str, name: str) -> Option:
    """Read an option that is shipped.

    Args:
        group: its folder; empty for ``train`` and ``prepare``.
        name: of the file, without ``.yaml``.
    """
    folder = own_folder() / group if group == "site" else CONFIG_DIRECTORY / group
    return read_option(folder / f"{name}.yaml", group)


def read_option(path: Path, group: str) -> Option:
    """Read one file of a group, and the options of that group that it is built on.

    Args:
        path: of the file.
        group: that it belongs to.
    """
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
    for key in own:  # a key that is set again is what it was, unless the comment names a type
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
