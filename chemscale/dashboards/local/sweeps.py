"""A sweep in numbers: how many points stand where, what was spent, and how long the rest will take."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Any

from chemscale.dashboards.local.points import SILENT, STATES, WAITING
from chemscale.records import HEADLINES, State

RUNNING = State.RUNNING.value
TO_DO = (RUNNING, SILENT, State.PREEMPTED.value, State.PLANNED.value, WAITING)
"""States in which a point still has steps to come."""


def summary(rows: Sequence[dict[str, Any]], whole: bool = True) -> dict[str, Any]:
    """Sum up the rows of one sweep: counts by state, losses that there are, compute, energy, time left.

    ``joules`` is the sum over the points that measured them and ``joules_of`` how many these are; both are
    absent where none did. ``share`` is of the planned FLOPs, absent where they are not known for every point.

    Args:
        rows: of its points.
        whole: whether these are all points of the sweep, as its launcher listed them.
    """
    counts = Counter(row["state"] for row in rows)
    joules = [row["sizes"]["joules"] for row in rows if "joules" in row.get("sizes", {})]
    left, why = time_left(rows)
    units = {key for row in rows for key in row.get("losses", {})}
    first = [key for key, _, _ in HEADLINES if key in units]
    out = {
        "counts": {state: counts[state] for state in STATES if counts[state]},
        "total": len(rows),
        "whole": whole,
        "units": [*first, *sorted(units - set(first))],
        "data_axis": "frames" if any("frames" in row.get("sizes", {}) for row in rows) else "tokens",
        "flops": sum(row.get("spent", 0.0) for row in rows),
        "inherited": sum(row.get("inherited", 0.0) for row in rows),
        "device_seconds": sum(row.get("device_seconds", 0.0) for row in rows),
        "joules": sum(joules) if joules else None,
        "joules_of": len(joules) or None,
        "share": share_done(rows),
        "left": left,
        "left_why": why,
        "moved": max((row.get("moved", 0) for row in rows), default=0),
        "started": max((row.get("started", "") for row in rows), default=""),
    }
    return {key: value for key, value in out.items() if value is not None}


def share_done(rows: Sequence[dict[str, Any]]) -> float | None:
    """Of the FLOPs that the points are planned to take, those that are done; failed ones are planned too."""
    done = planned = 0.0
    for row in rows:
        whole = _planned_flops(row)
        if whole is None:
            return None
        planned += whole
        done += min(whole, row.get("sizes", {}).get("flops", 0.0))
    return done / planned if planned else None


def _planned_flops(row: dict[str, Any]) -> float | None:
    if "planned_flops" in row:
        return row["planned_flops"]
    flops, steps = row.get("sizes", {}).get("flops"), row.get("steps", 0)
    if row["state"] == State.DONE.value:
        return flops
    return flops / steps * row["planned"] if flops and steps and row.get("planned") else None


def time_left(rows: Sequence[dict[str, Any]]) -> tuple[float | None, str]:
    """Seconds until the last point ends if as many run at once as do now, and what that rests on.

    A point without a rate of its own is taken at the FLOP/s of those that run. None where nothing runs or
    something is not known; the text is then the reason, and is empty where there is nothing left to do.
    """
    todo = [row for row in rows if row["state"] in TO_DO]
    running = [row for row in todo if row["state"] == RUNNING]
    if not todo:
        return None, ""
    if not running:
        return None, "nothing is running"
    speeds = [ahead / row["left"] for row in running if row.get("left") and (ahead := _flops_left(row))]
    speed = statistics.median(speeds) if speeds else None
    lefts = []
    for row in todo:
        seconds, ahead = row.get("left"), _flops_left(row)
        if seconds is None and speed and ahead is not None:
            seconds = ahead / speed
        if seconds is None:
            seconds = row.get("planned_seconds")
        if seconds is None:
            return None, f"no rate is known yet for {row['name']}"
        lefts.append(seconds)
    return max(max(lefts), sum(lefts) / len(running)), f"{len(running)} at once, training only"


def _flops_left(row: dict[str, Any]) -> float | None:
    whole = _planned_flops(row)
    return None if whole is None else max(0.0, whole - row.get("sizes", {}).get("flops", 0.0))
