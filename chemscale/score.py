"""Likelihood of molecules under a trained model: ``python -m chemscale.score RUN FILE --out OUT``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from chemscale.cli.app import run_verb

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def score(
    run: Annotated[
        Path, typer.Argument(help="A finished point (its directory, or RUNS/SWEEP/NAME), or a model folder.")
    ],
    molecules: Annotated[
        str, typer.Argument(help="CSV, SMI, Parquet, SDF, JSON, compressed or not; a folder; or a 'pattern'.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="CSV or Parquet to write (not overwritten); else only counts.")
    ] = None,
    column: Annotated[
        str | None, typer.Option(help="Column of SMILES or SELFIES, name or number from 0; else found.")
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(help="Column to keep, all, or none; else what looks like an identifier."),
    ] = None,
    as_written: Annotated[
        bool, typer.Option("--as-written", help="Score the spelling of the file, not the canonical one.")
    ] = False,
    batch: Annotated[int | None, typer.Option(min=1, help="Symbols at a time; changes no number.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that read molecules.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
) -> None:
    """Nats of each molecule, and nats a heavy atom: how unlikely the model finds it.

    A molecule like those of the training has few nats an atom; an outlier has many. Rows that cannot be
    scored get a reason and no number. Millions of rows stream through bounded memory; interrupted, the same
    command goes on.

    Examples:

      python -m chemscale.score runs/chemgpt_sizes/chemgpt-w64-l8 molecules.csv --out scores.csv

      python -m chemscale.score model library.smi.gz --out scores.parquet --keep all

      python -m chemscale.score model generated.csv --column SELFIES --as-written
    """
    from chemscale.molecules.representation import run as verbs  # loads torch and RDKit: not for --help

    kept = keep[0] if keep in (["all"], ["none"]) else keep
    found = verbs.score(
        run,
        molecules,
        out,
        column=column,
        keep=kept or None,
        as_written=as_written,
        batch=batch,
        workers=workers,
        device=device,
        progress=True,
    )
    for line in found.summary():
        typer.echo(line)
    if out is not None:
        typer.echo(f"Written to {out}")


def main() -> None:
    """Run the command line."""
    run_verb(app)


if __name__ == "__main__":
    main()
