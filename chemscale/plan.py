"""The next points from a law and a budget: ``python -m chemscale.plan LAW_JSON --budget 1e18``."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chemscale.errors import CONFIG_DIRECTORY, run_verb
from chemscale.hardware import Rate, accelerator, training_rate
from chemscale.memory import GIB, STAGES
from chemscale.plan_inputs import (
    GUESS,
    Source,
    guess_text,
    guessed,
    like_runs,
    read_budget,
    read_goal,
    read_guess,
    read_law,
    read_ratio,
    with_settings,
)
from chemscale.proposals import (
    Family,
    PlanError,
    candidates,
    split_settings,
    sweep_path,
    write_sweep,
)

if TYPE_CHECKING:
    from chemscale.laws.design import Design, KnownLaw

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

NO_FLOOR = 1e-6
"""Share of the lowest loss below which a fitted E is no more than the end of a descent to 0."""


@app.command()
def plan(
    law: Annotated[
        Path | None, typer.Argument(help="law.json of a joint law (form additive), or its folder.")
    ] = None,
    guess: Annotated[
        str | None, typer.Option("--law", help='A guess instead: "E=0.9,A=20,B=300,alpha=0.35,beta=0.4".')
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Instead of points: place this model of conf/model on --gpus of --gpu.")
    ] = None,
    budget: Annotated[float | None, typer.Option(help="FLOPs for all new points together.")] = None,
    gpu_hours: Annotated[float | None, typer.Option(help="The budget in GPU-hours; needs a rate.")] = None,
    euros: Annotated[
        float | None, typer.Option(help="The budget in euros; needs --euros-per-gpu-hour and a rate.")
    ] = None,
    euros_per_gpu_hour: Annotated[float | None, typer.Option(help="What a GPU-hour costs you.")] = None,
    gpu: Annotated[str | None, typer.Option(help="h100, a100, …: an unknown one lists the known.")] = None,
    gpus: Annotated[int, typer.Option(min=1, help="GPUs that train one point together.")] = 1,
    measured_flops: Annotated[
        float | None, typer.Option(help="FLOP/s of one GPU as your own runs print it; wins over the table.")
    ] = None,
    mfu: Annotated[float | None, typer.Option(help="Share of the GPU's peak to expect.")] = None,
    precision: Annotated[
        str | None, typer.Option(help="32, bf16-mixed or 16-mixed; with --gpu bf16-mixed, else 32.")
    ] = None,
    goal: Annotated[
        str, typer.Option(help="loss, exponent (α and β) or allocation (a of N* ∝ C^a).")
    ] = "loss",
    target: Annotated[
        str | None, typer.Option(help="Where the loss matters: C=1e20, or N=1e8,D=1e10; else ten budgets.")
    ] = None,
    points: Annotated[int, typer.Option(min=1, help="At most so many new points.")] = 6,
    layers: Annotated[int, typer.Option(min=1, help="Of every ChemGPT.")] = 24,
    heads: Annotated[int, typer.Option(min=1, help="Likewise; widths are multiples of it.")] = 16,
    vocab: Annotated[int, typer.Option(min=8, help="Symbols; from the law's runs where they tell.")] = 100,
    tokens_per_molecule: Annotated[
        float, typer.Option(min=1, help="Mean length, for attention's FLOPs.")
    ] = 32.0,
    ratio: Annotated[str, typer.Option(help="Least:largest tokens a parameter.")] = "1:1000",
    max_tokens: Annotated[
        float | None, typer.Option(help="Most tokens of a point, such as one pass over your corpus.")
    ] = None,
    noise: Annotated[float, typer.Option(help="With --law: spread of log loss between runs.")] = 0.01,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="key=value for the sweep file; as often as needed.")
    ] = None,
    name: Annotated[str, typer.Option(help="Of the sweep, where --out is a folder.")] = "planned",
    out: Annotated[
        Path | None, typer.Option(help="Sweep file or folder to write: FOLDER/sweep/NAME.yaml.")
    ] = None,
) -> None:
    """Choose the next ChemGPT runs: those that narrow most what you want to know, for what you can spend.

    A law L = E + A·N^−α + B·D^−β says what a run of N parameters and D tokens will reach, and how surely. Its
    runs (or a guess) give the uncertainty; each possible new run would reduce it by a known amount before it
    is trained. From all widths and amounts of data that fit the budget, this picks the set that shrinks the
    interval of the goal most: the loss at a target, the exponents, or how to share compute between N and D.

    For each point it prints size, tokens, FLOPs as counted (matrix products, attention, head), the loss to
    expect with a 95 % interval for the run, memory of one GPU under each strategy, time and cost. A run
    outside its interval says that the form does not hold there. With --out the points become a sweep file;
    train it, fit all runs, and plan again.

    Memory is that of tensors (chemscale.memory). Time is an estimate at one rate for all widths (small ones
    are slower than that) and no loss between GPUs: --model tells that. Tokens count as fresh.
    Potentials are not planned yet: their laws are in frames and capacity.

    Examples:

      python -m chemscale.plan runs/grid/law --budget 1e17 --layers 8 --heads 8 --out plans

      python -m chemscale.train --config-dir plans +sweep=planned

      python -m chemscale.plan --law "E=0.9,A=20,B=300,alpha=0.35,beta=0.4" --gpu h100 --gpu-hours 100

      python -m chemscale.plan law.json --euros 200 --euros-per-gpu-hour 2.5 --gpu a100 --goal exponent

      python -m chemscale.plan --model chemgpt_10b --gpu a100 --gpus 64 --set batch.tokens=524288

    With --model it makes no points: it says what one model, planned on paper, takes of each GPU under every
    strategy, which micro-batch fits, and how a step scales from 8 to 1,024 GPUs.
    """
    if model is not None:
        _place(model, setting or [], vocab, tokens_per_molecule, gpu, gpus, precision, mfu)
        return
    from chemscale.laws.design import choose_points

    groups, values = split_settings(setting or [], CONFIG_DIRECTORY)
    file, name = sweep_path(out, name) if out else (None, name)  # refuse before anything is computed
    family = Family(
        layers, heads, vocab, tokens_per_molecule, precision=precision or ("bf16-mixed" if gpu else "32")
    )
    family = with_settings(family, values)
    if law and guess:
        raise PlanError("Give a law.json or --law, not both.")
    source = read_guess(guess) if guess else read_law(law)
    family = like_runs(replace(family, convention=source.convention), source)
    rate = training_rate(gpu, measured=measured_flops, mfu=mfu, precision=family.precision)
    spend, budget_text = read_budget(budget, gpu_hours, euros, euros_per_gpu_hour, rate)
    allowed = candidates(family, spend, ratio=read_ratio(ratio), most_tokens=max_tokens or math.inf)
    known = source.law or guessed(source.theta, allowed.inputs, noise)
    wanted = read_goal(goal, target, known, family, spend)
    design = choose_points(known, allowed.inputs, allowed.flops, wanted, budget=spend, points=points)
    widths = [int(allowed.width[number]) for number in design.chosen]
    for line in _head(source, known, family, budget_text, rate, spend):
        typer.echo(line)
    _show(design, widths, family, gpus, rate, euros_per_gpu_hour, source.unit, gpu)
    for line in _gain(design, rate, gpus, euros_per_gpu_hour, gpu):
        typer.echo(line)
    if file:
        command = "python -m chemscale.plan " + shlex.join(sys.argv[1:])
        comment = [f"Proposed by: {command}", *_gain(design, rate, gpus, euros_per_gpu_hour, gpu)]
        write_sweep(
            file,
            name,
            family,
            _points(design, widths, source.runs),
            groups=groups,
            values=values,
            comment=comment,
        )
        typer.echo(f"Wrote {file}. Train it, then fit old and new runs together and plan again:")
        typer.echo(f"  python -m chemscale.train --config-dir {file.parent.parent} +sweep={name}")


def _place(
    name: str,
    settings: Sequence[str],
    vocab: int,
    length: float,
    gpu: str | None,
    gpus: int,
    precision: str | None,
    mfu: float | None,
) -> None:
    """The plan of one model.

    Raises:
        PlanError: no --gpu.
    """
    from chemscale.model_plan import read_model, show_model_plan

    if gpu is None:
        raise PlanError("--model needs the GPUs that it is to fit: --gpu a100-40gb --gpus 8.")
    precision = precision or "bf16-mixed"
    placed = read_model(name, settings, vocab, length, precision)
    show_model_plan(name, placed, gpu, gpus, precision=precision, mfu=mfu)


# --- what is shown and written ---


def _head(
    source: Source, known: KnownLaw, family: Family, budget: str, rate: Rate | None, spend: float
) -> list[str]:
    import numpy as np

    from chemscale.laws.allocation import optimum_target
    from chemscale.laws.compute import SIX_ND
    from chemscale.laws.surfaces import Additive

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


def _show(
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

    from chemscale.model_plan import usable

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
            cells.append(_clock(seconds))
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


def _gain(design: Design, rate: Rate | None, gpus: int, price: float | None, gpu: str | None) -> list[str]:
    spent = float(design.flops.sum())
    lines = []
    if rate:
        hours = spent / rate.flops / 3600
        cost = f", {hours * price:,.2f} €" if price else ""
        energy = f", at most {hours * accelerator(gpu).watts / 1000:.3g} kWh" if gpu else ""
        lines.append(
            f"{len(design.chosen)} points: {spent:.3g} FLOP, {hours:,.3g} GPU-hours "
            f"({_clock(hours * 3600 / gpus)} on {gpus} GPU{'s' if gpus > 1 else ''}){cost}{energy}."
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


def _points(design: Design, widths: Sequence[int], runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
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


def _clock(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"


def main() -> None:
    run_verb(app)


if __name__ == "__main__":
    main()
