"""Sections of the configuration as frozen dataclasses: read once, each value of its field's type."""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")

_WORDS: dict[Any, list[str]] = {
    int: ["a whole number"],
    float: ["a number"],
    bool: ["true", "false"],
    str: ["text"],
    type(None): ["null"],
}


@dataclass(frozen=True)
class Range:
    """The numbers that a field takes, as ``Annotated[int, Range(1)]``; none of them NaN or infinite.

    Args:
        low: the least.
        high: the most.
        above: whether `low` itself is too little.
        below: whether `high` itself is too much.
    """

    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    below: bool = False

    def holds(self, value: float) -> bool:
        """Whether a number lies within."""
        least = value > self.low if self.above else value >= self.low
        return least and (value < self.high if self.below else value <= self.high)

    def __str__(self) -> str:
        low, high = f"{self.low:g}", f"{self.high:g}"
        parts = [] if math.isinf(self.low) else [f"above {low}" if self.above else f"at least {low}"]
        parts += [] if math.isinf(self.high) else [f"below {high}" if self.below else f"at most {high}"]
        return " and ".join(parts)


Count = Annotated[int, Range(1)]
"""A whole number from 1 on."""
Index = Annotated[int, Range(0)]
"""A whole number from 0 on."""
Positive = Annotated[float, Range(0, above=True)]
"""A number above 0."""
NotNegative = Annotated[float, Range(0)]
"""A number from 0 on."""
OpenShare = Annotated[float, Range(0, 1, above=True, below=True)]
"""A number between 0 and 1."""


class ConfigurationError(ValueError):
    """A configuration that cannot be run; the message names the key and the way out."""


class MissingKeyError(ConfigurationError):
    """A key that has no default and was not given.

    Args:
        key: with its section.
    """

    def __init__(self, key: str):
        self.key = key
        super().__init__(f"{key} is missing: python -m chemscale.train --help lists all keys.")


def read_section(cls: type[T], values: Mapping[str, Any], name: str, *, extra: bool = False) -> T:
    """An instance of a dataclass from its part of the configuration.

    Lists become tuples where the field is one, whole numbers become floats where the field is a float;
    nothing else is converted, so that ``"3"`` is never 3. Nested dataclasses are read from nested mappings. A
    number is finite, and lies in the ``Range`` that its field is annotated with.

    Args:
        cls: a dataclass, whose own ``__post_init__`` may refuse values.
        values: the part, plain dictionaries.
        name: of the part, for messages: ``trainer``; empty at the top.
        extra: whether keys that the dataclass does not have are passed over (they belong to another one).

    Raises:
        MissingKeyError: a key is missing.
        ConfigurationError: a key that it does not have, or a value of another type or out of its range.
    """
    hints = get_type_hints(cls, include_extras=True)
    known = {field.name: field for field in fields(cls) if field.init}  # type: ignore[arg-type]
    unknown = sorted(set(values) - set(known))
    prefix = f"{name}." if name else ""
    if unknown and not extra:
        raise ConfigurationError(
            f"{prefix}{unknown[0]}: nothing reads this key. "
            f"There are {', '.join(prefix + key for key in known)}."
        )
    found = {}
    for key, field in known.items():
        if key in values:
            found[key] = _value(hints[key], values[key], f"{prefix}{key}")
        elif _is_required(field):
            raise MissingKeyError(f"{prefix}{key}")
    return cls(**found)


def _is_required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _value(hint: Any, value: Any, key: str) -> Any:
    """The value where it is of the type, converted as far as that loses nothing."""
    if hint is Any:
        return value
    choices = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    limits = [_limits(choice) for choice in choices]
    choices = tuple(choice for choice, _ in limits)
    for choice, limit in limits:
        fits, converted = _fits(choice, value, key)
        if fits:
            whole = float not in choices
            _refuse_outside(key, value, converted, limit, null=type(None) in choices, whole=whole)
            return converted
    words = list(dict.fromkeys(word for choice in choices for word in _words(choice)))
    if {"a whole number", "a number"} <= set(words):
        words.remove("a whole number")
    allowed = " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
    raise ConfigurationError(f"{key}={_shown(value)}: give {allowed}{_hint(choices, value, key)}.")


def _shown(value: Any) -> str:
    """A value as a command line has it, text in quotes."""
    if value is None or isinstance(value, bool):
        return str(value).lower() if value is not None else "null"
    return f"'{value}'" if isinstance(value, str) else str(value)


def _hint(choices: tuple[Any, ...], value: Any, key: str) -> str:
    """How the value that was probably meant is written; empty where nothing is near."""
    if isinstance(value, float) and value.is_integer() and int in choices:
        return f", written out: {key}={int(value)}"
    if isinstance(value, int | float) and str in choices:
        return f", in quotes where it looks like a number or a truth: '{key}=\"{_shown(value)}\"'"
    return ""


def _limits(hint: Any) -> tuple[Any, Range | None]:
    """A type, and the range that its numbers lie in where it is annotated with one."""
    if get_origin(hint) is not Annotated:
        return hint, None
    base, *notes = get_args(hint)
    return base, next((note for note in notes if isinstance(note, Range)), None)


def _refuse_outside(
    key: str, given: Any, value: Any, limit: Range | None, *, null: bool, whole: bool
) -> None:
    """Refuse a number that is not finite, or not in its range."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return
    if math.isfinite(value) and (limit is None or limit.holds(value)):
        return
    kind = "a whole number" if whole else "a number"
    wanted = f"{kind} {limit}" if limit is not None else "a finite number"
    raise ConfigurationError(f"{key}={given}: give {wanted}{' or null' if null else ''}.")


def _fits(hint: Any, value: Any, key: str) -> tuple[bool, Any]:
    origin = get_origin(hint)
    if hint is type(None):
        return value is None, None
    if origin is Literal:
        return any(value == allowed and type(value) is type(allowed) for allowed in get_args(hint)), value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            return False, None
        parts = get_args(hint) or (Any, ...)
        if len(parts) == 2 and parts[1] is Ellipsis:
            return True, tuple(_value(parts[0], part, key) for part in value)
        if len(parts) != len(value):
            raise ConfigurationError(f"{key}={value}: give a list of {len(parts)}.")
        return True, tuple(_value(hint, part, key) for hint, part in zip(parts, value, strict=True))
    if origin is dict or hint is dict:
        return isinstance(value, Mapping), dict(value) if isinstance(value, Mapping) else None
    if isinstance(hint, type) and is_dataclass(hint):
        mapping = isinstance(value, Mapping)
        return mapping, read_section(hint, value, key) if mapping else None
    if hint is bool:
        return isinstance(value, bool), value
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool), value
    if hint is float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number, float(value) if number else None
    return isinstance(value, hint), value


def _words(hint: Any) -> list[str]:
    """What may be given, in words."""
    if get_origin(hint) is Literal:
        return [str(choice) for choice in get_args(hint)]
    if get_origin(hint) is tuple:
        return ["a list"]
    if get_origin(hint) is dict or hint is dict or is_dataclass(hint):
        return ["a mapping"]
    return _WORDS.get(hint, [getattr(hint, "__name__", str(hint))])
