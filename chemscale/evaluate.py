"""Errors of a trained potential on a held-out part of its data: ``python -m chemscale.evaluate RUN``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from chemscale.cli.app import run_verb
from chemscale.records import find_run

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="A run: its directory, or RUNS/SWEEP/NAME.")],
    part: Annotated[str, typer.Option(help="test, validation or train.")] = "test",
    frames: Annotated[int | None, typer.Option(min=1, help="Only the first so many frames.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Frames at once.")] = 32,
) -> None:
    """MAE and RMSE of energies (meV, meV/atom) and force components (meV/Å); kept as evaluation-PART.json.

    Examples:

      python -m chemscale.evaluate runs/rmd17_ethanol/painn-w64-l3 --part test
    """
    from chemscale.points.trained.evaluation import evaluate_run  # loads torch: not for --help

    run = find_run(run)
    values = evaluate_run(run, part, frames, batch)
    for key, value in values.items():
        unit = "meV/Å" if key.startswith("forces") else "meV/atom" if key.endswith("per_atom") else "meV"
        typer.echo(f"{key:22s} {value:10.3f} {unit}")
    typer.echo(f"Kept in {run / f'evaluation-{part}.json'}")


def main() -> None:
    """Run the command line."""
    run_verb(app)


if __name__ == "__main__":
    main()
