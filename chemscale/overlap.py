"""What a training set and benchmarks have in common: ``python -m chemscale.overlap TRAIN BENCHMARK``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from chemscale.cli.app import run_verb

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def overlap(
    train: Annotated[
        str,
        typer.Argument(
            metavar="TRAIN",
            help="What was trained on: files, a corpus or store, a run, or a set by its name.",
        ),
    ],
    benchmarks: Annotated[
        list[str] | None,
        typer.Argument(metavar="BENCHMARK", help="Likewise; without any, the other parts of TRAIN."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of overlap.html, .json and .csv; else overlap-TRAIN, overlap-TRAIN-2, …"),
    ] = None,
    column: Annotated[
        str | None, typer.Option(help="Column of molecules in files of benchmarks; else found.")
    ] = None,
    train_column: Annotated[str | None, typer.Option(help="Likewise in files of TRAIN.")] = None,
    sample: Annotated[
        int,
        typer.Option(min=0, help="Of each benchmark, molecules or frames whose nearest neighbour is found."),
    ] = 10_000,
    near: Annotated[
        float,
        typer.Option(min=0.0, help="Å, RMS, by which distances of frames that are nearly alike differ."),
    ] = 0.02,
    seed: Annotated[int, typer.Option(help="Of the sample.")] = 0,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; else one a core.")] = None,
) -> None:
    """Tell whether benchmarks were in the training data, and which rows of them.

    Molecules: identical, the same without stereo, of the same parent (salt, charge, tautomer), of the same
    scaffold, each exact; and the Tanimoto similarity of the nearest training molecule. Structures: the same
    geometry (turned, moved or reordered), nearly the same, the same molecule, the same composition.
    overlap.csv lists what was found, clean.csv the rest. An interrupted comparison of molecules goes on.

    To train without them: data.exclude=BENCHMARK.

    Examples:

      python -m chemscale.overlap corpora/zinc-1234567890ab test.csv

      python -m chemscale.overlap runs/chemgpt_sizes/chemgpt-w64-l8 moses guacamol --out leaks

      python -m chemscale.overlap corpora/zinc-1234567890ab

      python -m chemscale.overlap structures/ani1x-1234567890ab comp6
    """
    from chemscale.points.overlap.run import Options, compare  # loads RDKit: not for --help

    options = Options(column, train_column, sample, seed, near, workers)
    found = compare(train, benchmarks or [], out, options)
    for line in found.lines():
        typer.echo(line)
    typer.echo(f"Page: {found.page}")


def main() -> None:
    """Run the command line."""
    run_verb(app)


if __name__ == "__main__":
    main()
