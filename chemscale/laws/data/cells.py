"""Numbers as people write them in tables, read where there is one way to read them and refused otherwise.

Read: ``1e6``, ``1M`` and ``4.2B`` (sizes), ``12%`` (losses), ``1 000 000``, ``1_000_000``, a unicode minus,
and ``1,000,000`` or ``1,37`` by the convention that the column itself shows.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

SUFFIXES = {"k": 1e3, "m": 1e6, "mn": 1e6, "b": 1e9, "bn": 1e9, "g": 1e9, "t": 1e12}
"""Of sizes, in either case: no size is a thousandth."""
_CLEAN = str.maketrans(
    {
        "\u00a0": " ", "\u2009": " ", "\u202f": " ", "\u2212": "-", "\u2013": "-", "\u2019": "'",
        "\ufeff": "",
    }
)  # fmt: skip
_PLAIN = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
_INFINITE = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)
_SPACED = re.compile(r"([+-]?\d{1,3})((?:[ _']\d{3})+)(?=$|[.,])")
_SUFFIX = re.compile(r"(.*\d[.,]?)\s*(%|[kmbgt]|mn|bn)", re.IGNORECASE)
_ONE_GROUP = {",": re.compile(r"[+-]?[1-9]\d{0,2},\d{3}"), ".": re.compile(r"[+-]?[1-9]\d{0,2}\.\d{3}")}
_GROUPS = {
    ",": re.compile(r"[+-]?\d{1,3}(,\d{3})+(?=$|\.)"),
    ".": re.compile(r"[+-]?\d{1,3}(\.\d{3})+(?=$|,)"),
}
_OTHER = {",": ".", ".": ","}


class CellError(ValueError):
    """A cell that can be read in more than one way; the message says which, the caller says where."""


@dataclass(frozen=True)
class Numerals:
    """How one column writes its numbers.

    Args:
        decimal: ``.`` or ``,``.
        shown: whether a cell of the column shows it; else it is taken from the rest of the file.
        size: whether the column holds sizes (suffixes) or losses (per cent).
        percent: whether any cell has a per cent sign.
        thousands: whether a comma before three digits parts thousands where nothing shows it.
    """

    decimal: str = "."
    shown: bool = False
    size: bool = True
    percent: bool = False
    thousands: bool = False

    def number(self, value: Any) -> float | None:
        """The number of a cell; NaN and text give None, infinity itself.

        Raises:
            CellError: there are two ways to read it.
        """
        if value is None or isinstance(value, bool):
            return None
        if isinstance(value, (int, float)):
            return _float(value)
        body, suffix = _split(str(value))
        if self.percent and not suffix and _PLAIN.fullmatch(body.replace(",", ".")):
            raise CellError(f"{body!r} has no per cent sign and other cells of the column have one")
        if self._ambiguous(body):
            either = body.replace(",", "").replace(".", ""), body.replace(",", ".")
            raise CellError(f"{body!r} may be {either[0]} or {either[1]}: write one of the two")
        number = _float(self._plain(body))
        if number is None or not suffix:
            return number
        if suffix == "%":
            return None if self.size else number / 100
        return number * SUFFIXES[suffix] if self.size else None

    def _ambiguous(self, body: str) -> bool:
        """A comma, or where commas are decimal a point, before three digits, and nothing that tells."""
        group = _OTHER[self.decimal]
        known = self.shown or (self.thousands and group == ",")
        return not known and bool(_ONE_GROUP[group].fullmatch(body))

    def _plain(self, body: str) -> str:
        group = _OTHER[self.decimal]
        if _GROUPS[group].match(body):
            body = body.replace(group, "")
        elif group == "." and "." in body and "," not in body:
            return ""
        return body.replace(",", ".") if self.decimal == "," else body


def numerals(values: Sequence[Any], *, size: bool, decimal: str = ".", thousands: bool = False) -> Numerals:
    """The convention that the cells of a column show.

    Args:
        values: of the column.
        size: whether it holds sizes.
        decimal: sign of the file, for a column that shows none.
        thousands: whether a comma before three digits parts thousands where nothing shows it.

    Raises:
        CellError: cells of the column contradict each other.
    """
    texts = [_split(value) for value in values if isinstance(value, str)]
    seen: dict[str, str] = {}
    for body, _ in texts:
        if sign := _shows(body):
            seen.setdefault(sign, body)
    if len(seen) == 2:
        raise CellError(
            f"{seen['.']!r} has a decimal point and {seen[',']!r} a decimal comma: write one of them"
        )
    percent = any(suffix == "%" for _, suffix in texts)
    return Numerals(next(iter(seen), decimal), bool(seen), size, percent, thousands)


def shown_decimal(values: Sequence[Any]) -> str:
    """The decimal sign that any of these cells shows, the first that does; empty for none."""
    return next((s for v in values if isinstance(v, str) and (s := _shows(_split(v)[0]))), "")


def _shows(body: str) -> str:
    """The decimal sign that a cell can only have; empty where it shows none."""
    if "," in body and "." in body:
        last = "," if body.rfind(",") > body.rfind(".") else "."
        return last if body.count(last) == 1 and _GROUPS[_OTHER[last]].match(body) else ""
    for sign in ",.":
        if sign not in body or _ONE_GROUP[sign].fullmatch(body):
            continue
        if body.count(sign) > 1:
            return _OTHER[sign] if re.fullmatch(_GROUPS[sign].pattern, body) else ""
        return sign if _PLAIN.fullmatch(body.replace(",", ".")) else ""
    return ""


def _split(text: str) -> tuple[str, str]:
    """What stands in a cell without spaces, thousands' spaces and its suffix, and the suffix."""
    text = text.translate(_CLEAN).strip()
    suffix = ""
    if found := _SUFFIX.fullmatch(text):
        text, suffix = found[1], found[2].lower()
    if found := _SPACED.match(text):
        text = found[1] + re.sub(r"[ _']", "", found[2]) + text[found.end() :]
    return text, suffix


def _float(value: Any) -> float | None:
    text = str(value).strip()
    if isinstance(value, str) and not (_PLAIN.fullmatch(text) or _INFINITE.fullmatch(text)):
        return None
    try:
        number = float(text)
    except (ValueError, OverflowError):
        return None
    return None if math.isnan(number) else number
