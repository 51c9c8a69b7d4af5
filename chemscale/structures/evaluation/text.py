"""Errors of groups as lines of a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from chemscale.structures.evaluation.errors import UNITS
from chemscale.structures.evaluation.tables import Group

SHOWN = ("per_atom", "forces", "stress")
TITLES = {"per_atom": "E", "forces": "F", "stress": "stress"}
MAX_LINES = 40


def describe_groups(groups: Sequence[Group], by: str) -> Iterator[str]:
    """One line a group, the largest first: MAE of what it has labels for; nothing without groups.

    Args:
        groups: with their errors.
        by: what they are grouped by.
    """
    if not groups:
        return
    columns = [name for name in SHOWN if any(group.errors[name].labels for group in groups)]
    heads = [f"{TITLES[name]} MAE, {UNITS[name]}" for name in columns]
    width = min(40, max(len(by), *(len(group.name) for group in groups)))
    yield f"{by:{width}s} {'frames':>9s} " + " ".join(f"{head:>18s}" for head in heads)
    for group in groups[:MAX_LINES]:
        cells = [
            f"{group.errors[name].mae:18.3f}" if group.errors[name].labels else f"{'no label':>18s}"
            for name in columns
        ]
        yield f"{group.name[:width]:{width}s} {group.frames:9,d} " + " ".join(cells)
    if len(groups) > MAX_LINES:
        yield f"… and {len(groups) - MAX_LINES} smaller groups, in the files below"
