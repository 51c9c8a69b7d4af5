"""Tables of learning curves: the last row of each run is its point, and all rows feed Approach 1."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from chemscale.laws.allocation.envelope import Curve
from chemscale.laws.data.points import LawPoint, LawPoints, PointsError
from chemscale.laws.data.reading import ReadTable


@dataclass(frozen=True)
class CurveTable:
    """Runs of a table of learning curves.

    Args:
        points: a point a run, at its last row with numbers.
        curves: of every run of two rows or more that has N, D and C.
        notes: what a reader must know.
    """

    points: LawPoints
    curves: list[Curve]
    notes: list[str]


def curves_of(table: ReadTable, columns: Mapping[str, str]) -> CurveTable:
    """Make a point and a curve of each run.

    Args:
        table: of rows as points; N, D and C are those of the row: D and C what the run has seen and spent by
            then. C = 6ND where it is not there.
        columns: by role; ``run`` and ``step`` among them.

    Raises:
        PointsError: a step that is no number or stands twice in a run, or rows without N and D or C.
    """
    runs: dict[str, list[tuple[float, LawPoint]]] = {}
    for point, row in zip(table.points.points, table.rows, strict=True):
        name = str(row.get(columns["run"]) or "").strip()
        try:
            step = float(str(row.get(columns["step"])).strip())
        except ValueError:
            step = np.nan
        if not name or not np.isfinite(step):
            raise PointsError(f"{table.points.source}, {point.where}: its run or its step is missing.")
        runs.setdefault(name, []).append((step, point))
    points, curves = [], []
    for name, rows in runs.items():
        rows.sort(key=lambda pair: pair[0])
        for (before, _), (step, point) in itertools.pairwise(rows):
            if step == before:
                raise PointsError(
                    f"{table.points.source}, {point.where}: step {step:g} of {name} stands twice."
                )
        good = [point for _, point in rows if point.used]
        points.append(replace((good or [rows[-1][1]])[-1], label=name, row=None))
        curve = _curve(good)
        curves += [curve] if curve is not None else []
    if not curves:
        raise PointsError(
            f"{table.points.source}: no run has rows with N and D (tokens seen by then) or N and C (FLOPs "
            "spent by then): give them by --columns, so that its curve has an axis."
        )
    rows_in_all = len(table.points.points)
    note = (
        f"{rows_in_all} rows of {len(runs)} learning curves: the last row of each is its point, and "
        f"{len(curves)} curves feed Approach 1."
    )
    left = table.points.left_out
    return CurveTable(
        LawPoints(tuple(points), table.points.source), curves, [note, *([f"Rows {left}."] if left else [])]
    )


def _curve(rows: list[LawPoint]) -> Curve | None:
    """The rows of one run that go forward in compute; None where they do not make a curve."""
    table: list[tuple[float, float, float]] = []
    for point in rows:
        n, d, c = (point.sizes.get(axis) for axis in ("parameters", "tokens", "flops"))
        if n is not None and (d is not None or c is not None):
            d, c = d or c / (6 * n), c or 6 * n * (d or 0.0)  # type: ignore[operator]
            if not table or c > table[-1][1]:
                table.append((d, c, point.losses["loss"]))
    if len(table) < 2:
        return None
    d_seen, flops, loss = np.array(table, dtype=float).T
    return Curve(rows[-1].sizes["parameters"], d_seen, flops, loss)
