"""What force training minimises: energies and forces weighed against each other, missing labels left out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from chemscale.common.sections import NotNegative, Positive


@dataclass(frozen=True)
class EnergyForceLoss:
    """w_E·mean ℓ(ΔE/n^p) + w_F·mean ℓ(ΔF), with ΔE in eV and ΔF in eV/Å.

    Args:
        energy: weight of the energy term.
        forces: weight of the force term.
        kind: ``mse``, ``mae`` or ``huber``.
        per_atom: whether energy errors are divided by the number of atoms first (p = 1).
        delta: where Huber's loss goes over from square to linear, in eV and eV/Å.

    Raises:
        ValueError: nothing to learn.
    """

    energy: NotNegative = 1.0
    forces: NotNegative = 10.0
    kind: Literal["mse", "mae", "huber"] = "mse"
    per_atom: bool = True
    delta: Positive = 0.01

    def __post_init__(self) -> None:
        if self.energy + self.forces == 0:
            raise ValueError("loss.energy and loss.forces: one of them must be above 0.")

    def sums(self, energy_error: Tensor, force_error: Tensor | None, atoms: Tensor) -> tuple[Tensor, Tensor]:
        """Summed energy and force terms, weights left out.

        Args:
            energy_error: (B,) eV, 0 where there is no label (see ``error_of``).
            force_error: (N, 3) eV/Å, likewise; None if no force is wanted.
            atoms: (B,) of each structure.
        """
        scaled = energy_error / atoms if self.per_atom else energy_error
        of_energy = self.each(scaled).sum()
        of_forces = of_energy.new_zeros(()) if force_error is None else self.each(force_error).sum()
        return of_energy, of_forces

    def each(self, error: Tensor) -> Tensor:
        """The loss of every single error."""
        if self.kind == "mse":
            return error.square()
        if self.kind == "mae":
            return error.abs()
        return F.huber_loss(error, torch.zeros_like(error), reduction="none", delta=self.delta)

    def weighted(self, energy: float | None, forces: float | None) -> float:
        """The objective from its weighed terms; NaN where no label weighs anything.

        Args:
            energy: weight times the mean energy term; None without any such label.
            forces: weight times the mean force term, likewise.
        """
        terms = [(self.energy, energy), (self.forces, forces)]
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
