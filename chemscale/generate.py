"""Molecules from any trained point: ``python -m chemscale.generate RUN --n 1000 --out FILE.csv``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from chemscale.cli.app import run_verb
from chemscale.common.progress import ProgressBar

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def generate(
    run: Annotated[
        Path,
        typer.Argument(help="A finished point (its directory, or RUNS/SWEEP/NAME), or a saved model folder."),
    ],
    n: Annotated[int, typer.Option("--n", min=1, help="Molecules to draw.")] = 1000,
    out: Annotated[
        Path | None, typer.Option(help="CSV to write (not overwritten); else only counts.")
    ] = None,
    temperature: Annotated[float, typer.Option(help="1 is the model's own distribution.")] = 1.0,
    top_k: Annotated[int, typer.Option(help="Only the k likeliest symbols; 0 is all.")] = 0,
    top_p: Annotated[float, typer.Option(help="Only the likeliest symbols of this mass.")] = 1.0,
    max_length: Annotated[int, typer.Option(help="Symbols at most; longer molecules are truncated.")] = 512,
    batch: Annotated[int, typer.Option(min=1, help="Molecules drawn at a time.")] = 256,
    condition: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=VALUE, once for each condition of a model that was trained with data.condition: "
            "logP=2.5, scaffold=c1ccccc1; those that are not named are left open."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed and batch give the same molecules.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
    precision: Annotated[
        str, typer.Option(help="32, or bf16: half the memory for keys and values, for large models on a GPU.")
    ] = "32",
) -> None:
    """Draw molecules, and count how many are valid and unique.

    Examples:

      python -m chemscale.generate runs/chemgpt_sizes/chemgpt-w64-l8 --n 1000 --out molecules.csv

      python -m chemscale.generate runs/chemgpt_sizes/chemgpt-w64-l8/model --temperature 0.8

      python -m chemscale.generate runs/mine/NAME --condition logP=2.5 --condition scaffold=c1ccccc1
    """
    from chemscale.molecules.conditions import banned_ids, describe_request, parse_conditions, prefix_ids
    from chemscale.molecules.conditions.achieved import achieved
    from chemscale.molecules.generation import Sample, write_csv  # loads torch and RDKit: not for --help
    from chemscale.molecules.loading import load_trained
    from chemscale.molecules.sampling import Sampling, sample

    if out is not None and out.exists():
        raise ValueError(f"{out} exists: choose another --out or remove it.")
    sampling = Sampling(temperature, top_k, top_p, max_length, precision)
    model, tokenizer = load_trained(run, device)
    asked = parse_conditions(condition or [])
    start, banned = prefix_ids(tokenizer, asked), banned_ids(tokenizer)
    for line in describe_request(tokenizer, asked):
        typer.echo(line)
    result = Sample(tokenizer)
    with ProgressBar("generate", n, "molecules") as progress:
        for sequences in sample(model, n, sampling, seed=seed, batch=batch, start=start, banned=banned):
            result.add(sequences)
            progress.advance(len(sequences))
    for line in result.summary():
        typer.echo(line)
    for found in achieved(tokenizer, asked, [m.smiles for m in result.molecules if m.valid]):
        typer.echo(f"achieved   {found}")
    if out is not None:
        write_csv(out, result)
        typer.echo(f"Written to {out}")


def main() -> None:
    """Run the command line."""
    run_verb(app)


if __name__ == "__main__":
    main()
