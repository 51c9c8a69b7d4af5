"""A prediction with the standard deviations of what it predicts."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from chemscale.models.potential import Prediction


@dataclass
class UncertainPrediction(Prediction):
    """What a potential predicts for B structures of N atoms, and how far each number may be off, float64.

    Args:
        energy_std: (B,) eV.
        forces_std: (N, 3) eV/Å, of each component; None where they were not asked for.
        stress_std: (B, 3, 3) eV/Å³; None where stress was not asked for or nothing is known of it.
    """

    energy_std: Tensor | None = None
    forces_std: Tensor | None = None
    stress_std: Tensor | None = None

    def scaled(self, energy: float, forces: float) -> UncertainPrediction:
        """The same prediction with its deviations multiplied by the factors of a calibration.

        Args:
            energy: factor of the energy's.
            forces: factor of those of forces and stress, which both are derivatives of the energy.
        """
        return replace(
            self,
            energy_std=None if self.energy_std is None else energy * self.energy_std,
            forces_std=None if self.forces_std is None else forces * self.forces_std,
            stress_std=None if self.stress_std is None else forces * self.stress_std,
        )


def largest_force_std(forces_std: Tensor, ptr: Tensor) -> Tensor:
    """Largest deviation of a force on any atom of each structure: max over atoms of ``|σ(F)|``, (B,) eV/Å.

    Args:
        forces_std: (N, 3) of components.
        ptr: (B + 1,) first atom of each structure, and N.
    """
    norms = torch.linalg.vector_norm(forces_std, dim=1)
    return torch.stack([part.max() for part in torch.split(norms, (ptr[1:] - ptr[:-1]).tolist())])
