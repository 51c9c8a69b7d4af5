"""A potential in a form that runs without chemscale, and the proof that it gives the same numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from chemscale import __version__
from chemscale.hardware.devices import named_device
from chemscale.models.potential import Potential, Prediction
from chemscale.models.potentials import load_potential
from chemscale.points.trained.checkpoint import ExportError
from chemscale.structures.dispersion import warn_of_network_alone
from chemscale.structures.engines.packaged import GraphPotential, PackagedPotential
from chemscale.structures.graphs import Structure, collate
from chemscale.training.compilation.standalone import (
    export_structure_graph,
    metadata_of,
    save_package,
    save_program,
)
from chemscale.training.compilation.tracing import CompilationError

POTENTIAL_FORMS = ("aoti", "exported")
FILE = "model.pt2"
TOLERANCES = {torch.float32: 1e-4, torch.float64: 1e-10}
"""Largest difference that rounding explains, in units of the largest number (or of 1 eV, 1 eV/Å)."""
LARGE = 24
"""Atoms of the largest structure that is compared."""


@dataclass(frozen=True)
class WrittenPotential:
    """A form of a potential on the disk.

    Args:
        difference: largest of energies (eV), forces (eV/Å) and stress (eV/Å³); None where none was computed.
        structures: that were compared.
        positions: none; language models have them.
    """

    difference: float | None
    structures: int = 0
    positions: int = 0

    @property
    def proof(self) -> str:
        """In one sentence."""
        if self.difference is None:
            return "Its energies and forces were not compared: it was not asked for."
        return (
            "Its energies (eV), forces (eV/Å) and stress (eV/Å³) differ from those of chemscale's model by "
            f"at most {self.difference:.1e} ({self.structures} made-up structures of 1 to {LARGE} atoms)."
        )


def write_potential_form(
    form: str, source: Path, folder: Path, *, device: str = "cpu", check: bool = True
) -> WrittenPotential:
    """Write a potential as one file that needs neither chemscale nor, compiled, Python.

    Args:
        form: aoti (compiled for this kind of machine, for C++), or exported (PyTorch's portable program).
        source: folder of the potential.
        folder: to write ``model.pt2`` in; it is made.
        device: where the file will run: cpu or cuda.
        check: compare what it gives with the model.

    Raises:
        ExportError: it cannot be traced or compiled, or gives other numbers.
        HardwareError: no such device is here.
    """
    potential = load_potential(source).to(named_device(device, "--device")).requires_grad_(False)
    warn_of_network_alone(potential.header, f"--as {form}")
    folder.mkdir(parents=True)
    path, facts = folder / FILE, metadata_of(potential, __version__)
    try:
        program = export_structure_graph(potential)
        (save_package if form == "aoti" else save_program)(program, path, facts)
    except CompilationError as error:
        raise ExportError(f"--as {form}: {error}") from error
    if not check:
        return WrittenPotential(None)
    if form == "aoti":
        return _compare(form, potential, PackagedPotential(path))
    with torch.no_grad():
        return _compare(form, potential, GraphPotential(torch.export.load(path).module(), facts))


def _compare(form: str, potential: Potential, written: Potential) -> WrittenPotential:
    """Largest difference over made-up structures.

    Raises:
        ExportError: more than rounding.
    """
    largest, count = 0.0, 0
    for structure in _structures(potential):
        batch = collate([structure.with_neighbours(potential.cutoff)]).to(potential.references.device)
        if not batch.edge_index.shape[1] and form == "exported":
            continue  # torch's interpreter of programs knows no empty sums
        count += 1
        crystal = batch.get("cell") is not None
        ours = potential(batch, stress=crystal, create_graph=False)
        for mine, other in zip(_values(ours), _values(written(batch, stress=crystal)), strict=True):
            difference = float((mine - other).abs().max())
            most = TOLERANCES[potential.dtype] * max(1.0, float(mine.abs().max()))
            if not difference <= most:
                raise ExportError(
                    f"--as {form}: its numbers differ from the model's by {difference:.1e}, of "
                    f"{float(mine.abs().max()):.1e} at most. That is more than rounding, so nothing was "
                    "written. Please report it, with the versions that python -m chemscale --version prints."
                )
            largest = max(largest, difference)
    return WrittenPotential(largest, count)


def _values(found: Prediction) -> list[Tensor]:
    every = (found.energy, found.atomic_energies, found.forces, found.stress)
    return [value for value in every if value is not None]


def _structures(potential: Potential) -> Iterator[Structure]:
    """An atom, molecules and, where the potential is for them, a crystal, of all the elements it knows."""
    random = np.random.default_rng(0)
    elements = np.array(potential.elements)
    for atoms in (1, 2, 5, LARGE):
        # As dense as molecules, and no two atoms on top of each other.
        grid = np.stack(np.meshgrid(*[np.arange(3)] * 3), -1).reshape(-1, 3)[:atoms] * 1.4
        positions = grid + random.uniform(-0.2, 0.2, grid.shape)
        numbers = random.choice(elements, atoms)
        yield Structure(numbers=numbers, positions=positions)
        if not potential.molecules_only and atoms in (1, LARGE):
            cell = 4.2 * np.eye(3) + random.uniform(-0.2, 0.2, (3, 3))
            yield Structure(numbers=numbers, positions=positions, cell=cell, pbc=np.ones(3, bool))
