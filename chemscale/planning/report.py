"""What a plan prints: the law that it rests on, the points, and how much they would narrow a goal."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from rich.console import Console
from rich.table import Table

from chemscale.common.durations import format_duration
from chemscale.hardware.accelerators import accelerator
from chemscale.hardware.memory import GIB, STAGES
from chemscale.laws.allocation.compute import SIX_ND
from chemscale.laws.allocation.optimum import optimum_target
from chemscale.laws.joint.surfaces import Additive
from chemscale.laws.reports.texts import span_text
from chemscale.planning.inputs import guess_text
from chemscale.planning.law_file import GUESS
from chemscale.planning.proposal import REPEATS, Proposal
from chemscale.planning.single_model import usable


def print_proposal(found: Proposal) -> None:
    """Print the law, a table of the points, and how much they would narrow the goal."""
    for line in law_lines(found):
        print(line)
    console = Console()
    (console if console.is_terminal else Console(width=180)).print(points_table(found))
    for line in [*memory_lines(found), *rate_lines(found), *reach_lines(found), *gain_lines(found)]:
        print(line)


def law_lines(found: Proposal) -> list[str]:
    """The law with its intervals, the budget, how FLOPs are counted, and the best single run."""
    source, known, family, rate = found.source, found.known, found.family, found.hardware.rate
    values = _parameters(found)
    if source.floorless:
        values[0] = "E = 0 [0, unknown]"
    law = ", ".join(values)
    runs = f"{len(source.runs)} runs" if source.runs else guess_text()
    runs += f"; {source.left_out}" if source.left_out else ""
    lines = [f"Law ({source.where}, {runs}): {law}; noise {known.noise:.2g}.", found.budget]
    if source.runs and known.draws is None:
        lines.append(
            f"This law.json keeps no draws of its bootstrap: intervals of losses are those of first order, "
            f"{known.stretch:.2g} times as wide, as its own of the parameters are. fit writes them now."
        )
    if source.runs:
        lines.append(
            "This law.json does not say what exponents that drift may be worth: intervals take the form as "
            "true. fit says so now."
            if known.drift is None
            else "Intervals of losses, N* and D* allow for exponents that drift too weakly to show."
        )
    if source.floorless:
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
    if source.runs:
        spans = ", ".join(
            f"{axis} {low:.3g} to {high:.3g}" for axis, (low, high) in source.measured.spans.items()
        )
        lines.append(f"Runs of the law: {spans}.")
    return lines + source.measured.test_lines() + _single_run_lines(found)


def _parameters(found: Proposal) -> list[str]:
    """Each parameter of the law with its interval."""
    places = [Additive.coordinates.index(key) for key in GUESS]
    signed = np.array([key in Additive.exponents for key in GUESS])
    ends = [end[places] for end in found.known.interval(lambda phi: phi)]
    low, high = (np.where(signed, end, np.exp(np.where(signed, 0, end))) for end in ends)
    own = found.source.intervals
    return [
        f"{key} = {span_text(value, own.get(key, (a, b)), '.4g')}"
        for key, value, a, b in zip(GUESS, found.source.theta, low, high, strict=True)
    ]


def _single_run_lines(found: Proposal) -> list[str]:
    """Size, data and loss of the best single run of the budget, by both counts of FLOPs."""
    known, lines, against = found.known, [], found.source.measured.against
    for words, flops in (("counted", found.family.flops_of), ("6ND", SIX_ND)):
        target = optimum_target(known.surface, flops, found.spend)
        best, (down, up) = np.exp(target(known.phi[None])[0]), np.exp(known.interval(target))
        if np.isfinite(best).all():
            spans = [
                f"{b:.3g} (no interval)" if against else f"{b:.3g} [{a:.3g}, {c:.3g}]"
                for b, a, c in zip(best, down, up, strict=True)
            ]
            at = {"N": float(best[0]), "D": float(best[1]), "C": found.spend}
            lines.append(
                f"One run with all of it ({words}): N* = {spans[0]}, D* = {spans[1]}, loss {spans[2]}"
                f"{beyond_text(found, at)}."
            )
    return lines


def beyond_text(found: Proposal, at: Mapping[str, float]) -> str:
    """How far beyond the law's runs a prediction lies, to stand behind it; empty for a guess."""
    measured = found.source.measured
    if not measured.spans:
        return ""
    text = f"; {measured.words(at)}"
    if measured.untested(at):
        tested = (
            f"beyond the {measured.tested:.3g}× compute that was tested" if measured.tests else "never tested"
        )
        text += f", {tested}"
    if measured.against:
        off = measured.off(at)
        text += "" if off is None else f", may be off by ±{off:.1%}"
    return text


def points_table(found: Proposal) -> Table:
    """One row a point: size, data, FLOPs, expected loss, memory, time and cost."""
    design, family, hardware = found.design, found.family, found.hardware
    shown = _strategies(found)
    columns = ["width × layers", "N", "tokens", "FLOP", "6ND", f"{found.source.unit} [95 % of runs]"]
    columns += ["beyond the law's runs"] * bool(found.source.runs)
    columns += [f"GiB {stage}" for stage in shown]
    columns += ["time"] * bool(hardware.rate) + ["€"] * bool(hardware.rate and hardware.price)
    table = Table(*columns)
    for column in table.columns:
        column.justify = "right"
    limit = _usable_gib(found)
    losses = design.before.run_interval(design.inputs)
    rows = zip(found.widths, found.places, *losses, strict=True)
    for width, at, loss, low, high in rows:
        n, tokens, flops = at["N"], at["D"], at["C"]
        memory = family.memory_gib(width, hardware.gpus)
        cells = [f"{memory[stage]:.2f}" + (" !" if memory[stage] > limit else "") for stage in shown]
        if found.source.runs:
            mark = " *" if found.source.measured.untested(at) else ""
            cells.insert(0, found.source.measured.words(at) + mark)
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
            _loss_text(found, at, (loss, low, high)),
            *cells,
        )
    return table


