"""What a plan prints: the law that it rests on, the points, and how much they would narrow a goal."""

from __future__ import annotations

import math

import numpy as np
from rich.console import Console
from rich.table import Table

from chemscale.common.durations import format_duration
from chemscale.hardware.accelerators import accelerator
from chemscale.hardware.memory import GIB, STAGES
from chemscale.laws.allocation.compute import SIX_ND
from chemscale.laws.allocation.optimum import optimum_target
from chemscale.laws.joint.surfaces import Additive
from chemscale.planning.inputs import GUESS, guess_text
from chemscale.planning.proposal import Proposal
from chemscale.planning.single_model import usable

NO_FLOOR = 1e-6
"""Share of the lowest loss below which a fitted E is no more than the end of a descent to 0."""


def print_proposal(found: Proposal) -> None:
    """Print the law, a table of the points, and how much they would narrow the goal."""
    for line in law_lines(found):
        print(line)
    console = Console()
    (console if console.is_terminal else Console(width=180)).print(points_table(found))
    for line in [*memory_lines(found), *gain_lines(found)]:
        print(line)


def law_lines(found: Proposal) -> list[str]:
    """The law with its intervals, the budget, how FLOPs are counted, and the best single run."""
    source, known, family, rate = found.source, found.known, found.family, found.hardware.rate
    floorless = bool(source.runs) and source.theta[0] < NO_FLOOR * min(
        run[source.unit] for run in source.runs
    )
    values = _parameters(found)
    if floorless:
        values[0] = "E = 0 [0, unknown]"
    law = ", ".join(values)
    runs = f"{len(source.runs)} runs" if source.runs else guess_text()
    lines = [f"Law ({source.where}, {runs}): {law}; noise {known.noise:.2g}.", found.budget]
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
    return lines + _single_run_lines(found)


def _parameters(found: Proposal) -> list[str]:
    """Each parameter of the law with its interval."""
    places = [Additive.coordinates.index(key) for key in GUESS]
    signed = np.array([key in Additive.exponents for key in GUESS])
    ends = [end[places] for end in found.known.interval(lambda phi: phi)]
    low, high = (np.where(signed, end, np.exp(np.where(signed, 0, end))) for end in ends)
    return [
        f"{key} = {value:.4g} [{a:.3g}, {b:.3g}]"
        for key, value, a, b in zip(GUESS, found.source.theta, low, high, strict=True)
    ]


def _single_run_lines(found: Proposal) -> list[str]:
    """Size, data and loss of the best single run of the budget, by both counts of FLOPs."""
    known, lines = found.known, []
    for words, flops in (("counted", found.family.flops_of), ("6ND", SIX_ND)):
        target = optimum_target(known.surface, flops, found.spend)
        best, (down, up) = np.exp(target(known.phi[None])[0]), np.exp(known.interval(target))
        if np.isfinite(best).all():
            spans = [f"{b:.3g} [{a:.3g}, {c:.3g}]" for b, a, c in zip(best, down, up, strict=True)]
            lines.append(
                f"One run with all of it ({words}): N* = {spans[0]}, D* = {spans[1]}, loss {spans[2]}."
            )
    return lines


def points_table(found: Proposal) -> Table:
    """One row a point: size, data, FLOPs, expected loss, memory, time and cost."""
    design, family, hardware = found.design, found.family, found.hardware
    shown = _strategies(found)
    columns = ["width × layers", "N", "tokens", "FLOP", "6ND", f"{found.source.unit} [95 % of runs]"]
    columns += [f"GiB {stage}" for stage in shown]
    columns += ["time"] * bool(hardware.rate) + ["€"] * bool(hardware.rate and hardware.price)
    table = Table(*columns)
    for column in table.columns:
        column.justify = "right"
    limit = _usable_gib(found)
    losses = design.before.run_interval(design.inputs)
    rows = zip(found.widths, design.inputs, design.flops, *losses, strict=True)
    for width, (n, tokens), flops, loss, low, high in rows:
        memory = family.memory_gib(width, hardware.gpus)
        cells = [f"{memory[stage]:.2f}" + (" !" if memory[stage] > limit else "") for stage in shown]
        if hardware.rate:
            seconds = flops / hardware.rate.flops / hardware.gpus
            cells.append(format_duration(seconds))
            if hardware.price:
                cells.append(f"{seconds / 3600 * hardware.gpus * hardware.price:,.2f}")
        table.add_row(
            f"{width} × {family.layers}",
            f"{n:.4g}" if n >= 1e7 else f"{n:,.0f}",
            f"{tokens:.3e}",
            f"{flops:.2e}",
            f"{6 * n * tokens:.1e}",
            f"{loss:.4g} [{low:.4g}, {high:.4g}]",
            *cells,
        )
    return table


def _strategies(found: Proposal) -> tuple[str, ...]:
    return STAGES if found.hardware.gpus > 1 else STAGES[:1]


def _usable_gib(found: Proposal) -> float:
    """GiB of a GPU that tensors may take; infinite where no GPU is named."""
    return usable(found.hardware.gpu) / GIB if found.hardware.gpu else math.inf


def memory_lines(found: Proposal) -> list[str]:
    """A line on points that do not fit a GPU; none where all fit."""
    limit, hardware = _usable_gib(found), found.hardware
    if all(found.family.memory_gib(width, hardware.gpus)["ddp"] <= limit for width in found.widths):
        return []
    return [
        f"! is more than the {limit:.1f} GiB that {hardware.gpu} has for tensors: take more GPUs, another "
        "strategy, or --set batch.per_gpu=auto."
    ]


def gain_lines(found: Proposal) -> list[str]:
    """What the points cost together, and how much they narrow each quantity of the goal."""
    design, hardware = found.design, found.hardware
    spent = float(design.flops.sum())
    lines = [f"{len(design.chosen)} points: {spent:.3g} FLOP."]
    if hardware.rate:
        gpus, hours = hardware.gpus, spent / hardware.rate.flops / 3600
        cost = f", {hours * hardware.price:,.2f} €" if hardware.price else ""
        energy = ""
        if hardware.gpu:
            energy = f", at most {hours * accelerator(hardware.gpu).watts / 1000:.3g} kWh"
        lines = [
            f"{len(design.chosen)} points: {spent:.3g} FLOP, {hours:,.3g} GPU-hours "
            f"({format_duration(hours * 3600 / gpus)} on {gpus} GPU{'s' if gpus > 1 else ''}){cost}{energy}."
        ]
    for label, value, before, after in design.intervals():
        narrower = 1 - (after[1] - after[0]) / (before[1] - before[0])
        lines.append(
            f"{label}: {value:.4g}, now [{before[0]:.4g}, {before[1]:.4g}], after these points about "
            f"[{after[0]:.4g}, {after[1]:.4g}] ({narrower:.0%} narrower)."
        )
    return lines
