"""One vector for each of anyone's molecules: ``python -m chemscale.embed RUN FILE --out OUT.npy``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from chemscale.cli.app import run_verb

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def embed(
    run: Annotated[
        Path, typer.Argument(help="A finished point (its directory, or RUNS/SWEEP/NAME), or a model folder.")
    ],
    molecules: Annotated[
        str, typer.Argument(help="CSV, SMI, Parquet, SDF, JSON, compressed or not; a folder; or a 'pattern'.")
    ],
    out: Annotated[Path, typer.Option(help=".npy, .parquet or .csv to write (not overwritten).")],
    pooling: Annotated[str, typer.Option(help="mean, last or max over the symbols.")] = "mean",
    layer: Annotated[
        int, typer.Option(help="0: the embeddings; i: what block i gives; -1: the last, normalised.")
    ] = -1,
    dtype: Annotated[str, typer.Option(help="float32 or float16.")] = "float32",
    column: Annotated[
        str | None, typer.Option(help="Column of SMILES or SELFIES, name or number from 0; else found.")
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(help="Column to keep, all, or none; else what looks like an identifier."),
    ] = None,
    as_written: Annotated[
        bool, typer.Option("--as-written", help="Embed the spelling of the file, not the canonical one.")
    ] = False,
    batch: Annotated[int | None, typer.Option(min=1, help="Symbols at a time; changes no number.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that read molecules.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
) -> None:
    """Hidden states of the model, pooled to one vector a molecule: features for a model of your own.

    Row i of a .npy is row i of the input, NaN where a molecule cannot be read; reasons and identifiers stand
    beside it in OUT.rows.csv. Millions of rows stream through bounded memory; interrupted, the same command
    goes on.

    Examples:

      python -m chemscale.embed runs/chemgpt_sizes/chemgpt-w64-l8 molecules.csv --out vectors.npy

      python -m chemscale.embed model library.smi.gz --out vectors.parquet --dtype float16 --layer 12
    """
    from chemscale.molecules.representation import run as verbs  # loads torch and RDKit: not for --help

    kept = keep[0] if keep in (["all"], ["none"]) else keep
    found = verbs.embed(
        run,
        molecules,
        out,
        pooling=pooling,
        layer=layer,
        dtype=dtype,
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
    typer.echo(f"Written to {out}")


def main() -> None:
    """Run the command line."""
    run_verb(app)


if __name__ == "__main__":
    main()
