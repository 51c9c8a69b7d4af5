"""SchNet: continuous-filter convolutions, invariant under rotation (Schütt et al., NeurIPS 2017)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from chemscale.models.atom_graph import AtomGraph
from chemscale.models.layers.activations import ShiftedSoftplus, mlp
from chemscale.models.layers.radial import EdgeLinear, cosine_cutoff, radial_basis


@dataclass(frozen=True)
class SchNetConfig:
    """Shape of a SchNet; capacity is layers × width as in Frey et al. 2023.

    Raises:
        ValueError: a size below 1, or an unknown basis.
    """

    family: ClassVar[str] = "schnet"
    width: int = 128
    layers: int = 6
    cutoff: float = 5.0
    radial: int = 20
    basis: str = "gaussian"

    def network(self, elements: tuple[int, ...], neighbours: float) -> SchNet:
        return SchNet(self, len(elements))


class SchNet(nn.Module):
    """x_i ← x_i + f(Σ_j W(r_ij) ∘ (x_j A)): atoms talk through filters that a network makes of distances.

    N atoms, E edges, F features, K radial functions.
    """

    def __init__(self, config: SchNetConfig, types: int):
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(types, config.width)
        self.basis = radial_basis(config.basis, config.radial, config.cutoff)
        self.layers = nn.ModuleList([Interaction(config) for _ in range(config.layers)])
        self.readout = mlp([config.width, config.width // 2 or 1, 1], ShiftedSoftplus)

    def forward(self, graph: AtomGraph) -> Tensor:
        """(N,) energies of atoms, in units of the potential's scale."""
        x = self.embedding(graph.types)  # (N, F)
        radial = self.basis(graph.distances)
        # The bias of the first filter layer is the weight of a constant.
        radial = torch.cat([radial, torch.ones_like(radial[:, :1])], 1)  # (E, K + 1)
        cutoff = cosine_cutoff(graph.distances, self.config.cutoff)[:, None]  # (E, 1)
        for layer in self.layers:
            x = x + layer(x, radial, cutoff, graph)
        return self.readout(x)[:, 0]


class Interaction(nn.Module):
    """One continuous-filter convolution with its atom-wise layers (Fig. 2 of the paper)."""

    def __init__(self, config: SchNetConfig):
        super().__init__()
        width = config.width
        self.to_filter_space = nn.Linear(width, width, bias=False)
        self.filter = nn.Sequential(
            EdgeLinear(config.radial + 1, width), ShiftedSoftplus(), nn.Linear(width, width)
        )
        self.output = mlp([width, width, width], ShiftedSoftplus)

    def forward(self, x: Tensor, radial: Tensor, cutoff: Tensor, graph: AtomGraph) -> Tensor:
        weights = self.filter(radial) * cutoff  # (E, F)
        messages = graph.to_edges(self.to_filter_space(x)) * weights  # (E, F)
        return self.output(graph.sum_over_neighbours(messages))
