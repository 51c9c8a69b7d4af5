"""Energies and forces by a trained potential: ``python -m chemscale.predict RUN FILE --out OUT``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from chemscale.cli.app import run_verb

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def predict(
    run: Annotated[
        Path, typer.Argument(help="A run (its directory, or RUNS/SWEEP/NAME), or a model folder.")
    ],
    structures: Annotated[
        Path, typer.Argument(help="Any file that ASE reads: extxyz, xyz, cif, traj, db, …")
    ],
    out: Annotated[Path, typer.Option(help="Extended XYZ to write; it must not exist.")],
    batch: Annotated[int, typer.Option(min=1, help="Structures at once.")] = 32,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; the GPU if there is one.")] = None,
    forces: Annotated[bool, typer.Option(help="Predict forces as well.")] = True,
) -> None:
    """Predict energies (eV) and forces (eV/Å), and compare them with labels where the file has them.

    Examples:

      python -m chemscale.predict runs/single/painn-w64-l3 molecules.xyz --out predicted.xyz

      python -m chemscale.predict runs/single/painn-w64-l3 test.extxyz --out predicted.extxyz --batch 8
    """
    from chemscale.points.trained.prediction import predict_file  # loads torch: not for --help

    found = predict_file(run, structures, out, batch=batch, device=device, forces=forces)
    typer.echo(f"{found.structures:,} structures in {found.seconds:.1f} s: {out}")
    for line in found.errors.summary():
        typer.echo(line)


def main() -> None:
    """Run the command line."""
    run_verb(app)


if __name__ == "__main__":
    main()
