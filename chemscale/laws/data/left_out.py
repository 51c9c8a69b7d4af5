"""What a law leaves out, in one set of words for tables and for records.

A run that is not fitted carries its reason (``LawPoint.reason``), made by one of the functions here. What
stands in brackets at the end of a reason is a detail of that run (``no number in val_loss ('n/a')``): it is
kept with the run and does not count as another reason. ``summary`` and ``sentence`` count runs by reason for
the console, the page and ``law.json``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

MAX_NAMED = 8
"""Rows or runs that one reason names; the others are counted."""
DIVERGED = "diverged"
"""Of a run whose loss is infinite, or that its own guard ended so."""


@dataclass(frozen=True)
class LeftOut:
    """One run that is not fitted.

    Args:
        where: ``row 5`` of a table, or the name of a run.
        reason: as one of the functions of this module gives it.
    """

    where: str
    reason: str

    @property
    def kind(self) -> str:
        """The reason without the detail of this run."""
        return re.sub(r"\s*\([^()]*\)$", "", self.reason)


def no_number(name: str, found: str | None = None) -> str:
    """Of a run without a number for a column or a loss; `found` is what stands there instead."""
    return f"no number in {name}" + (f" ({_short(found)})" if found is not None else "")


def not_positive(name: str, value: float) -> str:
    """Of a run with a size or loss of 0 or below, which has no logarithm."""
    return f"not above 0 in {name} ({value:g})"


def out_of_range(name: str, value: float, low: float, high: float) -> str:
    """Of a run with a number that no size and no loss can be."""
    return f"not within {low:g} to {high:g} in {name} ({value:g})"


def in_state(state: str) -> str:
    """Of a run that did not finish."""
    return f"state {state or 'unknown'}"


def copy_of(where: str) -> str:
    """Of a row that equals an earlier one in every cell."""
    return f"the same as an earlier row ({where})"


def sentence(left: Sequence[LeftOut], total: int) -> str:
    """Count what is left out by reason, in a sentence; empty where nothing is.

    Args:
        left: the runs that are left out.
        total: of all runs, used or not.

    Returns:
        For example ``left out: 3 of 42: 2 no number in val_loss (rows 5, 17); 1 state crashed (row 9)``.
    """
    if not left:
        return ""
    parts = [f"{len(names)} {kind} ({named(names)})" for kind, names in _by_kind(left).items()]
    return f"left out: {len(left)} of {total}: {'; '.join(parts)}"


def summary(left: Sequence[LeftOut], total: int) -> dict[str, Any]:
    """The same for ``law.json``: how many, of how many, and the rows or runs of each reason."""
    return {"count": len(left), "of": total, "reasons": _by_kind(left)}


def named(names: Iterable[str], most: int = MAX_NAMED) -> str:
    """Rows or runs in a list: ``rows 5, 17, 20 to 31``; beyond `most` of them ``and 12 more``."""
    found = list(names)
    if not all(re.fullmatch(r"row \d+", name) for name in found):
        more = f" and {len(found) - most} more" if len(found) > most else ""
        return ", ".join(found[:most]) + more
    rows = [int(name.removeprefix("row ")) for name in found]
    spans: list[list[int]] = []
    for row in rows:
        if spans and row == spans[-1][-1] + 1:
            spans[-1].append(row)
        else:
            spans.append([row])
    spans = [part for span in spans for part in ([span] if len(span) > 2 else [[row] for row in span])]
    left = sum(map(len, spans[most:]))
    said = [str(span[0]) if len(span) == 1 else f"{span[0]} to {span[-1]}" for span in spans[:most]]
    return f"row{'s' if len(rows) > 1 else ''} {', '.join(said)}{f' and {left} more' if left else ''}"


def _by_kind(left: Sequence[LeftOut]) -> dict[str, list[str]]:
    kinds: dict[str, list[str]] = {}
    for each in left:
        kinds.setdefault(each.kind, []).append(each.where)
    return dict(sorted(kinds.items(), key=lambda pair: -len(pair[1])))


def _short(text: str) -> str:
    text = re.sub(r"[()\s]+", " ", text).strip()
    return f"{(text if len(text) <= 24 else text[:21] + '...')!r}" if text else "blank"
