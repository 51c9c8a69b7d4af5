"""Refuse a key of a composed configuration that nothing reads, and name the one that may have been meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from typing import Any

from omegaconf import DictConfig, OmegaConf

from chemscale.config.options import Option, groups, option

MIN_LIKENESS = 0.8
"""Share of letters in common from which a name may be another one mistyped."""
GROUPS_OF_PREPARE = ("data", "launcher", "site")
OVERRIDE_GROUPS = ("sweep", "recipe")
"""Groups whose files only set keys of others."""


class UnknownKeyError(ValueError):
    """A key that nothing reads; the message names it and the nearest ones that are read."""


def check_keys(config: DictConfig, root: str = "train") -> None:
    """Refuse a composed configuration that holds a key that nothing reads.

    Args:
        config: as composed, interpolations unresolved.
        root: the file that it was composed from, train or prepare.

    Raises:
        UnknownKeyError: the first such key, and the nearest ones that there are.
    """
    tree: Any = OmegaConf.to_container(config, resolve=False)
    tree.pop("hydra", None)
    opened = {name for o in _options(root) for name in o.keys}  # what a mapping there means, its reader says
    values = dict(_flatten("", tree, opened))
    known = _known(values, root)
    for name in values:
        if name not in known and not name.endswith("._target_") and not _within(name, known):
            raise UnknownKeyError(explain(name, known))


def explain(name: str, known: Mapping[str, str] | None = None) -> str:
    """One paragraph on a key that does not exist: the nearest keys, or the options that have it.

    Args:
        name: of the key, dotted.
        known: names, and meanings, that the configuration at hand could have; all that any could, if None.
    """
    group, dot, _ = name.partition(".")
    having = [o for o in _options("train") if o.group and name in o.keys and o.can_be_chosen]
    names_of = {o.name for o in having}
    having = [o for o in having if not names_of & set(o.bases)]  # what is built on them has it too
    if having:
        listed = ", ".join(f"{o.group}={o.name}" for o in having)
        return (
            f"{name}: the chosen {having[0].group} has no such key, nothing would read it; {listed} "
            f"{'has' if len(having) == 1 else 'have'} it."
        )
    if group in OVERRIDE_GROUPS:
        return (
            f"{name}: nothing reads this key. A {group} file of your own begins with the line "
            "`# @package _global_`, so that its keys stand at the top."
        )
    names = _meanings(_options("train")) if known is None else dict(known)
    if not dot:
        names |= dict.fromkeys(groups(), "")
    if near := _nearest(name, names):
        meant = " or ".join(f"{other} ({names[other]})" if names[other] else other for other in near)
        return f"{name}: nothing reads a key of this name. Did you mean {meant}?"
    siblings = sorted(other for other in names if dot and other.startswith(f"{group}."))
    listed = ", ".join(siblings or sorted({other.split(".", 1)[0] for other in names}))
    where = group if siblings else "the configuration"
    return (
        f"{name}: nothing reads a key of this name. In {where} there are {listed}: python -m chemscale.train "
        "--help. Values of your own for ${…} in sweep files go below variables."
    )


def _options(root: str) -> list[Option]:
    """The root and all options of its groups."""
    chosen = groups() if root == "train" else {name: groups()[name] for name in GROUPS_OF_PREPARE}
    roots = {group: names for group, names in chosen.items() if group not in OVERRIDE_GROUPS}
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
    """Meanings of keys by name; empty where options differ."""
    found: dict[str, set[str]] = {}
    for o in options:
        for name, key in o.keys.items():
            found.setdefault(name, set()).update({key.meaning} - {""})
    return {name: meanings.pop() if len(meanings) == 1 else "" for name, meanings in found.items()}


def _of_classes(values: Mapping[str, Any]) -> set[str]:
    """Fields of the classes that parts are handed to whole: a model of one's own needs no file of ours."""
    # Imported here: these load torch, and an error message or a bare --help does not need it.
    from chemscale.models.chemgpt import ChemGPTConfig
    from chemscale.tasks.optimisation import AdamW

    given = {"vocab_size", "pad_id", "bos_id", "eos_id"}  # by the tokenizer
    family = str(values.get("model.family"))
    shape: Any = ChemGPTConfig
    if family != "chemgpt":
        from chemscale.models.potentials import CONFIGS, is_potential

        if not is_potential(family):  # refused by its name
            return {name for name in values if name.startswith("model.")}
        shape = CONFIGS[family]
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


def _nearest(name: str, names: Iterable[str], limit: int = 3) -> list[str]:
    """Names whose last words are alike, those of a like part first."""
    part, _, leaf = name.rpartition(".")

    def likeness(other: str) -> float:
        their_part, _, their_leaf = other.rpartition(".")
        words = difflib.SequenceMatcher(None, leaf, their_leaf).ratio()
        parts = difflib.SequenceMatcher(None, part, their_part).ratio()  # 1 where neither has one
        return 0.8 * words + 0.2 * parts

    ranked = sorted(((likeness(other), other) for other in names), reverse=True)
    best = ranked[0][0] if ranked else 0.0
    return [other for score, other in ranked[:limit] if score >= max(MIN_LIKENESS, best - 0.1)]
