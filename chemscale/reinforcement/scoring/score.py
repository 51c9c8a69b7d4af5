"""A score of molecules from 0 to 1: components, each with a transform and a weight, and their aggregate."""

from __future__ import annotations

import functools
import json
import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from chemscale.reinforcement.scoring.errors import OracleError, ScoringError
from chemscale.reinforcement.scoring.functions import TAKES, Values, as_number, describe, resolve
from chemscale.reinforcement.scoring.shipped import SHIPPED, WITHIN_ONE
from chemscale.reinforcement.scoring.transforms import Transform

AGGREGATES = ("product", "mean", "least")
WORDS = ("transform", "weight", "takes", "name")
"""Keys of a component that are not options of its function."""
SLACK = 1e-6
"""By which rounding may leave the range from 0 to 1."""


@dataclass(frozen=True)
class Component:
    """One scoring function with its options, transform and weight.

    Args:
        function: shipped name, ``module:function``, ``file.py:function``, or a callable of a SMILES or of a
            list of SMILES.
        options: keyword arguments of the function.
        transform: ``NAME:NUMBERS`` to a share from 0 to 1; None where the function gives one.
        weight: in the aggregate.
        takes: ``one`` or ``list``; None: by the annotation of the first parameter.
        name: in tables.

    Raises:
        ScoringError: something that cannot work.
    """

    function: str | Callable[..., Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    transform: str | None = None
    weight: float = 1.0
    takes: str | None = None
    name: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.weight, int | float) or not 0 < self.weight < math.inf:
            raise ScoringError(f"weight={self.weight} of {self.label}: a number above 0.")
        if self.takes not in (None, *TAKES):
            raise ScoringError(f"takes={self.takes} of {self.label}: choose {' or '.join(TAKES)}.")
        if self.transform is not None:
            Transform(str(self.transform))
        elif isinstance(self.function, str) and self.function in SHIPPED and self.function not in WITHIN_ONE:
            raise ScoringError(
                f"{self.function} has a unit of its own: say what is wanted of it by a transform, for "
                "instance transform=window:1,4 or transform=sigmoid:LOW,HIGH."
            )

    @property
    def label(self) -> str:
        """In tables and messages."""
        return self.name or describe(self.function).rpartition(":")[2]

    def resolved(self) -> tuple[Values, bool]:
        """Its function of several SMILES, and whether it wants them together; found once a process."""
        if callable(self.function):
            return resolve(self.function, self.options, self.takes)
        return _resolved(self.function, json.dumps(dict(self.options), sort_keys=True), self.takes)

    def to_dict(self) -> dict[str, Any]:
        """What decides its values, as JSON has it."""
        fields = {"options": dict(self.options), "transform": self.transform, "weight": self.weight}
        return {"function": describe(self.function), **fields, "name": self.label}


@functools.lru_cache(maxsize=64)
def _resolved(function: str, options: str, takes: str | None) -> tuple[Values, bool]:
    return resolve(function, json.loads(options), takes)


@dataclass(frozen=True)
class Outcome:
    """What scoring one molecule gave.

    Args:
        score: from 0 to 1; NaN where there is a problem.
        values: of each component in its own unit; NaN where there is none.
        problem: empty, or what a component did.
    """

    score: float
    values: tuple[float, ...]
    problem: str = ""


@dataclass(frozen=True)
class Score:
    """Several components as one number from 0 to 1.

    Args:
        components: at least one.
        aggregate: ``product`` Π sᵢ^(wᵢ/Σw), the weighted geometric mean of REINVENT; ``mean`` Σ wᵢsᵢ/Σw;
            ``least``, the smallest.

    Raises:
        ScoringError: none, two of a name, or no such aggregate.
    """

    components: tuple[Component, ...]
    aggregate: str = "product"

    def __post_init__(self) -> None:
        if not self.components:
            raise ScoringError("A score needs at least one component.")
        if self.aggregate not in AGGREGATES:
            raise ScoringError(f"aggregate={self.aggregate}: choose {', '.join(AGGREGATES)}.")
        labels = [each.label for each in self.components]
        if twice := sorted({label for label in labels if labels.count(label) > 1}):
            raise ScoringError(f"Two components are called {twice[0]}: give each a name=.")

    @property
    def labels(self) -> list[str]:
        """Of the components."""
        return [each.label for each in self.components]

    def check(self) -> bool:
        """Find every function, before anything is computed; whether one of them wants SMILES together.

        Raises:
            ScoringError: one is not there, or does not take its options.
        """
        resolved = [each.resolved() for each in self.components]
        return any(together for _, together in resolved)

    def outcomes(self, smiles: Sequence[str]) -> list[Outcome]:
        """Score molecules; what a function does to one of them is in its outcome, not raised.

        Args:
            smiles: canonical.

        Raises:
            ScoringError: a function that gives another number of values, or values outside 0 to 1 without a
                transform: every molecule after this one would fail in the same way.
        """
        columns = [self._column(each, smiles) for each in self.components]
        return [self._outcome(of, row) for of, *row in zip(smiles, *columns, strict=True)]

    def _column(self, component: Component, smiles: Sequence[str]) -> list[float | str]:
        """A value for each molecule, or in words why there is none."""
        call, together = component.resolved()
        batches = [list(smiles)] if together else [[each] for each in smiles]
        column: list[float | str] = []
        for batch in batches:
            try:
                values = list(call(batch))
            except Exception as error:
                text = " ".join(str(error).split())
                column += [f"{component.label} raised {type(error).__name__}: {text}"] * len(batch)
                continue
            if len(values) != len(batch):
                raise ScoringError(
                    f"{component.label} gave {len(values)} values for {len(batch)} SMILES: one each is "
                    "needed."
                )
            column += [_number(component, value) for value in values]
        return column

    def _outcome(self, smiles: str, row: Sequence[float | str]) -> Outcome:
        values = tuple(math.nan if isinstance(value, str) else value for value in row)
        if problems := [value for value in row if isinstance(value, str)]:
            return Outcome(math.nan, values, "; ".join(problems))
        shares = [_share(smiles, c, value) for c, value in zip(self.components, values, strict=True)]
        return Outcome(self._aggregated(shares), values)

    def _aggregated(self, shares: list[float]) -> float:
        if len(shares) == 1 or self.aggregate == "least":
            return min(shares)
        weights = [each.weight for each in self.components]
        if self.aggregate == "mean":
            return sum(w * s for w, s in zip(weights, shares, strict=True)) / sum(weights)
        if min(shares) <= 0:
            return 0.0
        return math.exp(sum(w * math.log(s) for w, s in zip(weights, shares, strict=True)) / sum(weights))

    def to_dict(self) -> dict[str, Any]:
        """What decides it, as JSON has it."""
        return {"aggregate": self.aggregate, "components": [each.to_dict() for each in self.components]}


