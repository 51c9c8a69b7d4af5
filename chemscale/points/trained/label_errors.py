"""A structure of a file with its labels, and how far predictions lie from these."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from ase import Atoms


@dataclass(frozen=True)
class Labelled:
    """A structure of a file with its labels.

    Args:
        row: in the file.
        atoms: in Å.
        energy: label in eV; NaN where missing.
        forces: labels (N, 3) in eV/Å; NaN where missing.
        stress: label (3, 3) in eV/Å³; NaN where missing.
    """

    row: int
    atoms: Atoms
    energy: float
    forces: np.ndarray
    stress: np.ndarray

    @property
    def crystal(self) -> bool:
        """Whether it is periodic in three directions, and can have a stress."""
        return bool(self.atoms.pbc.all())


@dataclass
class LabelErrors:
    """Differences between predictions and the labels of a file; structures without a label are counted.

    Args:
        energy: in meV.
        per_atom: in meV/atom.
        forces: of components, in meV/Å.
        stress: of components, in meV/Å³.
        without_energy: structures that have no energy.
        without_forces: components that have no force.
        without_stress: crystals that have no stress.
    """

    energy: list[float] = field(default_factory=list)
    per_atom: list[float] = field(default_factory=list)
    forces: list[float] = field(default_factory=list)
    stress: list[float] = field(default_factory=list)
    without_energy: int = 0
    without_forces: int = 0
    without_stress: int = 0

    def add(
        self, found: Labelled, energy: float, forces: np.ndarray | None, stress: np.ndarray | None = None
    ) -> None:
        """Compare one structure with its labels, where it has any.

        Args:
            found: the structure.
            energy: predicted, in eV.
            forces: predicted, in eV/Å: (N, 3).
            stress: predicted, in eV/Å³: (3, 3).
        """
        if np.isfinite(found.energy):
            self.energy.append(1e3 * (energy - found.energy))
            self.per_atom.append(self.energy[-1] / len(found.atoms))
        else:
            self.without_energy += 1
        if forces is not None:
            known = np.isfinite(found.forces)
            self.forces.extend((1e3 * (forces - found.forces))[known].tolist())
            self.without_forces += int((~known).sum())
        if stress is not None:
            has = bool(np.isfinite(found.stress).all())
            self.stress.extend((1e3 * (stress - found.stress)).ravel().tolist() if has else ())
            self.without_stress += not has

    def summary(self) -> list[str]:
        """MAE and RMSE of each quantity, one line each; labels that are missing are said."""
        out = []
        for title, values, missing, unit in (
            ("energy", self.energy, self.without_energy, "meV"),
            ("energy per atom", self.per_atom, self.without_energy, "meV/atom"),
            ("force component", self.forces, self.without_forces, "meV/Å"),
            ("stress component", self.stress, self.without_stress, "meV/Å³"),
        ):
            if values:
                mae = sum(map(abs, values)) / len(values)
                rmse = (sum(v * v for v in values) / len(values)) ** 0.5
                rest = f" ({missing:,} have none)" if missing else ""
                out.append(
                    f"{title}: MAE {mae:.2f}, RMSE {rmse:.2f} {unit} against {len(values):,} labels{rest}"
                )
        if self.without_energy and not self.energy:
            out.append("energy: not compared, the file has no labels of it")
        if self.without_forces and not self.forces:
            out.append("force component: not compared, the file has no labels of it")
        if self.without_stress and not self.stress:
            out.append("stress component: not compared, the file has no labels of it")
        return out
