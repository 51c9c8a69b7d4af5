"""Frames of a pool that are worth a label: ``python -m chemscale.select POOL --model RUN --out OUT``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from chemscale.cli.app import run_verb

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def select(
    pool: Annotated[
        str,
        typer.Argument(
            metavar="POOL", help="Frames to choose from: a file, folder or 'pattern', as training reads."
        ),
    ],
    model: Annotated[
        str,
        typer.Option(
            help="A sweep of seeds (a committee) or RUNS/SWEEP/PATTERN, or one run (its last layer)."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Extended XYZ to write; it must not exist.")],
    n: Annotated[int, typer.Option("--n", min=1, help="Frames to choose.")] = 100,
    method: Annotated[str, typer.Option(help="uncertain, farthest or random.")] = "uncertain",
    batch: Annotated[int, typer.Option(min=1, help="Frames at once.")] = 32,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; the GPU if there is one.")] = None,
    seed: Annotated[int, typer.Option(help="Of --method random.")] = 0,
    length_unit: Annotated[str | None, typer.Option(help="Of the pool's positions: Angstrom, …")] = None,
) -> None:
    """Choose the frames of a pool that a model learns most from.

    uncertain: those that the members of a committee disagree on most (or the last layer of one model knows
    least of), thinned so that they differ from each other. farthest: farthest point sampling in last-layer
    features, from the training frames on. Frames that the model was trained on are never chosen. Labels of
    the pool are kept as REF_energy and REF_forces; OUT.rows.csv says which rows were chosen, in which order.

    Examples:

      python -m chemscale.select pool.xyz --model runs/seeds --n 500 --out chosen.xyz

      python -m chemscale.select 'trajectories/*.extxyz' --model runs/single/painn-w64-l3 --n 50 --out far.xyz
    """
    from chemscale.points.uncertainty.selecting import select_frames  # loads torch: not for --help

    found = select_frames(
        pool,
        model,
        n,
        out,
        method=method,
        batch=batch,
        device=device,
        seed=seed,
        length_unit=length_unit,
    )
    for line in found.notes:
        typer.echo(line)
    typer.echo(f"{len(found.rows):,} chosen ({method}): {found.out}, rows in {found.index}")


def main() -> None:
    """Run the command line."""
    run_verb(app)


if __name__ == "__main__":
    main()
