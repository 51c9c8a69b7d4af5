"""Tables of a sweep: what its points will cost, and what they reached."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from chemscale.common.durations import format_duration
from chemscale.config.effects import SAID_ALWAYS, differing
from chemscale.hardware.memory import GIB, STAGES, Memory
from chemscale.molecules.corpus import same_molecules
from chemscale.points.base import Point
from chemscale.points.language import LanguagePoint
from chemscale.points.placement import DeviceMemory
from chemscale.records import PointPlan, RunRecord, State, is_done
from chemscale.tasks.optimisation import Schedule
from chemscale.training.distributed.strategies import SHARDED_WEIGHTS


def wide_console() -> Console:
    """Standard error; where it is no terminal, wide enough for a table in a log file."""
    console = Console(stderr=True)
    return console if console.is_terminal else Console(stderr=True, width=132)


def show_warmups(console: Console, points: Sequence[Point]) -> None:
    """Which runs end before their rate has reached its peak."""
    for point in points:
        schedule = point.schedule
        if isinstance(schedule, Schedule) and schedule.warmup_steps(point.steps) >= point.steps:
            console.print(
                f"{point.name}: all {point.steps} steps are warm-up ({schedule.warmup_steps(point.steps)}): "
                "the rate never reaches its peak. schedule.warmup=0.05 is a share of the steps.",
                highlight=False,
            )


def describe_without_effect(points: Sequence[Point]) -> list[str]:
    """Keys that change nothing: those that a sweep varies, and a weight decay that reaches no parameter."""
    varied = differing([point.config for point in points])
    told: dict[str, list[str]] = {}
    for point in points:
        for key, reason in point.without_effect().items():
            if key in varied or key in SAID_ALWAYS:
                told.setdefault(f"{key} has no effect ({reason})", []).append(point.name)
    return [
        f"{text}, and this sweep varies it: {_names(names)}."
        if text.split()[0] in varied
        else f"{text}: {_names(names)}."
        for text, names in told.items()
    ]


def describe_compilation(points: Sequence[Point]) -> list[str]:
    """Whether points are compiled, where one is or where a GPU would be there for it."""
    if not any(point.compilation.on or point.placement.has_gpu for point in points):
        return []
    told: dict[str, list[str]] = {}
    for point in points:
        told.setdefault(point.compilation.describe(), []).append(point.name)
    if len(told) == 1:
        return list(told)
    return [f"{_names(names)}: {text}" for text, names in told.items()]


def describe_notations(points: Sequence[Point]) -> list[str]:
    """That points of several notations do not learn from the same molecules, if they do not."""
    corpora = {
        point.corpus.tokenizer.representation.notation: point.corpus
        for point in points
        if isinstance(point, LanguagePoint)
    }
    if all(same_molecules(one, other) for one, other in pairwise(corpora.values())):
        return []
    counts = ", ".join(f"{name} {c.manifest['counts']['kept']:,}" for name, c in sorted(corpora.items()))
    return [
        f"These notations do not hold the same molecules ({counts}): some cannot be expressed in all. Losses "
        f"compare about; data.common_to=[{','.join(sorted(corpora))}] keeps to those that all can express."
    ]


def _names(names: Sequence[str]) -> str:
    """Some names, and how many more there are."""
    distinct = list(dict.fromkeys(names))
    more = f" and {len(distinct) - 4} more" if len(distinct) > 4 else ""
    return ", ".join(distinct[:4]) + more


def show_plan(points: Sequence[Point], plans: Sequence[PointPlan]) -> None:
    """One line a point: size, data, compute, and what it will take here."""
    console = wide_console()
    for line in dict.fromkeys(point.describe_data() for point in points):
        console.print(line, highlight=False)
    for line in dict.fromkeys(filter(None, (point.describe_parent() for point in points))):
        console.print(line, highlight=False, markup=False)
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
            "" if done else "unknown" if math.isnan(plan.seconds) else f"≈ {format_duration(plan.seconds)}",
            "done" if done else "to do",
        )
    console.print(table)
    show_warmups(console, points)
    for line in describe_without_effect(points):
        console.print(line, highlight=False, markup=False, style="bold")
    for line in [*describe_notations(points), *describe_compilation(points)]:
        console.print(line, highlight=False, markup=False)
    show_memory(console, points)
    known = sum(plan.seconds for plan in plans if not math.isnan(plan.seconds))
    where = "in jobs" if points[0].placement.elsewhere else "on this machine"
    if known:
        console.print(f"About {format_duration(known)} of training {where}.", highlight=False)
    if any(math.isnan(plan.seconds) for plan in plans):
        console.print(
            "Times are unknown: this machine says nothing of the nodes. launcher.gpu=h100, a100, … estimates "
            "them.",
            highlight=False,
        )


def show_memory(console: Console, points: Sequence[Point]) -> None:
    """What fits where, for points that have several ranks or do not fit: parts for theirs, sums for every
    stage."""
    available = [point.placement.device_memory() for point in points]
    shown = [
        (point, memory)
        for point, memory in zip(points, available, strict=True)
        if point.placement.world > 1 or (memory is not None and not memory.holds(point.memory()))
    ]
    if not shown:
        return
    parts = ("weights", "gradients", "optimizer", "buffers", "activations")
    of_rank = Table("point", "strategy", "ranks", "micro-batch", *parts, "peak", title="GiB of one rank")
    sums = Table("point", "ranks", *STAGES, title="peak under each strategy, GiB")
    for table, first in ((of_rank, 2), (sums, 1)):
        for column in table.columns[first:]:
            column.justify = "right"
    for point, device in shown:
        memory, world, how = point.memory(), point.placement.world, point.settings.micro_batching
        recomputes = ", recomputed" if how.recompute else ""
        of_rank.add_row(
            point.name,
            point.strategy + (" + host" if memory.host else ""),
            str(world),
            f"{point.micro_batch:,} × {how.accumulate}{recomputes}",
            *(f"{getattr(memory, part) / GIB:.2f}" for part in parts),
            format_peak(memory, device),
        )
        stages = [s for s in STAGES if not (point.settings.forces and s in SHARDED_WEIGHTS)]
        sums.add_row(
            point.name,
            str(world),
            *(format_peak(point.memory(s), device) if s in stages else "not for forces" for s in STAGES),
        )
    console.print(of_rank)
    if any(point.placement.world > 1 for point, _ in shown):
        console.print(sums)
    for line in dict.fromkeys(describe_device(device) for _, device in shown):
        console.print(line, highlight=False)


def format_peak(memory: Memory, device: DeviceMemory | None) -> str:
    """A sum in GiB, with ! where it does not fit."""
    return f"{memory.total / GIB:.2f}" + ("" if device is None or device.holds(memory) else " !")


def describe_device(device: DeviceMemory | None) -> str:
    """What a rank has, in words."""
    if device is None:
        return "Nothing says how much memory a rank will have: launcher.gpu=… (or launcher.memory_gib) does."
    return (
        f"A rank has {device.usable / GIB:.1f} GiB for tensors ({device.name}: {device.size / GIB:.1f} GiB); "
        "! is more than that."
    )


def _state(record: RunRecord) -> str:
    """State and reason; a run that is done without a loss says so, and one that left steps out."""
    done = record.state is State.DONE
    reason = record.reason or (record.why_left_out() if done else "")
    parts = [part for part in (reason, record.describe_skipped() if done else "") if part]
    return record.state.value + (f": {'; '.join(parts)}" if parts else "")


COLUMNS = {
    "nats_per_token": ("nats/token", 4),
    "nats_per_molecule": ("/molecule", 4),
    "nats_per_heavy_atom": ("/heavy atom", 4),
    "energy_mae": ("E MAE, meV", 2),
    "energy_mae_per_atom": ("meV/atom", 3),
    "forces_mae": ("F MAE, meV/Å", 2),
    "forces_rmse": ("F RMSE", 2),
    "stress_mae": ("stress MAE, meV/Å³", 3),
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
            *(
                f"{values[key]:.{digits}f}" if math.isfinite(values.get(key, math.nan)) else ""
                for key, (_, digits) in shown.items()
            ),
            f"{record.truth.get(f'{rate}_per_second', float('nan')):,.0f}",
            # What a library said of a failure may look like markup: [/path/to/its/source.cc]
            escape(_state(record)),
        )
    wide_console().print(table)
