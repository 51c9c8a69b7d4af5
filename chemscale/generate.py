"""Molecules from any trained point: ``python -m chemscale.generate RUN --n 1000 --out FILE.csv``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from chemscale.cli.app import run_verb

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def generate(
    run: Annotated[
        Path,
        typer.Argument(help="A finished point (its directory, or RUNS/SWEEP/NAME), or a saved model folder."),
    ],
    n: Annotated[int, typer.Option("--n", min=1, help="Molecules to draw.")] = 1000,
    out: Annotated[
        Path | None,
        typer.Option(help="File to write, by its suffix: .csv, .smi, .parquet, .sdf; else only counts."),
    ] = None,
    prompt: Annotated[
        list[str] | None,
        typer.Option(help="Begin with it: SELFIES (the model's notation) or SMILES; several in turns."),
    ] = None,
    scaffold: Annotated[
        str | None,
        typer.Option(help="Decorate this SMILES: from each of its atoms in turns, or those beside a *."),
    ] = None,
    forbid: Annotated[
        list[str] | None, typer.Option(help="A symbol never to write, such as '[Br]'; or several by commas.")
    ] = None,
    max_heavy_atoms: Annotated[int | None, typer.Option(help="Heavy atoms at most.")] = None,
    max_rings: Annotated[int | None, typer.Option(help="Rings at most.")] = None,
    min_length: Annotated[int, typer.Option(help="Symbols at least, the end not counted.")] = 0,
    max_length: Annotated[int, typer.Option(help="Symbols at most; longer molecules are truncated.")] = 512,
    valid: Annotated[bool, typer.Option("--valid", help="Keep valid ones only, until there are n.")] = False,
    unique: Annotated[
        bool, typer.Option("--unique", help="Keep different (and so valid) ones only, until there are n.")
    ] = False,
    tries: Annotated[
        int | None,
        typer.Option(help="Sequences to draw at most, to whole batches; 20 times n where not all are kept."),
    ] = None,
    temperature: Annotated[float, typer.Option(help="1 is the model's own distribution.")] = 1.0,
    top_k: Annotated[int, typer.Option(help="Only the k likeliest symbols; 0 is all.")] = 0,
    top_p: Annotated[float, typer.Option(help="Only the likeliest symbols of this mass.")] = 1.0,
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
    workers: Annotated[int, typer.Option(min=1, help="Processes that decode; more help a GPU.")] = 1,
) -> None:
    """Draw molecules, and count how many are valid and unique.

    Columns: SMILES, what was written (SELFIES), valid, truncated, nll (nats, under the model itself at
    temperature 1), nats_per_heavy_atom. The file appears when it is whole; until then its rows lie in
    OUT.parts, and the same command goes on after an interruption.

    Examples:

      python -m chemscale.generate runs/chemgpt_sizes/chemgpt-w64-l8 --n 1000 --out molecules.csv

      python -m chemscale.generate runs/chemgpt_sizes/chemgpt-w64-l8/model --temperature 0.8

      python -m chemscale.generate MODEL --n 1000000 --unique --out library.parquet

      python -m chemscale.generate MODEL --scaffold 'c1ccc(*)nc1' --max-heavy-atoms 30 --out decorated.sdf

      python -m chemscale.generate MODEL --prompt 'CC(=O)N' --forbid '[Br],[I]' --max-rings 3

      python -m chemscale.generate RUN --condition logP=2.5 --condition scaffold=c1ccccc1

    Leaves with status 1 where --tries ended before n molecules were found; what was found is written.
    """
    from chemscale.molecules.conditions import parse_conditions
    from chemscale.molecules.generation.run import generate  # loads torch and RDKit: not for --help

    found = generate(
        run,
        n,
        out=out,
        prompt=prompt or (),
        scaffold=scaffold,
        condition=parse_conditions(condition or []),
        forbid=[symbol for text in forbid or () for symbol in text.split(",")],
        max_heavy_atoms=max_heavy_atoms,
        max_rings=max_rings,
        min_length=min_length,
        max_length=max_length,
        valid=valid,
        unique=unique,
        tries=tries,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        batch=batch,
        seed=seed,
        device=device,
        precision=precision,
        workers=workers,
    )
    for line in found.summary():
        typer.echo(line)
    if out is not None:
        typer.echo(f"Written to {out}")
    if not found.complete:
        raise typer.Exit(1)


def main() -> None:
    """Run the command line."""
    run_verb(app)


if __name__ == "__main__":
    main()
