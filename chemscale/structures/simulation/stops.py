"""What ends a simulation before its time: a broken bond, heat, forces that are none, a committee at odds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols, covalent_radii

from chemscale.structures.neighbours import neighbour_list
from chemscale.structures.simulation.settings import Simulation

BONDED = 1.3
"""Times the sum of covalent radii: atoms nearer than this are bonded."""


@dataclass(frozen=True)
class Bonds:
    """Bonds of a structure, by distance; each once.

    Args:
        pairs: (B, 2) atoms.
        shifts: (B, 3) cells that the second is shifted by.
        lengths: (B,) Å at the start.
        radii: (B,) Å, sums of covalent radii (Cordero et al. 2008).
    """

    pairs: np.ndarray
    shifts: np.ndarray
    lengths: np.ndarray
    radii: np.ndarray

    @classmethod
    def of(cls, atoms: Atoms) -> Bonds:
        """Bonds of a structure.

        Args:
            atoms: an image of an atom may be bonded to it.
        """
        radii = covalent_radii[atoms.numbers]
        periodic = bool(atoms.pbc.any())
        cell, pbc = (np.asarray(atoms.cell), np.asarray(atoms.pbc)) if periodic else (None, None)
        edges, shifts = neighbour_list(atoms.positions, 2 * BONDED * float(radii.max()), cell, pbc)
        pairs = edges[::-1].T  # receiver, sender: the second is shifted
        moved = np.zeros((len(pairs), 3), int) if shifts is None else shifts.astype(int)
        first, second = pairs.T
        positive = np.array([tuple(s) > (0, 0, 0) for s in moved], bool).reshape(len(pairs))
        once = (first < second) | ((first == second) & positive)
        found = cls(pairs[once], moved[once], np.zeros(0), radii[first[once]] + radii[second[once]])
        lengths = found.measure(atoms.positions, np.asarray(atoms.cell))
        near = lengths < BONDED * found.radii
        return cls(found.pairs[near], found.shifts[near], lengths[near], found.radii[near])

    def measure(self, positions: np.ndarray, cell: np.ndarray) -> np.ndarray:
        """Lengths in Å: (B,).

        Args:
            positions: (N, 3) Å, not wrapped since the start.
            cell: (3, 3) Å.
        """
        vectors = positions[self.pairs[:, 1]] - positions[self.pairs[:, 0]] + self.shifts @ cell
        return np.sqrt(np.einsum("bi,bi->b", vectors, vectors))

    def name(self, bond: int, numbers: np.ndarray) -> str:
        """Such as C0-H3.

        Args:
            bond: which.
            numbers: (N,) atomic numbers.
        """
        return "-".join(f"{chemical_symbols[numbers[a]]}{a}" for a in self.pairs[bond])


@dataclass(frozen=True)
class Stops:
    """Conditions that are looked at after every step.

    Args:
        settings: of the simulation.
        bonds: of the start.
        least_height: Å; a cell that is thinner has collapsed. 0 for no such limit.
    """

    settings: Simulation
    bonds: Bonds
    least_height: float = 0.0

    def reason(self, atoms: Atoms, temperature: float) -> str | None:
        """Why the simulation ends here, as a sentence; None where it goes on.

        Args:
            atoms: after a step, with the results of their calculator.
            temperature: K.
        """
        assert atoms.calc is not None
        forces = atoms.get_forces()
        if not (np.isfinite(forces).all() and np.isfinite(atoms.positions).all()):
            atom = int(
                np.flatnonzero(~np.isfinite(forces).all(axis=1) | ~np.isfinite(atoms.positions).all(axis=1))[
                    0
                ]
            )
            return f"The force on {chemical_symbols[atoms.numbers[atom]]} (atom {atom}) is not finite."
        hottest = self.settings.stop_temperature
        if hottest is not None and not temperature <= hottest * self.settings.temperature:
            return (
                f"The temperature is {temperature:,.0f} K, above {hottest:g} times the "
                f"{self.settings.temperature:g} K that were asked for."
            )
        return self._bond(atoms) or self._cell(atoms) or self._committee(atoms)

    def _bond(self, atoms: Atoms) -> str | None:
        factor = self.settings.stop_bond
        if factor is None or not len(self.bonds.pairs):
            return None
        lengths = self.bonds.measure(atoms.positions, np.asarray(atoms.cell))
        stretch = lengths / np.maximum(self.bonds.lengths, self.bonds.radii)
        worst = int(np.argmax(stretch))
        if stretch[worst] <= factor:
            return None
        return (
            f"The bond {self.bonds.name(worst, atoms.numbers)} is broken: {lengths[worst]:.2f} Å, it was "
            f"{self.bonds.lengths[worst]:.2f} Å at the start."
        )

    def _cell(self, atoms: Atoms) -> str | None:
        if not self.least_height:
            return None
        cell = np.asarray(atoms.cell)
        areas = np.linalg.norm(np.cross(np.roll(cell, -1, 0), np.roll(cell, -2, 0)), axis=1)
        thinnest = float((abs(np.linalg.det(cell)) / areas).min())
        if thinnest >= self.least_height:
            return None
        return f"The cell collapsed: it is {thinnest:.2f} Å thin, less than {self.least_height:g} Å."

    def _committee(self, atoms: Atoms) -> str | None:
        limit = self.settings.stop_uncertainty
        if limit is None:
            return None
        spread = committee_spread(atoms)
        if spread is None:
            return "The calculator gave no forces_std: it is no committee."
        worst = int(np.argmax(spread))
        if spread[worst] <= limit:
            return None
        return (
            f"The committee disagrees: forces on {chemical_symbols[atoms.numbers[worst]]} (atom {worst}) "
            f"have a standard deviation of {spread[worst]:.2f} eV/Å, above {limit:g}."
        )


def committee_spread(atoms: Atoms) -> np.ndarray | None:
    """Standard deviation of a committee's forces on each atom, (N,) eV/Å; None where there is no committee.

    Args:
        atoms: with the results of their calculator.
    """
    spread = getattr(atoms.calc, "results", {}).get("forces_std")
    return None if spread is None else np.linalg.norm(np.asarray(spread), axis=1)