def _number(component: Component, value: Any) -> float | str:
    try:
        return as_number(value)
    except OracleError as error:
        return f"{component.label} {error}"


def _share(smiles: str, component: Component, value: float) -> float:
    share = Transform(str(component.transform))(value) if component.transform is not None else value
    if not -SLACK <= share <= 1 + SLACK:
        raise ScoringError(
            f"{component.label} gave {value:g} for {smiles}: a score lies from 0 (unwanted) to 1 (all "
            "that is wanted). Give the component a transform, for instance transform=sigmoid:LOW,HIGH."
        )
    return min(1.0, max(0.0, share))


# --- how a score is written ---


def as_score(wanted: Any, aggregate: str = "product") -> Score:
    """A score from any of the ways to write it.

    Args:
        wanted: a ``Score``; a ``Component``; a callable; a text ``FUNCTION [KEY=VALUE …]`` such as
            ``similarity smiles=CCO transform=linear:0,0.75``; a ``.yaml`` file; or a list of these.
        aggregate: of several components; a file may say its own.

    Raises:
        ScoringError: something in it cannot work.
    """
    if isinstance(wanted, Score):
        return wanted
    several = list(wanted) if isinstance(wanted, list | tuple) else [wanted]
    if len(several) == 1 and _is_file(several[0]):
        return _from_file(Path(several[0]))
    if files := [each for each in several if _is_file(each)]:
        raise ScoringError(f"{files[0]}: a file of components stands alone: put all components into it.")
    return Score(tuple(_component(each) for each in several), aggregate)


def _is_file(wanted: Any) -> bool:
    return isinstance(wanted, str | Path) and str(wanted).endswith((".yaml", ".yml"))


def _component(wanted: Any) -> Component:
    if isinstance(wanted, Component):
        return wanted
    if callable(wanted):
        return Component(wanted)
    if isinstance(wanted, Mapping):
        return _from_mapping(wanted, "a component")
    lexer = shlex.shlex(str(wanted), posix=True)
    # Backslashes and number signs belong to SMILES.
    lexer.whitespace_split, lexer.escape, lexer.commenters = True, "", ""
    try:
        name, *words = list(lexer)
    except ValueError:
        raise ScoringError(f"{wanted!r} is no scoring function: write FUNCTION [KEY=VALUE …].") from None
    raw: dict[str, Any] = {"function": name}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not key.isidentifier():
            raise ScoringError(f"{word!r} in {str(wanted)!r}: after the function stand KEY=VALUE only.")
        if key in WORDS:
            raw[key] = _value(text) if key == "weight" else text
        else:
            raw.setdefault("options", {})[key] = _value(text)
    return _from_mapping(raw, repr(str(wanted)))


def _value(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text, text)


def _from_mapping(raw: Mapping[str, Any], where: str) -> Component:
    keys = {"function", "options", *WORDS}
    if not isinstance(raw, Mapping) or "function" not in raw or not set(raw) <= keys:
        raise ScoringError(
            f"{where}: a component has a function, and of {', '.join(sorted(keys))} what it needs."
        )
    options = raw.get("options") or {}
    if not isinstance(options, Mapping):
        raise ScoringError(f"{where}: options are KEY: VALUE.")
    if wrong := [k for k, v in options.items() if k in ("smiles", "smarts") and not isinstance(v, str)]:
        raise ScoringError(f"{where}: {wrong[0]} is no text in YAML; put it into quotes.")
    transform = raw.get("transform")
    return Component(
        raw["function"],
        dict(options),
        None if transform is None else str(transform),
        raw.get("weight", 1.0),
        raw.get("takes"),
        str(raw.get("name", "")),
    )


def _from_file(path: Path) -> Score:
    try:
        raw = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ScoringError(f"{path}: cannot be read ({' '.join(str(error).split())}).") from None
    if not isinstance(raw, dict) or not isinstance(raw.get("components"), list):
        raise ScoringError(f"{path}: it holds components: a list of function, options, transform and weight.")
    if extra := sorted(set(raw) - {"components", "aggregate"}):
        raise ScoringError(f"{path}: nothing reads {extra[0]}. It holds components and aggregate.")
    made = []
    for number, each in enumerate(raw["components"], 1):
        where = f"{path}, component {number}"
        made.append(_from_mapping(each if isinstance(each, Mapping) else {"function": each}, where))
    return Score(tuple(made), raw.get("aggregate", "product"))
