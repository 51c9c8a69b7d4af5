"""Energies, forces, stresses by a trained potential: ``python -m chemscale.predict RUN FILE --out OUT``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from chemscale.cli.app import run_verb

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def predict(
    run: Annotated[
        Path,
        typer.Argument(
            help="A run (its directory, or RUNS/SWEEP/NAME), a model folder, or with --std a sweep."
        ),
    ],
    structures: Annotated[
        Path, typer.Argument(help="Any file that training reads: extxyz, xyz, cif, traj, db, npz, HDF5, …")
    ],
    out: Annotated[Path, typer.Option(help="Extended XYZ to write; it must not exist.")],
    batch: Annotated[int, typer.Option(min=1, help="Structures at once.")] = 32,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; the GPU if there is one.")] = None,
    forces: Annotated[bool, typer.Option(help="Predict forces as well.")] = True,
    std: Annotated[
        bool, typer.Option(help="Write standard deviations: of a sweep of seeds, or of the last layer.")
    ] = False,
    stress: Annotated[bool, typer.Option(help="Predict stresses of crystals as well.")] = True,
    energy_key: Annotated[str | None, typer.Option(help="Energies of the file to compare with.")] = None,
    forces_key: Annotated[str | None, typer.Option(help="Forces of the file to compare with.")] = None,
    stress_key: Annotated[str | None, typer.Option(help="Stresses or virials of it.")] = None,
    energy_unit: Annotated[str | None, typer.Option(help="Of the file's labels: eV, Hartree, …")] = None,
    length_unit: Annotated[str | None, typer.Option(help="Of the file's positions: Angstrom, …")] = None,
    gradients: Annotated[bool | None, typer.Option(help="The file's forces are gradients.")] = None,
    stress_unit: Annotated[str | None, typer.Option(help="Of the file's stresses: GPa, …")] = None,
    compression: Annotated[
        bool | None, typer.Option(help="The file's stresses are positive under compression.")
    ] = None,
) -> None:
    """Predict energies (eV), forces (eV/Å) and stresses of crystals (eV/Å³), and compare them with labels.

    The labels are those that training used, unless the file lacks them or keys are given. In the file that is
    written, energy, forces and stress are predictions; the labels are called REF_energy, REF_forces and
    REF_stress.

    Examples:

      python -m chemscale.predict runs/single/painn-w64-l3 molecules.xyz --out predicted.xyz

      python -m chemscale.predict runs/single/painn-w64-l3 test.extxyz --out predicted.extxyz --batch 8

      python -m chemscale.predict runs/single/painn-w64-l3 test.xyz --out out.xyz --energy-key dft_energy

      python -m chemscale.predict runs/seeds test.xyz --out out.xyz --std
    """
    # They load torch: not for --help.
    from chemscale.points.trained.prediction import FileReading, predict_file
    from chemscale.structures.blocks import SourceError
    from chemscale.structures.sources.labels import LabelKeys

    keys = LabelKeys(energy_key, forces_key, stress_key)
    reading = FileReading(keys, energy_unit, length_unit, gradients, stress_unit, compression)
    try:
        found = predict_file(
            run,
            structures,
            out,
            batch=batch,
            device=device,
            forces=forces,
            stress=stress,
            std=std,
            reading=reading,
        )
    except SourceError as error:
        raise SourceError(as_options(str(error))) from None
    typer.echo(f"{found.structures:,} structures in {found.seconds:.1f} s: {out}")
    for note in found.notes:
        typer.echo(f"  {as_options(note)}")
    for line in found.errors.summary():
        typer.echo(line)


def as_options(text: str) -> str:
    """Advice on keys of the configuration as advice on options of this command.

    Args:
        text: of a note or an error.
    """
    text = re.sub(r"data\.(energy|forces|stress)_key=", r"--\1-key ", text)
    text = re.sub(r"data\.(energy|forces|stress)_key", r"--\1-key", text)
    text = text.replace("data.units.gradients=true", "--gradients")
    text = text.replace("data.units.gradients=false", "--no-gradients")
    text = text.replace("data.units.stress", "--stress-unit")
    text = text.replace("data.units.compression=true", "--compression")
    text = text.replace("data.units.compression=false", "--no-compression")
    text = text.replace("data.units.compression", "--compression")
    return text.replace("data.units", "--energy-unit and --length-unit")


def main() -> None:
    """Run the command line."""
    run_verb(app)


if __name__ == "__main__":
    main()
