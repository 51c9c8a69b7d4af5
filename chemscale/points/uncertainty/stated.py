"""Standard deviations of predictions, written beside them and compared with errors where there are any."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from ase import Atoms

from chemscale.points.uncertainty.opening import Uncertain
from chemscale.structures.uncertainty.calibration import (
    LEVELS,
    CalibrationError,
    expected_inside,
    fit_factor,
    inside,
)
from chemscale.structures.uncertainty.committee import Committee
from chemscale.structures.uncertainty.observed import Observed
from chemscale.structures.uncertainty.prediction import UncertainPrediction

UNITS = {"energy": ("energy", 1e3, "meV"), "forces": ("force component", 1e3, "meV/Å")}


class LabelledFrame(Protocol):
    """A frame of a file and its labels, NaN where missing."""

    @property
    def atoms(self) -> Atoms:
        """In Å."""
        ...

    @property
    def energy(self) -> float:
        """In eV."""
        ...

    @property
    def forces(self) -> np.ndarray:
        """(N, 3) in eV/Å."""
        ...


class StatedDeviations:
    """Deviations of one batch after another.

    Args:
        opened: the model that states them.
    """

    def __init__(self, opened: Uncertain):
        self.opened = opened
        self.observed = Observed()
        self.stated: dict[str, list[np.ndarray]] = {"energy": [], "forces": []}
        self._energies = np.zeros(0)
        self._forces: list[np.ndarray] | None = None

    def take(self, result: UncertainPrediction, data: Any) -> None:
        """Take the deviations of a batch.

        Args:
            result: of the model.
            data: the batch.
        """
        assert result.energy_std is not None
        self._energies = result.energy_std.cpu().numpy()
        self._forces = None
        if result.forces_std is not None:
            sizes = (data.ptr[1:] - data.ptr[:-1]).tolist()
            self._forces = [part.numpy() for part in torch.split(result.forces_std.cpu(), sizes)]

    def add(self, number: int, found: LabelledFrame, energy: float, forces: np.ndarray | None) -> None:
        """Give a frame of the batch its deviations, and note them beside its errors.

        Args:
            number: of the frame within the batch.
            found: the frame; ``energy_std`` and ``forces_std`` are put into its atoms.
            energy: predicted, in eV.
            forces: predicted (N, 3), in eV/Å; None where they were not asked for.
        """
        deviation = float(self._energies[number])
        found.atoms.info["energy_std"] = deviation
        found.atoms.arrays.pop("forces_std", None)
        self.stated["energy"].append(np.array([deviation]))
        of_forces = None
        if self._forces is not None and forces is not None:
            of_forces = self._forces[number]
            found.atoms.arrays["forces_std"] = of_forces
            self.stated["forces"].append(of_forces.ravel())
        self.observed.add(
            (energy - found.energy, deviation),
            None if of_forces is None or forces is None else (forces - found.forces, of_forces),
        )

    def notes(self) -> list[str]:
        """What the deviations are, and how errors compare with them where there are labels."""
        committee = isinstance(self.opened.model, Committee)
        told = f"Deviations: of {self._members()} members" if committee else "Deviations: of the last layer"
        if self.opened.calibrated:
            told += ", calibrated on held-out frames"
        else:
            told += ", not calibrated (python -m chemscale.evaluate RUN --uncertainty calibrates)"
        lines = [f"{told}."]
        arrays = self.observed.arrays()
        for key, (title, scale, unit) in UNITS.items():
            if not self.stated[key]:
                continue
            mean = float(np.mean(np.concatenate(self.stated[key])))
            lines.append(f"{title} σ: mean {scale * mean:.3g} {unit}{self._compared(arrays[key])}")
        return lines

    def _members(self) -> int:
        assert isinstance(self.opened.model, Committee)
        return len(self.opened.model.members)

    def _compared(self, arrays: tuple[np.ndarray, np.ndarray, np.ndarray]) -> str:
        """Fractions of errors inside 1 and 2 σ, beside what is right, and the factor that would fit."""
        errors, deviations, _ = arrays
        try:
            shares = inside(errors, deviations)
            factor = fit_factor(errors, deviations, self.opened.freedom)
        except CalibrationError:
            return "; no labels to compare it with"
        found = " and ".join(f"{100 * share:.1f} %" for share in shares)
        right = " and ".join(f"{100 * expected_inside(k, self.opened.freedom):.1f} %" for k in LEVELS)
        law = "Gaussian" if self.opened.freedom is None else f"Student of {self.opened.freedom + 1} members"
        count = f"{int(np.isfinite(errors).sum()):,}"
        nominal = f"{law} {right}; a factor of {factor:.3g} would fit"
        return f"; {found} of {count} errors inside 1 and 2 σ ({nominal})"
