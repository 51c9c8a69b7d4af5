"""What a sweep will cost, shown before it is spent, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from chemscale.points.base import Point
from chemscale.records import RunRecord
from chemscale.sweeps.points import PointPlan
from chemscale.sweeps.sweeper import is_done
from chemscale.training.progress import clock


def estimate(point: Point) -> PointPlan:
    """Count a point's parameters, data and FLOPs; time a trial step to estimate its hours on this machine."""
    flops = point.amount("flops")
    done = is_done(point.directory)
    return PointPlan(
        identity=point.identity,
        directory=point.directory,
        name=point.name,
        parameters=point.parameter_counts()["matrices"],
        amount=point.amount(point.epoch.axis),
        flops=flops,
        seconds=0.0 if done else flops / point.flops_per_second(),
        memory_gib=point.memory_gib(),
        steps=point.steps,
    )


def share_trunks(points: Sequence[Point], plans: Sequence[PointPlan]) -> list[PointPlan]:
    """Order and time of points that begin where the stable phase of a shorter one ended."""
    shared = list(plans)
    reached: dict[Path, int] = {}
    trunks = [(point.trunk, number) for number, point in enumerate(points) if point.trunk is not None]
    for trunk, number in sorted(trunks, key=lambda pair: pair[0].end):
        begun = reached.get(trunk.folder, trunk.newest_step())
        left = 1 - begun / points[number].steps
        shared[number] = replace(plans[number], order=trunk.end, seconds=left * plans[number].seconds)
        reached[trunk.folder] = trunk.end
    return shared


def wide_console() -> Console:
    """Standard error; where it is no terminal, wide enough for a table in a log file."""
    console = Console(stderr=True)
    return console if console.is_terminal else Console(stderr=True, width=132)


def show_plan(points: Sequence[Point], plans: Sequence[PointPlan]) -> None:
    """One line a point: size, data, compute, and what it will take here."""
    console = wide_console()
    for line in dict.fromkeys(point.describe_data() for point in points):
        console.print(line, highlight=False)
    axis = points[0].epoch.axis
    table = Table("point", "identity", "N (matrices)", axis, "epochs", "FLOPs", "memory", "time", "state")
    for column in table.columns[2:8]:
        column.justify = "right"
    for point, plan in zip(points, plans, strict=True):
        done = is_done(plan.directory)
        table.add_row(
            plan.name,
            plan.identity,
            f"{plan.parameters:,}",
            f"{plan.amount:,.0f}",
            f"{point.amount('epochs'):.2f}",
            f"{plan.flops:.2e}",
            f"{plan.memory_gib:.2f} GiB",
            "" if done else f"≈ {clock(plan.seconds)}",
            "done" if done else "to do",
        )
    console.print(table)
    total = sum(plan.seconds for plan in plans)
    if total:
        console.print(f"About {clock(total)} of training on this machine.", highlight=False)


COLUMNS = {
    "nats_per_token": ("nats/token", 4),
    "nats_per_molecule": ("/molecule", 4),
    "nats_per_heavy_atom": ("/heavy atom", 4),
    "energy_mae": ("E MAE, meV", 2),
    "energy_mae_per_atom": ("meV/atom", 3),
    "forces_mae": ("F MAE, meV/Å", 2),
    "forces_rmse": ("F RMSE", 2),
}
"""Losses that the table of results shows: title and digits."""


def show_results(plans: Sequence[PointPlan], records: Sequence[RunRecord | None]) -> None:
    """One line a point: what it reached, at what rate."""
    found = {key for record in records if record and record.final for key in record.final.values}
    shown = {key: column for key, column in COLUMNS.items() if key in found}
    rate = next((u for u in ("tokens", "atoms") if any(r and getattr(r.data, u) for r in records)), "tokens")
    unit = "tokens" if rate == "tokens" else "frames"
    table = Table("point", "N", unit, "FLOPs", *(title for title, _ in shown.values()), f"{rate}/s", "state")
    for column in table.columns[1:-1]:
        column.justify = "right"
    for plan, record in zip(plans, records, strict=True):
        if record is None:
            table.add_row(plan.name, f"{plan.parameters:,}", *[""] * (len(shown) + 3), "not started")
            continue
        values = record.final.values if record.final else {}
        table.add_row(
            plan.name,
            f"{record.parameters.matrices:,}",
            f"{getattr(record.data, unit):,}",
            f"{record.compute.flops:.2e}",
            *(f"{values[key]:.{digits}f}" if key in values else "" for key, (_, digits) in shown.items()),
            f"{record.truth.get(f'{rate}_per_second', float('nan')):,.0f}",
            record.state.value + (f": {record.reason}" if record.reason else ""),
        )
    wide_console().print(table)
