"""The next points from a law and a budget: ``python -m chemscale.plan LAW_JSON --budget 1e18``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from chemscale.cli.app import run_verb

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


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
    reach: Annotated[
        float,
        typer.Option(min=1, help="Times the largest N, D and FLOPs of the law's runs that a point may have."),
    ] = 10.0,
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
    expect with a 95 % interval for the run and how far beyond the law's runs it lies, memory of one GPU under
    each strategy, time and cost. A run outside its interval says that the form does not hold there. Points
    keep within --reach of the runs, and at most two are of one configuration. With --out they become a
    sweep file; train it, fit all runs, and plan again.

    Memory is that of tensors (chemscale.hardware). Time is an estimate at one rate for all widths (small ones
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
    # Imported here, so that --help does not wait for SciPy.
    from chemscale.common.paths import CONFIG_DIRECTORY
    from chemscale.planning.proposal import PlanOptions, propose
    from chemscale.planning.report import comment_lines, print_proposal
    from chemscale.planning.single_model import print_model_plan
    from chemscale.planning.sweep_file import split_settings, sweep_path, write_sweep

    if model is not None:
        print_model_plan(
            model, setting or [], vocab, tokens_per_molecule, gpu, gpus, precision=precision, mfu=mfu
        )
        return
    groups, values = split_settings(setting or [], CONFIG_DIRECTORY)
    file, name = sweep_path(out, name) if out else (None, name)  # refuse before anything is computed
    options = PlanOptions(
        law, guess, budget, gpu_hours, euros, euros_per_gpu_hour, gpu, gpus, measured_flops, mfu, precision,
        goal, target, points, layers, heads, vocab, tokens_per_molecule, ratio, max_tokens, noise,
        reach,
    )  # fmt: skip
    found = propose(options, values)
    print_proposal(found)
    if file:
        comment = ["Proposed by: python -m chemscale.plan " + shlex.join(sys.argv[1:]), *comment_lines(found)]
        write_sweep(file, name, found, groups=groups, values=values, comment=comment)
        typer.echo(f"Wrote {file}. Train it, then fit old and new runs together and plan again:")
        typer.echo(f"  python -m chemscale.train --config-dir {file.parent.parent} +sweep={name}")


def main() -> None:
    run_verb(app)


if __name__ == "__main__":
    main()