def _loss_text(found: Proposal, at: Mapping[str, float], band: tuple[float, float, float]) -> str:
    """A predicted loss with the interval of a run, or how far off it may be where the form does not hold."""
    loss, low, high = band
    if not found.source.measured.against:
        return f"{loss:.4g} [{low:.4g}, {high:.4g}]"
    off = found.source.measured.off(at)
    return f"{loss:.4g} (no interval)" if off is None else f"{loss:.4g} (may be off by ±{off:.1%})"


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


def rate_lines(found: Proposal) -> list[str]:
    """A line where a published rate, which is of larger models, makes the smallest points look too short."""
    hardware, family = found.hardware, found.family
    if hardware.gpu is None or hardware.rate is None or hardware.rate.why in ("measured", "given"):
        return []
    gpu, width = accelerator(hardware.gpu), min(found.widths)
    took, flops = family.estimated_step(width, hardware.gpus, gpu)
    times = took / (flops / hardware.rate.flops)
    if times < SLOWER:
        return []
    return [
        f"The rate is that of larger models. By what a step launches and moves, width {width} would reach "
        f"{flops / took / gpu.peak_of(family.precision):.2g} of the peak and take about {times:.0f} times as "
        "long as shown (an estimate). Larger batches, or launcher.per_gpu=4, fill the GPU; --measured-flops "
        "takes the rate of a run."
    ]


SLOWER = 1.5
"""Times that an estimate must be above the plan to be worth a line."""


def reach_lines(found: Proposal) -> list[str]:
    """Points beyond what held-out runs tested, replicates, and what is left of the budget."""
    measured, lines = found.source.measured, []
    count = sum(measured.untested(at) for at in found.places)
    if count:
        lines.append(
            f"* {count} of {len(found.places)} points lie beyond the {measured.tested:.3g}× compute up to "
            "which the law was tested: their losses are a question to it. Train the smaller ones first."
            if measured.tests
            else f"* {count} of {len(found.places)} points need more compute than any run, and no held-out "
            "run tested this law: their losses are a question to it. Train the smaller ones first."
        )
    chosen = found.design.chosen
    if any(chosen.count(number) == REPEATS for number in chosen):
        lines.append(
            f"At most {REPEATS} points of one configuration: more seeds would narrow the goal only if the "
            "form is right, and other configurations show whether it is."
        )
    spent = float(found.design.flops.sum())
    if spent < 0.5 * found.spend:
        lines.append(
            f"{1 - spent / found.spend:.0%} of the budget is left over: more --points"
            + (", or a larger --reach," if found.source.runs else "")
            + " would use it."
        )
    return lines


def gain_lines(found: Proposal) -> list[str]:
    """What the points cost together, and how much they narrow each quantity of the goal."""
    design, hardware = found.design, found.hardware
    spent = float(design.flops.sum())
    many = f"{len(design.chosen)} point{'s' if len(design.chosen) > 1 else ''}"
    lines = [f"{many}: {spent:.3g} FLOP."]
    if hardware.rate:
        gpus, hours = hardware.gpus, spent / hardware.rate.flops / 3600
        cost = f", {hours * hardware.price:,.2f} €" if hardware.price else ""
        energy = ""
        if hardware.gpu:
            energy = f", at most {hours * accelerator(hardware.gpu).watts / 1000:.3g} kWh"
        lines = [
            f"{many}: {spent:.3g} FLOP, {hours:,.3g} GPU-hours "
            f"({format_duration(hours * 3600 / gpus)} on {gpus} GPU{'s' if gpus > 1 else ''}){cost}{energy}."
        ]
    beyond = beyond_text(found, found.aim) if found.aim else ""
    for label, value, before, after in design.intervals():
        narrower = 1 - (after[1] - after[0]) / (before[1] - before[0])
        if found.source.measured.against:
            lines.append(
                f"{label}: {value:.4g} (no interval){beyond}. The runs speak against the form: nothing is "
                "promised, and these points show where it fails."
            )
            continue
        lines.append(
            f"{label}: {value:.4g}, now [{before[0]:.4g}, {before[1]:.4g}], after these points about "
            f"[{after[0]:.4g}, {after[1]:.4g}] ({narrower:.0%} narrower if the form holds){beyond}."
        )
    return lines


def comment_lines(found: Proposal) -> list[str]:
    """What stands above a sweep file: each point's predicted loss, what tested the law, and the gain."""
    unit, places = found.source.unit, found.places
    bands = zip(*found.design.before.run_interval(found.design.inputs), strict=True)
    lines = [
        f"width {width}, {at['D']:.3g} tokens: {unit} {_loss_text(found, at, band)}{beyond_text(found, at)}"
        for width, at, band in zip(found.widths, places, bands, strict=True)
    ]
    return [*lines, *found.source.measured.test_lines(), *reach_lines(found), *gain_lines(found)]
