"""A trained potential as an ASE calculator: relaxation, molecular dynamics, phonons, whatever ASE does."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from chemscale.hardware.devices import named_device
from chemscale.models.potential import Potential
from chemscale.models.potentials import load_potential
from chemscale.records import find_run
from chemscale.structures.graphs import Structure, collate


class ChemscaleCalculator(Calculator):
    """ASE calculator of a trained potential::

        atoms.calc = ChemscaleCalculator("runs/single/painn-w64-l3")

    It gives the energy (eV), forces (eV/Å), stress (eV/Å³, in ASE's Voigt order) and energies of atoms. Total
    charge and multiplicity are ``atoms.info["charge"]`` and ``["spin"]``; 0 and unknown if absent.

    Args:
        model: a run (its directory, or RUNS/SWEEP/NAME), its ``model`` folder, or a ``Potential``.
        device: where it runs; the GPU if there is one and None is given.
        dtype: precision of the network; float64 for phonons and tight relaxations. As trained if None.
        kwargs: of ASE's ``Calculator``.

    Raises:
        PotentialError: no potential is there.
        UnknownElementError: on use, for an element that the potential was not made for.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces", "stress", "energies"]  # type: ignore[misc]

    def __init__(
        self,
        model: str | Path | Potential,
        *,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        potential = (
            model if isinstance(model, Potential) else load_potential(model_folder(Path(model)), dtype=dtype)
        )
        self.device = named_device(None if device is None else str(device), "device")
        self.potential = potential.to(self.device).eval().requires_grad_(False)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | tuple[str, ...] = ("energy",),
        system_changes: list[str] = all_changes,
    ) -> None:
        """Fill ``results``, as ASE asks for it."""
        super().calculate(atoms, properties, system_changes)
        assert self.atoms is not None
        periodic = bool(self.atoms.pbc.any())
        batch = collate([structure_of(self.atoms).with_neighbours(self.potential.cutoff)]).to(self.device)
        self.potential.check_elements(batch.z)
        full = bool(self.atoms.pbc.all())
        result = self.potential(batch, stress=full and "stress" in properties)
        energy = float(result.energy)
        self.results = {
            "energy": energy,
            "free_energy": energy,
            "energies": result.atomic_energies.detach().cpu().numpy(),
            "forces": result.forces.cpu().numpy(),
        }
        if result.stress is not None:
            self.results["stress"] = full_3x3_to_voigt_6_stress(result.stress[0].cpu().numpy())
        elif "stress" in properties and periodic:
            raise NotImplementedError(
                "Stress is defined for cells that are periodic in all three directions."
            )


def structure_of(atoms: Atoms) -> Structure:
    """Convert ASE's atoms to a structure, labels left out."""
    return Structure(
        numbers=atoms.numbers.astype(np.uint8),
        positions=atoms.positions,
        charge=int(atoms.info.get("charge", 0)),
        spin=int(atoms.info.get("spin", 0)),
        cell=np.asarray(atoms.cell) if atoms.pbc.any() else None,
        pbc=np.asarray(atoms.pbc) if atoms.pbc.any() else None,
    )


def model_folder(path: Path) -> Path:
    """The ``model`` folder of a run (its directory, or RUNS/SWEEP/NAME), or the path itself."""
    path = find_run(path)
    return path / "model" if (path / "model" / "config.json").exists() else path
