"""The weights of any checkpoint as one folder: ``python -m chemscale.export RUN --to FOLDER``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from chemscale.cli.app import run_verb

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="A point, finished or not: its directory, or RUNS/SWEEP/NAME.")],
    to: Annotated[Path, typer.Option(help="Folder to write (not overwritten).")],
    step: Annotated[
        int | None, typer.Option(help="Of a checkpoint that is still there; else the newest whole one.")
    ] = None,
) -> None:
    """Write the weights of a checkpoint as a model: a Hugging Face folder, or a potential's safetensors.

    Works for checkpoints of every strategy, ranks and all, in one process without a GPU. A checkpoint
    that would run code is refused.

    Examples:

      python -m chemscale.export runs/chemgpt_sizes/chemgpt-w64-l8 --to model

      python -m chemscale.export runs/single/chemgpt-w64-l8 --step 4000 --to model-4000
    """
    from chemscale.points.trained.export import export_model  # loads torch: not for --help

    record, found = export_model(run, to, step)
    typer.echo(f"Step {found} of {record.name} written to {to}")


def main() -> None:
    """Run the command line."""
    run_verb(app)


if __name__ == "__main__":
    main()
