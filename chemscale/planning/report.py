"""What a plan prints: the law that it rests on, the points, and what they would tell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from chemscale.common.durations import format_duration
from chemscale.hardware.accelerators import Rate, accelerator
from chemscale.hardware.memory import GIB, STAGES
from chemscale.planning.candidates import Family
from chemscale.planning.inputs import (
    GUESS,
    Source,
    guess_text,
)

if TYPE_CHECKING:
    from chemscale.laws.allocation.design import Design, KnownLaw


NO_FLOOR = 1e-6
"""Share of the lowest loss below which a fitted E is no more than the end of a descent to 0."""


def head_lines(
    source: Source, known: KnownLaw, family: Family, budget: str, rate: Rate | None, spend: float
) -> list[str]:
    import numpy as np

    from chemscale.laws.allocation.compute import SIX_ND
    from chemscale.laws.allocation.optimum import optimum_target
    from chemscale.laws.joint.surfaces import Additive

    places = [Additive.coordinates.index(key) for key in GUESS]
    signed = np.array([key in Additive.exponents for key in GUESS])
    ends = [end[places] for end in known.interval(lambda phi: phi)]
    low, high = (np.where(signed, end, np.exp(np.where(signed, 0, end))) for end in ends)
    values = [
        f"{key} = {value:.4g} [{a:.3g}, {b:.3g}]"
        for key, value, a, b in zip(GUESS, source.theta, low, high, strict=True)
    ]
    floorless = bool(source.runs) and source.theta[0] < NO_FLOOR * min(
        run[source.unit] for run in source.runs
    )
    if floorless:
        values[0] = "E = 0 [0, unknown]"
    law = ", ".join(values)
    runs = f"{len(source.runs)} runs" if source.runs else guess_text()
    lines = [f"Law ({source.where}, {runs}): {law}; noise {known.noise:.2g}.", budget]
    if floorless:
        lines.append(
            "These runs show no floor E: the plan takes it for 0, and intervals far beyond the runs do not "
            "hold what a floor would add."
        )
    if rate:
        lines.append(f"Rate: {rate.flops:.3g} FLOP/s a GPU: {rate.why}.")
    shape = "from the runs' FLOPs" if family.measured else "as given"
    lines.append(
        f"FLOPs counted with {family.vocab} symbols and {family.length:.3g} tokens a molecule ({shape}); "
        f"N is parameters ({family.convention})."
    )
    for words, flops in (("counted", family.flops_of), ("6ND", SIX_ND)):
        target = optimum_target(known.surface, flops, spend)
        best, (down, up) = np.exp(target(known.phi[None])[0]), np.exp(known.interval(target))
        if np.isfinite(best).all():
            spans = [f"{b:.3g} [{a:.3g}, {c:.3g}]" for b, a, c in zip(best, down, up, strict=True)]
            lines.append(
                f"One run with all of it ({words}): N* = {spans[0]}, D* = {spans[1]}, loss {spans[2]}."
            )
    return lines


def show_design(
    design: Design,
    widths: Sequence[int],
    family: Family,
    gpus: int,
    rate: Rate | None,
    price: float | None,
    unit: str,
    gpu: str | None,
) -> None:
    from rich.console import Console
    from rich.table import Table

    from chemscale.planning.single_model import usable

    shown = STAGES if gpus > 1 else STAGES[:1]
    columns = ["width × layers", "N", "tokens", "FLOP", "6ND", f"{unit} [95 % of runs]"]
    columns += [f"GiB {stage}" for stage in shown] + ["time"] * bool(rate) + ["€"] * bool(rate and price)
    table = Table(*columns)
    for column in table.columns:
        column.justify = "right"
    room = usable(gpu) / GIB if gpu else math.inf
    rows = zip(widths, design.inputs, design.flops, *design.before.run_interval(design.inputs), strict=True)
    for width, (n, tokens), flops, loss, low, high in rows:
        memory = family.memory_gib(width, gpus)
        cells = [f"{memory[stage]:.2f}" + (" !" if memory[stage] > room else "") for stage in shown]
        if rate:
            seconds = flops / rate.flops / gpus
            cells.append(format_duration(seconds))
            cells += [f"{seconds / 3600 * gpus * price:,.2f}"] if price else []
        table.add_row(
            f"{width} × {family.layers}",
            f"{n:.4g}" if n >= 1e7 else f"{n:,.0f}",
            f"{tokens:.3e}",
            f"{flops:.2e}",
            f"{6 * n * tokens:.1e}",
            f"{loss:.4g} [{low:.4g}, {high:.4g}]",
            *cells,
        )
    console = Console()
    (console if console.is_terminal else Console(width=180)).print(table)
    if any(family.memory_gib(width, gpus)["ddp"] > room for width in widths):
        typer.echo(
            f"! is more than the {room:.1f} GiB that {gpu} has for tensors: take more GPUs, another "
            "strategy, or --set batch.per_gpu=auto."
        )


def gain_lines(
    design: Design, rate: Rate | None, gpus: int, price: float | None, gpu: str | None
) -> list[str]:
    spent = float(design.flops.sum())
    lines = []
    if rate:
        hours = spent / rate.flops / 3600
        cost = f", {hours * price:,.2f} €" if price else ""
        energy = f", at most {hours * accelerator(gpu).watts / 1000:.3g} kWh" if gpu else ""
        lines.append(
            f"{len(design.chosen)} points: {spent:.3g} FLOP, {hours:,.3g} GPU-hours "
            f"({format_duration(hours * 3600 / gpus)} on {gpus} GPU{'s' if gpus > 1 else ''}){cost}{energy}."
        )
    else:
        lines.append(f"{len(design.chosen)} points: {spent:.3g} FLOP.")
    for label, value, before, after in design.intervals():
        narrower = 1 - (after[1] - after[0]) / (before[1] - before[0])
        lines.append(
            f"{label}: {value:.4g}, now [{before[0]:.4g}, {before[1]:.4g}], after these points about "
            f"[{after[0]:.4g}, {after[1]:.4g}] ({narrower:.0%} narrower)."
        )
    return lines


def point_overrides(
    design: Design, widths: Sequence[int], runs: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Overrides of each point; one that was run before, here or in the law's runs, gets another seed."""
    taken: dict[tuple[int, int], int] = {}
    out = []
    for width, (n, tokens) in zip(widths, design.inputs, strict=True):
        key = (width, round(tokens))
        same = [r for r in runs if r["parameters"] == n and abs(r["tokens"] / tokens - 1) < 0.02]
        seed = taken.get(key, max((int(r.get("seed", 0)) + 1 for r in same), default=0))
        taken[key] = seed + 1
        out.append({"model.width": width, "budget.tokens": round(tokens), "seed": seed})
    return out
