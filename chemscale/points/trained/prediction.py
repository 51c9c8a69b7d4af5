"""Energies and forces of the structures of a file, beside the labels that it has."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import iread, write

from chemscale.common.files import atomic_path
from chemscale.common.progress import ProgressBar
from chemscale.hardware.devices import named_device
from chemscale.models.potential import Potential
from chemscale.models.potentials import load_potential
from chemscale.structures.calculator import model_folder, structure_of
from chemscale.structures.graphs import collate


@dataclass
class LabelErrors:
    """Differences between predictions and the labels of a file.

    Args:
        energy: in meV.
        per_atom: in meV/atom.
        forces: of components, in meV/Å.
    """

    energy: list[float] = field(default_factory=list)
    per_atom: list[float] = field(default_factory=list)
    forces: list[float] = field(default_factory=list)

    def add(self, atoms: Atoms, energy: float, forces: np.ndarray | None) -> None:
        """Compare one structure with its labels, where it has any.

        Args:
            atoms: with the labels.
            energy: predicted, in eV.
            forces: predicted, in eV/Å: (N, 3).
        """
        labels = atoms.calc.results if atoms.calc is not None else {}
        if "energy" in labels:
            self.energy.append(1e3 * (energy - float(labels["energy"])))
            self.per_atom.append(self.energy[-1] / len(atoms))
        if forces is not None and "forces" in labels:
            self.forces.extend((1e3 * (forces - labels["forces"])).ravel().tolist())

    def summary(self) -> list[str]:
        """MAE and RMSE of each quantity that has labels, one line each."""
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


@dataclass(frozen=True)
class Prediction:
    """What was predicted for a file.

    Args:
        structures: how many.
        seconds: that it took.
        errors: against the labels of the file.
    """

    structures: int
    seconds: float
    errors: LabelErrors


def predict_file(
    run: Path, structures: Path, out: Path, *, batch: int, device: str | None = None, forces: bool = True
) -> Prediction:
    """Predict every structure of a file and write them as extended XYZ, whole or not at all.

    Args:
        run: directory of a run, RUNS/SWEEP/NAME, or a model folder.
        structures: any file that ASE reads.
        out: the file to write.
        batch: structures at once.
        device: cpu, cuda or cuda:N; the GPU if there is one, where None.
        forces: also predict forces.

    Raises:
        ValueError: `out` exists, or the device does not.
        FileNotFoundError: `structures` does not.
        PotentialError: no potential is there.
        UnknownElementError: the potential was not made for an element of the file.
    """
    if out.exists():
        raise ValueError(f"{out} exists: choose another --out or remove it.")
    if not structures.exists():
        raise FileNotFoundError(f"{structures}: no such file.")
    place = named_device(device)
    potential = load_potential(model_folder(run)).to(place).requires_grad_(False)
    errors = LabelErrors()
    started = time.monotonic()
    with (
        atomic_path(out) as partial,
        open(partial, "w") as file,
        ProgressBar("predict", None, "structures") as progress,
    ):
        for group in _groups(iread(structures, index=":"), batch):
            _predict_group(potential, group, file, errors, place, forces)
            progress.advance(len(group))
    return Prediction(progress.done, time.monotonic() - started, errors)


def _groups(frames: Iterable[Atoms], size: int) -> Iterator[list[Atoms]]:
    group: list[Atoms] = []
    for atoms in frames:
        group.append(atoms)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def _predict_group(
    potential: Potential,
    group: list[Atoms],
    file: IO[str],
    errors: LabelErrors,
    place: torch.device,
    forces: bool,
) -> None:
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
