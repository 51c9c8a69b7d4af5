"""Expanding a sweep into points: a product of axes, a list of points, and the command line on top."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException


class SweepError(ValueError):
    """A sweep that does not describe points."""


def step_at(share: float, steps: int) -> int:
    """The optimiser step at which a run that is trained to a share of its steps saves itself and ends."""
    return max(1, round(share * steps))


def expand(
    arguments: Sequence[str], axes: Mapping[str, Any], points: Sequence[Mapping[str, Any]]
) -> list[list[str]]:
    """Overrides of every point: arguments of the command line first, then the point's own.

    A sweep on the command line (``model.width=16,32``) replaces the axis of that key or adds one; a single
    value (``model.width=16``) fixes it. `points` are taken as they are, each multiplied by the axes.

    Args:
        arguments: the command line.
        axes: override key to the list of its values.
        points: mappings of values that go together.

    Raises:
        SweepError: an axis without values, a point that is no mapping, or nothing to sweep.
    """
    fixed, swept = _split(arguments)
    product: dict[str, list[str]] = {}
    for key, values in axes.items():
        if isinstance(values, str) or not isinstance(values, Sequence) or not values:
            raise SweepError(f"hydra.sweeper.axes.{key}: give a list of values, got {values!r}.")
        product[key] = [f"{key}={_text(value)}" for value in values]
    fixed_keys = {argument.split("=", 1)[0].lstrip("+~") for argument in fixed}
    product = {key: values for key, values in product.items() if key not in fixed_keys} | swept
    listed = []
    for number, point in enumerate(points):
        if not isinstance(point, Mapping):
            raise SweepError(f"hydra.sweeper.points[{number}]: give a mapping key: value, got {point!r}.")
        own = {key: value for key, value in point.items() if key not in fixed_keys and key not in swept}
        listed.append([f"{key}={_text(value)}" for key, value in own.items()])
    axis_choices = list(itertools.product(*product.values()))
    return [[*fixed, *point, *chosen] for point in listed or [[]] for chosen in axis_choices]


def is_swept(argument: str) -> bool:
    """Whether an override of the command line lists several values.

    Args:
        argument: ``key=value`` or ``key=value,value``.
    """
    return OverridesParser.create().parse_override(argument).is_sweep_override()


def override_text(key: str, value: Any) -> str:
    """A key and its value as an override has them, in quotes where Hydra's grammar needs them.

    Args:
        key: dotted name.
        value: number, text, truth, list or mapping of them, or None.
    """
    return f"{key}={_text(value)}"


def _split(arguments: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
    fixed: list[str] = []
    swept: dict[str, list[str]] = {}
    parsed = OverridesParser.create().parse_overrides(list(arguments))
    for argument, override in zip(arguments, parsed, strict=True):
        if override.is_sweep_override():
            key = override.get_key_element()
            swept[key.lstrip("+")] = [f"{key}={value}" for value in override.sweep_string_iterator()]
        else:
            fixed.append(argument)
    return fixed, swept


def _text(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return "[" + ",".join(_text(v) for v in value) + "]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_text(v)}" for key, v in value.items()) + "}"
    return _quoted_where_needed(value) if isinstance(value, str) else str(value)


def _quoted_where_needed(text: str) -> str:
    """Text as an override takes it: in quotes where Hydra's grammar would refuse it or read it as another."""
    try:
        override = OverridesParser.create().parse_override(f"key={text}")
        listed: Any = OverridesParser.create().parse_override(f"key=[{text}]").value()
        (inside,) = listed
        own = override.value()
        plain = (
            not override.is_sweep_override() and own == inside and (not isinstance(own, str) or own == text)
        )
    except (HydraException, ValueError, TypeError):
        plain = False
    if plain:
        return text
    # The grammar halves a backslash before a quote only.
    escaped = re.sub(r"(\\*)'", lambda found: 2 * found[1] + "\\'", text)
    trailing = len(text) - len(text.rstrip("\\"))
    return f"'{escaped}{trailing * chr(92)}'"
