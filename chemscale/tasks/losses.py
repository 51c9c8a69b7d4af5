"""What training minimises: errors of energies, forces and stresses, where there are labels of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from chemscale.common.sections import NotNegative, Positive


@dataclass(frozen=True)
class Errors:
    """Predictions minus labels of B structures of N atoms in all; 0 where there is no label (``error_of``).

    Args:
        energy: (B,) eV.
        forces: (N, 3) eV/Å; None if no force is wanted.
        stress: (B, 3, 3) eV/Å³; None if no stress is wanted, or the batch has none.
        atoms: (B,) of each structure.
        batch: (N,) structure that each atom belongs to.
        weights: (B,) by which the errors of a structure are multiplied; None for 1.
    """

    energy: Tensor
    forces: Tensor | None
    stress: Tensor | None
    atoms: Tensor
    batch: Tensor
    weights: Tensor | None = None

    def unweighted(self) -> Errors:
        """The same errors, all of weight 1."""
        return replace(self, weights=None)

    def detach(self) -> Errors:
        """The same errors without what led to them."""
        return replace(
            self,
            energy=self.energy.detach(),
            forces=None if self.forces is None else self.forces.detach(),
            stress=None if self.stress is None else self.stress.detach(),
        )


class Sums(NamedTuple):
    """Summed terms of a loss, its own weights left out; 0 for what is not wanted."""

    energy: Tensor
    forces: Tensor | float
    stress: Tensor | float


@dataclass(frozen=True)
class EnergyForceLoss:
    """w_E·mean ℓ(ΔE/n^p) + w_F·mean ℓ(ΔF) + w_S·mean ℓ(Δσ): ΔE in eV, ΔF in eV/Å, Δσ in eV/Å³.

    The means are over labels: energies, force components, and the nine components of stresses. A structure's
    weight multiplies its terms, and does not enter the numbers of labels.

    Args:
        energy: weight of the energy term.
        forces: weight of the force term.
        stress: weight of the stress term.
        kind: ``mse``, ``mae`` or ``huber``.
        per_atom: whether energy errors are divided by the number of atoms first (p = 1).
        delta: where Huber's loss goes over from square to linear, in eV, eV/Å and eV/Å³.

    Raises:
        ValueError: nothing to learn.
    """

    energy: NotNegative = 1.0
    forces: NotNegative = 10.0
    stress: NotNegative = 0.0
    kind: Literal["mse", "mae", "huber"] = "mse"
    per_atom: bool = True
    delta: Positive = 0.01

    def __post_init__(self) -> None:
        if self.energy + self.forces + self.stress == 0:
            raise ValueError("loss.energy, loss.forces and loss.stress: one of them must be above 0.")

    def sums(self, errors: Errors) -> Sums:
        """Summed energy, force and stress terms, the loss's own weights left out.

        Args:
            errors: of a batch.
        """
        weights = errors.weights
        scaled = errors.energy / errors.atoms if self.per_atom else errors.energy
        of_energy = self._summed(scaled, weights)
        of_atoms = None if weights is None else weights.index_select(0, errors.batch)
        of_forces = 0.0 if errors.forces is None else self._summed(errors.forces, of_atoms)
        of_stress = 0.0 if errors.stress is None else self._summed(errors.stress, weights)
        return Sums(of_energy, of_forces, of_stress)

    def _summed(self, error: Tensor, weights: Tensor | None) -> Tensor:
        each = self.each(error)
        if weights is not None:
            each = each * weights.view(-1, *[1] * (each.dim() - 1))
        return each.sum()

    def each(self, error: Tensor) -> Tensor:
        """The loss of every single error."""
        if self.kind == "mse":
            return error.square()
        if self.kind == "mae":
            return error.abs()
        return F.huber_loss(error, torch.zeros_like(error), reduction="none", delta=self.delta)

    def weighted(self, energy: float | None, forces: float | None, stress: float | None = None) -> float:
        """The objective from its weighed terms; NaN where no label weighs anything.

        Args:
            energy: weight times the mean energy term; None without any such label.
            forces: weight times the mean force term, likewise.
            stress: weight times the mean stress term, likewise.
        """
        terms = [(self.energy, energy), (self.forces, forces), (self.stress, stress)]
        labelled = [(weight, term) for weight, term in terms if term is not None]
        return sum(term for _, term in labelled) if any(weight for weight, _ in labelled) else math.nan


def error_of(prediction: Tensor, label: Tensor) -> Tensor:
    """Prediction minus label; 0 where there is no label, so that shapes and gradients stay finite.

    The label alone decides: a prediction that is not finite makes an error that is not.

    Args:
        prediction: of any shape.
        label: of the same, NaN where there is none.
    """
    return torch.where(label.isfinite(), prediction - label, torch.zeros_like(prediction))
