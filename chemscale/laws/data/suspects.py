"""Rows of a table that look like mistakes: compute that is not 6ND, copies, checkpoints of one run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from chemscale.laws.data.left_out import named
from chemscale.laws.data.points import LawPoint, LawPoints, PointsError

ODD_ROW = 30.0
"""C/6ND of a row over the median of all rows, beyond which the row is refused."""
ODD_TABLE = 30.0
"""Median of C/6ND, or its inverse, beyond which the report says so: counted FLOPs of small widths reach 6."""
WRONG_TABLE = 1000.0
"""The same, beyond which C, N and D cannot be in FLOPs, parameters and tokens."""
ENOUGH_GROUPS = 8
"""Runs from which the scatter between them is known beside five parameters."""
DIGITS = 5
"""Digits of a loss from which two runs do not agree by chance."""


def check_compute(path: Path, points: LawPoints) -> list[str]:
    """Compare C with 6ND where a table has all three.

    Dense transformers cost 6ND, counted FLOPs of small ones up to six times that, sparse ones a tenth or
    less of it. A row that is off by a factor of 30 from the others holds a mistake in C, N or D and would
    bend the relation of compute by which budgets are spent, so it is refused. So is a whole column that is
    off by a thousand: C is then in another unit, and no budget of the report would be one in FLOPs.

    Args:
        path: of the table, for messages.
        points: of the table.

    Returns:
        A note where the column is off by 30 to 1000.

    Raises:
        PointsError: a row, or the whole column, is off by more than that.
    """
    axes = ("parameters", "tokens", "flops")
    chosen = [p for p in points.points if p.used and set(axes) <= set(p.sizes)]
    if not chosen:
        return []
    ratio = np.array([p.sizes["flops"] / (6 * p.sizes["parameters"] * p.sizes["tokens"]) for p in chosen])
    middle = float(np.median(ratio))
    odd = [i for i, r in enumerate(ratio) if max(r / middle, middle / r) > ODD_ROW]
    if odd:
        worst = chosen[odd[0]]
        raise PointsError(
            f"{path}, {worst.named}: C = {worst.sizes['flops']:.3g} is {ratio[odd[0]]:.2g} times 6ND, and "
            f"the others have {middle:.2g} ({len(odd)} of {len(chosen)} rows are off by more than "
            f"{ODD_ROW:g}: {named(chosen[i].where for i in odd)}). Correct its C, N or D, or leave C= out."
        )
    off = max(middle, 1 / middle)
    if off <= ODD_TABLE:
        return []
    first = chosen[0]
    words = (
        f"C is {middle:.2g} times 6ND ({first.where}: C = {first.sizes['flops']:.3g}, 6ND = "
        f"{first.sizes['flops'] / ratio[0]:.3g})"
    )
    if off > WRONG_TABLE:
        raise PointsError(
            f"{path}: {words}, and so in all rows: C is not in FLOPs, or N and D not in parameters and "
            "tokens. Give them in these units, or leave C= out."
        )
    return [f"{words}: make sure that C is in FLOPs, N in parameters and D in tokens."]


def notes_on(points: LawPoints, unit: str) -> list[str]:
    """What looks like runs that are not independent of each other, or like sizes in another unit.

    Args:
        points: of the table.
        unit: of the loss.
    """
    chosen = points.fitted(unit)
    found = [_checkpoints(chosen), _few_groups(chosen), _same_numbers(chosen, unit), _units(chosen)]
    return [note for note in found if note]


def _checkpoints(chosen: Sequence[LawPoint]) -> str:
    """One name with several amounts of data, and no group."""
    names: dict[str, list[LawPoint]] = {}
    for point in chosen:
        if point.row is not None and point.label != point.where and not point.group:
            names.setdefault(point.label, []).append(point)
    several = {
        name: rows
        for name, rows in names.items()
        if len(rows) > 1 and len({(p.sizes.get("tokens"), p.sizes.get("flops")) for p in rows}) > 1
    }
    if not several:
        return ""
    name, rows = next(iter(several.items()))
    return (
        f"{_count(len(several), 'name stands', 'names stand')} at several rows ({name}: "
        f"{named(p.where for p in rows)}): if these are "
        "checkpoints of one run, say so by group=NAME in --columns; as separate runs their intervals are too "
        "narrow."
    )


def _few_groups(chosen: Sequence[LawPoint]) -> str:
    """Runs that share checkpoints, and are too few for what they share to be told from a law."""
    groups = len({p.group for p in chosen if p.group})
    if not groups or groups >= ENOUGH_GROUPS:
        return ""
    return (
        f"group= names {_count(groups, 'run', 'runs')}: intervals of a joint law rest on whole runs, and "
        f"fewer than {ENOUGH_GROUPS} do not show how runs differ. Read them as too narrow."
    )


def _same_numbers(chosen: Sequence[LawPoint], unit: str) -> str:
    """Rows whose sizes and loss agree to the last digit, although other cells differ."""
    seen: dict[tuple[float, ...], LawPoint] = {}
    twins = []
    for point in chosen:
        loss = point.losses[unit]
        key = (loss, *(value for _, value in sorted(point.sizes.items())))
        first = seen.setdefault(key, point)
        if first is not point and len(f"{loss:.12g}".replace(".", "").strip("0")) >= DIGITS:
            twins.append((point, first))
    if not twins:
        return ""
    pairs = ", ".join(f"{a.named} as {b.named}" for a, b in twins[:4])
    more = f" and {len(twins) - 4} more" if len(twins) > 4 else ""
    return (
        f"{_count(len(twins), 'row has', 'rows have')} the sizes and the loss of another to the last digit "
        f"({pairs}{more}): if they are copies, take them out; they narrow the intervals."
    )


def _count(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}"


def _units(chosen: Sequence[LawPoint]) -> str:
    small = {
        axis: max(p.sizes[axis] for p in chosen if axis in p.sizes)
        for axis in ("parameters", "tokens")
        if any(axis in p.sizes for p in chosen)
    }
    odd = [
        f"{'N' if axis == 'parameters' else 'D'} is at most {top:.3g}"
        for axis, top in small.items()
        if top < 1e3
    ]
    if not odd:
        return ""
    return (
        f"{' and '.join(odd)}: if that is in millions or billions, the law holds in these units only, and "
        "budgets in FLOPs, 6ND and plans from it are wrong. Write 1M or 1e6 for a million."
    )
