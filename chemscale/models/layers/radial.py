"""Functions of the distance: cutoffs that end smoothly, and bases that resolve what lies inside."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from chemscale.common.sections import Range
from chemscale.models.layers.activations import inverse_softplus

Basis = Literal["gaussian", "bessel", "bernstein"]
Functions = Annotated[int, Range(2)]
"""How many radial functions a basis has."""


def cosine_cutoff(r: Tensor, cutoff: float) -> Tensor:
    """½(cos(πr/r_c) + 1) inside, 0 outside (Behler and Parrinello 2007); value and slope vanish at r_c."""
    return torch.where(r < cutoff, 0.5 * (torch.cos(r * (math.pi / cutoff)) + 1.0), torch.zeros_like(r))


def polynomial_cutoff(r: Tensor, cutoff: float, p: int = 6) -> Tensor:
    """The envelope of DimeNet (Gasteiger et al. 2020, Eq. 8): value and two derivatives vanish at r_c.

    Args:
        r: (E,) Å.
        cutoff: r_c in Å.
        p: power; the larger, the later it falls.
    """
    x = r / cutoff
    envelope = (
        1.0 - (p + 1) * (p + 2) / 2 * x**p + p * (p + 2) * x ** (p + 1) - p * (p + 1) / 2 * x ** (p + 2)
    )
    return torch.where(r < cutoff, envelope, torch.zeros_like(r))


def bump_cutoff(r: Tensor, cutoff: float) -> Tensor:
    """exp(-r²/((r_c - r)(r_c + r))): all derivatives vanish at r_c (SpookyNet, Unke et al. 2021, Eq. 13)."""
    inside = r < cutoff
    r = torch.where(inside, r, torch.zeros_like(r))
    return torch.where(inside, torch.exp(-(r**2) / ((cutoff - r) * (cutoff + r))), torch.zeros_like(r))


class GaussianBasis(nn.Module):
    """`count` Gaussians between 0 and the cutoff, as wide as they are apart (SchNet, Schütt et al. 2017).

    Args:
        count: K.
        cutoff: Å.
    """

    centres: Tensor

    def __init__(self, count: int, cutoff: float):
        super().__init__()
        self.register_buffer("centres", torch.linspace(0.0, cutoff, count))
        self.coefficient = -0.5 / (cutoff / (count - 1)) ** 2

    def forward(self, r: Tensor) -> Tensor:
        """The basis at distances in Å, (E,) → (E, K)."""
        return torch.exp(self.coefficient * (r[:, None] - self.centres) ** 2)


class BesselBasis(nn.Module):
    """√(2/r_c)·sin(ω_n r)/r with ω_n = nπ/r_c at the start (DimeNet, Gasteiger et al. 2020, Eq. 7).

    Args:
        count: K.
        cutoff: r_c in Å.
        trainable: whether the frequencies ω learn.
    """

    def __init__(self, count: int, cutoff: float, *, trainable: bool = True):
        super().__init__()
        frequencies = torch.arange(1, count + 1) * (math.pi / cutoff)
        self.frequencies = nn.Parameter(frequencies, requires_grad=trainable)
        self.norm = math.sqrt(2.0 / cutoff)

    def forward(self, r: Tensor) -> Tensor:
        """The basis at distances in Å, (E,) → (E, K)."""
        return self.norm * torch.sin(r[:, None] * self.frequencies) / r[:, None]


class BernsteinBasis(nn.Module):
    """Bernstein polynomials in exp(-γr), γ trainable (SpookyNet, Unke et al. 2021, Eqs. 11 and 12).

    Evaluated through logarithms: binomial coefficients and small powers would overflow and underflow.

    Args:
        count: K.
        gamma: γ at the start, 1/Å.
    """

    log_binomial: Tensor
    power: Tensor

    def __init__(self, count: int, gamma: float = 0.9448630629184640):
        super().__init__()
        k = torch.arange(count, dtype=torch.float64)
        n = torch.tensor(float(count - 1), dtype=torch.float64)
        log_binomial = torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)
        self.register_buffer("log_binomial", log_binomial.to(torch.get_default_dtype()))
        self.register_buffer("power", k.to(torch.get_default_dtype()))
        self.raw_gamma = nn.Parameter(torch.tensor(inverse_softplus(gamma)))

    def forward(self, r: Tensor) -> Tensor:
        """The basis at distances in Å, (E,) → (E, K)."""
        log_x = -nn.functional.softplus(self.raw_gamma) * r[:, None]
        log_rest = torch.log(-torch.expm1(log_x))
        others = self.power.flip(0)
        return torch.exp(self.log_binomial + self.power * log_x + others * log_rest)


class EdgeLinear(nn.Module):
    """A linear map of few radial functions to many features, weights stored (in, out).

    There are far more edges than functions: with this layout the gradient of the weights is a product of a
    short wide matrix with a tall one, which is twice as fast on a CPU as its transpose.

    Args:
        inputs: K.
        outputs: F.
    """

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        bound = inputs**-0.5  # as nn.Linear
        self.weight = nn.Parameter(torch.empty(inputs, outputs).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """The map of each edge, (E, K) → (E, F)."""
        return x @ self.weight


def radial_basis(name: str, count: int, cutoff: float) -> nn.Module:
    """A radial basis by the name that configurations use.

    Args:
        name: gaussian, bessel or bernstein.
        count: functions of the basis.
        cutoff: Å.

    Raises:
        ValueError: an unknown name.
    """
    if name == "gaussian":
        return GaussianBasis(count, cutoff)
    if name == "bessel":
        return BesselBasis(count, cutoff)
    if name == "bernstein":
        return BernsteinBasis(count)
    raise ValueError(f"model.basis={name!r}: choose gaussian, bessel or bernstein.")
