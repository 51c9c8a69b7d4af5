"""What a simulation program asks of a potential at every step, without ASE in between."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch_geometric.data import Data

from chemscale.models.potential import BoundaryError, Potential, Prediction
from chemscale.structures.calculator import ChemscaleCalculator
from chemscale.structures.graphs import Structure, collate
from chemscale.structures.uncertainty.committee import Committee


class NotFiniteError(ValueError):
    """A simulation program asked for the energy at positions or in a cell that are not numbers."""


@dataclass
class Evaluation:
    """Energy and forces of n atoms, float64.

    Args:
        energy: eV.
        atomic_energies: (n,) eV, reference energies included.
        forces: (n, 3) eV/Å.
        virial: (3, 3) eV, minus the derivative of the energy by a symmetric strain: -volume × stress.
        atomic_virials: (n, 3, 3) eV, half of each edge's virial at either end; their sum is the virial where
            the energy depends on edges alone. NaN where it does not (electrostatics between all pairs,
            dispersion), and of a compiled package, which does not tell forces of edges.
    """

    energy: float
    atomic_energies: np.ndarray
    forces: np.ndarray
    virial: np.ndarray
    atomic_virials: np.ndarray


class Evaluator:
    """A potential as a function of positions: numbers, charge and multiplicity stay, atoms move.

    Dispersion that was subtracted from the labels of its training (``data.subtract``) is added.

    Args:
        model: a run (its directory, or RUNS/SWEEP/NAME), its ``model`` folder, a compiled ``model.pt2``, or a
            ``Potential``.
        charge: total, in e.
        spin: multiplicity 2S+1, 0 where it is not stated.
        device: where it runs; the GPU if there is one and None is given.
        dtype: precision of the network; as trained if None.

    Raises:
        PotentialError: no potential is there.
        ValueError: another precision than a given ``Potential`` has.
        UnknownChargeError: a charge or multiplicity that it can know nothing of.
    """

    def __init__(
        self,
        model: str | Path | Potential,
        *,
        charge: int = 0,
        spin: int = 0,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
    ):
        opened = ChemscaleCalculator(model, device=device, dtype=dtype)
        if isinstance(opened.potential, Committee):
            raise ValueError(
                "A committee runs in ASE alone: ChemscaleCalculator has it. Name one of its members."
            )
        self.potential: Potential = opened.potential
        self.device = opened.device
        self.dispersion = opened.dispersion
        self.charge, self.spin = int(charge), int(spin)
        self.potential.check_electrons(self.charge, self.spin)

    def check_elements(self, numbers: np.ndarray) -> None:
        """Refuse elements that the potential was not made for.

        Args:
            numbers: (n,) atomic numbers.

        Raises:
            UnknownElementError: naming them.
        """
        self.potential.check_elements(torch.as_tensor(np.asarray(numbers, dtype=np.int64)))

    def check_periodic(self) -> None:
        """Refuse periodic systems where the potential is for molecules alone.

        Raises:
            BoundaryError: saying why.
        """
        if self.potential.molecules_only:
            raise BoundaryError(
                "The system is periodic, and the model has the electrostatics of molecules in vacuum "
                "(model.electrostatics=true): make it non-periodic, or train with model.electrostatics=false."
            )

    def __call__(
        self,
        numbers: np.ndarray,
        positions: np.ndarray,
        cell: np.ndarray | None = None,
        pbc: np.ndarray | None = None,
    ) -> Evaluation:
        """Energy, forces and virial at these positions.

        Args:
            numbers: (n,) atomic numbers, of elements that ``check_elements`` let pass.
            positions: (n, 3) Å, wrapped or not.
            cell: (3, 3) Å, rows are vectors; None for a molecule.
            pbc: (3,) periodic directions; None for a molecule.

        Raises:
            NotFiniteError: positions or a cell with NaN or infinity: a simulation that fell apart.
            BoundaryError: a crystal, where the potential is for molecules alone.
        """
        self._check_finite(positions, cell)
        periodic = pbc is not None and bool(np.any(pbc))
        structure = Structure(
            numbers=np.asarray(numbers, dtype=np.uint8),
            positions=np.asarray(positions, dtype=np.float64),
            charge=self.charge,
            spin=self.spin,
            cell=cell if periodic else None,
            pbc=pbc if periodic else None,
        ).with_neighbours(self.potential.cutoff)
        batch = collate([structure]).to(self.device)
        found = self.potential(batch, stress=periodic, create_graph=False)
        assert found.forces is not None
        forces, energies = found.forces.cpu().numpy(), found.atomic_energies.cpu().numpy()
        energy, of_atoms = float(found.energy), self._atomic_virials(batch, found)
        stress = None if found.stress is None else found.stress[0].cpu().numpy()
        if self.dispersion is not None:
            system = (structure.numbers, structure.positions, structure.cell, structure.pbc)
            added = self.dispersion.of(*system)
            energy, forces = energy + added.energy, forces + added.forces
            energies = energies + self.dispersion.atomic_energies(*system)
            of_atoms = np.full_like(of_atoms, np.nan)
            if stress is not None:
                stress = np.full((3, 3), np.nan) if added.stress is None else stress + added.stress
        if stress is not None:
            assert cell is not None
            virial = -stress * abs(np.linalg.det(cell))
        else:
            outer = structure.positions.T @ forces
            virial = 0.5 * (outer + outer.T)
        return Evaluation(energy, energies, forces, virial, of_atoms)

    def _atomic_virials(self, batch: Data, found: Prediction) -> np.ndarray:
        atoms = batch.z.shape[0]
        if self.potential.molecules_only or found.edge_forces is None:
            return np.full((atoms, 3, 3), np.nan)
        vectors, _ = self.potential.vectors(batch)
        outer = vectors.double()[:, :, None] * found.edge_forces.double()[:, None, :]
        halves = 0.25 * (outer + outer.transpose(1, 2))
        summed = torch.zeros(atoms, 3, 3, dtype=torch.float64, device=self.device)
        for end in batch.edge_index:
            summed.index_add_(0, end, halves)
        return summed.cpu().numpy()

    @staticmethod
    def _check_finite(positions: np.ndarray, cell: np.ndarray | None) -> None:
        bad = np.flatnonzero(~np.isfinite(positions).all(1))
        if len(bad):
            raise NotFiniteError(
                f"The position of atom {bad[0]} (counted from 0) is not a number ({len(bad)} of "
                f"{len(positions)} atoms): the simulation fell apart. Start from a relaxed structure, take a "
                "shorter time step, or a potential that was trained on such geometries."
            )
        if cell is not None and not np.isfinite(cell).all():
            raise NotFiniteError("The cell holds values that are not numbers: the simulation fell apart.")
