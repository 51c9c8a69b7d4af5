"""Activations that force training needs: smooth to every order."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ShiftedSoftplus(nn.Module):
    """ln(½eˣ + ½): softplus through the origin (SchNet)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.softplus(x) - math.log(2.0)


class Swish(nn.Module):
    """αx·sigmoid(βx) with α and β trainable for each feature (SpookyNet, Eq. 3).

    Args:
        width: number of features.
    """

    def __init__(self, width: int):
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(width))
        self.beta = nn.Parameter(torch.full((width,), 1.702))

    def forward(self, x: Tensor) -> Tensor:
        return self.alpha * x * torch.sigmoid(self.beta * x)


def inverse_softplus(value: float) -> float:
    """The x with softplus(x) = value."""
    return value + math.log(-math.expm1(-value))


def mlp(widths: list[int], activation: type[nn.Module] = nn.SiLU, *, bias: bool = True) -> nn.Sequential:
    """Linear layers with an activation between them and none at the end.

    Args:
        widths: of the input, of what is between, and of the output.
        activation: class of the activation.
        bias: whether the layers have one.
    """
    layers: list[nn.Module] = []
    for index, (a, b) in enumerate(pairwise(widths)):
        if index:
            layers.append(activation())
        layers.append(nn.Linear(a, b, bias=bias))
    return nn.Sequential(*layers)


SILU_NORM = 1.6790
"""1/√E[silu(x)²] for standard normal x: keeps the scale of a signal through a SiLU, as e3nn normalises."""


class ScaledMLP(nn.Module):
    """A bias-free MLP whose signal starts with unit variance, SiLU between layers (NequIP, Allegro, MACE).

    Args:
        widths: of the input, of what is between, and of the output.
        last: what the last layer's weights are multiplied by once, when they are drawn.
    """

    def __init__(self, widths: list[int], *, last: float = 1.0):
        super().__init__()
        drawn = [torch.randn(a, b) for a, b in pairwise(widths)]
        drawn[-1] *= last
        self.weights = nn.ParameterList([nn.Parameter(weight) for weight in drawn])

    def forward(self, x: Tensor) -> Tensor:
        last = self.weights[-1]
        return self.hidden(x) @ (last * (last.shape[0] ** -0.5))

    def hidden(self, x: Tensor) -> Tensor:
        """What the last layer is applied to, (…, F); without its factor of F^-½.

        Args:
            x: input of the first layer.
        """
        for index in range(len(self.weights) - 1):  # a slice makes new parameters of what adapters compute
            weight = self.weights[index]
            x = F.silu(x @ (weight * (weight.shape[0] ** -0.5))) * SILU_NORM
        return x
