"""Energies and forces by a trained potential: ``python -m chemscale.predict RUN FILE --out OUT``."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chemscale.cli.app import run_verb

if TYPE_CHECKING:
    from ase import Atoms

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
log = logging.getLogger("chemscale.predict")  # run with -m, __name__ is __main__


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
    import torch
    from ase.io import iread

    from chemscale.models.potentials import load_potential
    from chemscale.structures.calculator import model_folder

    if out.exists():
        raise ValueError(f"{out} exists: choose another --out or remove it.")
    if not structures.exists():
        raise FileNotFoundError(f"{structures}: no such file.")
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    potential = load_potential(model_folder(run)).to(place).requires_grad_(False)
    errors = Errors()
    frames: Iterable[Any] = iread(structures, index=":")
    done, started, shown = 0, time.monotonic(), time.monotonic()
    partial = out.with_name(f".{out.name}.part")
    try:
        with open(partial, "w") as file:
            for group in _groups(frames, batch):
                _predict_group(potential, group, file, errors, place, forces)
                done += len(group)
                if time.monotonic() - shown > 5:
                    shown = time.monotonic()
                    log.info("%s structures, %.1f/s …", f"{done:,}", done / (shown - started))
        partial.rename(out)
    finally:
        partial.unlink(missing_ok=True)
    typer.echo(f"{done:,} structures in {time.monotonic() - started:.1f} s: {out}")
    for line in errors.lines():
        typer.echo(line)


class Errors:
    """Errors against the labels of a file, in meV and meV/Å."""

    def __init__(self) -> None:
        self.energy: list[float] = []
        self.per_atom: list[float] = []
        self.forces: list[float] = []

    def add(self, atoms: Atoms, energy: float, forces: Any) -> None:
        labels = atoms.calc.results if atoms.calc is not None else {}
        if "energy" in labels:
            self.energy.append(1e3 * (energy - float(labels["energy"])))
            self.per_atom.append(self.energy[-1] / len(atoms))
        if forces is not None and "forces" in labels:
            self.forces.extend((1e3 * (forces - labels["forces"])).ravel().tolist())

    def lines(self) -> list[str]:
        out = []
        for title, values, unit in (
            ("energy", self.energy, "meV"),
            ("energy per atom", self.per_atom, "meV/atom"),
            ("force component", self.forces, "meV/Å"),
        ):
            if values:
                mae = sum(map(abs, values)) / len(values)
                rmse = (sum(v * v for v in values) / len(values)) ** 0.5
                out.append(f"{title}: MAE {mae:.2f}, RMSE {rmse:.2f} {unit} against {len(values):,} labels")
        return out


def _groups(frames: Iterable[Any], size: int) -> Iterator[list[Any]]:
    group: list[Any] = []
    for atoms in frames:
        group.append(atoms)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def _predict_group(
    potential: Any, group: list[Any], file: Any, errors: Errors, place: Any, forces: bool
) -> None:
    import torch
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.io import write

    from chemscale.structures.calculator import structure_of
    from chemscale.structures.graphs import collate

    data = collate([structure_of(a).with_neighbours(potential.cutoff) for a in group]).to(place)
    potential.check_elements(data.z)
    result = potential(data, forces=forces)
    energies = result.energy.detach().cpu().numpy()
    sizes = [len(a) for a in group]
    split = torch.split(result.forces.cpu(), sizes) if forces else [None] * len(group)
    for atoms, energy, force in zip(group, energies, split, strict=True):
        array = None if force is None else force.numpy()
        errors.add(atoms, float(energy), array)
        found = {"energy": float(energy)} if array is None else {"energy": float(energy), "forces": array}
        atoms.calc = SinglePointCalculator(atoms, **found)
        write(file, atoms, format="extxyz")


def main() -> None:
    run_verb(app)


if __name__ == "__main__":
    main()
