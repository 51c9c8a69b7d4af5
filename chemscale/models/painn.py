"""PaiNN: polarizable atom interaction network, with vectors (Schütt, Unke and Gastegger, ICML 2021)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from chemscale.models.atom_graph import AtomGraph
from chemscale.models.layers.activations import mlp
from chemscale.models.layers.radial import EdgeLinear, cosine_cutoff, radial_basis

EPSILON = 1e-8
"""Floor under a squared norm: its root has finite derivatives where a vector feature is 0."""


@dataclass(frozen=True)
class PaiNNConfig:
    """Shape of a PaiNN; capacity is layers × width as in Frey et al. 2023.

    Raises:
        ValueError: a size below 1, or an unknown basis.
    """

    family: ClassVar[str] = "painn"
    width: int = 128
    layers: int = 3
    cutoff: float = 5.0
    radial: int = 20
    basis: str = "gaussian"

    def network(self, elements: tuple[int, ...], neighbours: float) -> PaiNN:
        return PaiNN(self, len(elements))


class PaiNN(nn.Module):
    """Scalars s (N, F) and vectors v (N, 3, F) that exchange messages and mix on each atom.

    Vectors start at 0, so the first layer has no filter for them and the published layer's unused third of
    weights is not kept. N atoms, E edges, F features, K radial functions.
    """

    def __init__(self, config: PaiNNConfig, types: int):
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(types, config.width)
        self.basis = radial_basis(config.basis, config.radial, config.cutoff)
        self.layers = nn.ModuleList([Layer(config, first=index == 0) for index in range(config.layers)])
        self.readout = mlp([config.width, config.width // 2 or 1, 1])

    def forward(self, graph: AtomGraph) -> Tensor:
        """(N,) energies of atoms, in units of the potential's scale."""
        s = self.embedding(graph.types)  # (N, F)
        v: Tensor | None = None  # (N, 3, F)
        cutoff = cosine_cutoff(graph.distances, self.config.cutoff)[:, None]
        # The bias of the filters is the weight of one more function: 1, cut off like the others.
        radial = torch.cat([self.basis(graph.distances) * cutoff, cutoff], 1)  # (E, K + 1)
        directions = graph.vectors / graph.distances[:, None]  # (E, 3)
        for layer in self.layers:
            s, v = layer(s, v, radial, directions, graph)
        return self.readout(s)[:, 0]


class Layer(nn.Module):
    """A message from neighbours (Eqs. 7 and 8), then an update on each atom (Eqs. 9 and 10)."""

    def __init__(self, config: PaiNNConfig, *, first: bool):
        super().__init__()
        width = config.width
        parts = 2 if first else 3
        self.context = mlp([width, width, parts * width])
        self.filter = EdgeLinear(config.radial + 1, parts * width)
        self.mix = nn.Linear(width, 2 * width, bias=False)
        self.update = mlp([2 * width, width, 3 * width])

    def forward(
        self,
        s: Tensor,
        v: Tensor | None,
        radial: Tensor,
        directions: Tensor,
        graph: AtomGraph,
    ) -> tuple[Tensor, Tensor]:
        s, v = self.message(s, v, radial, directions, graph)
        return self.update_atoms(s, v)

    def message(
        self,
        s: Tensor,
        v: Tensor | None,
        radial: Tensor,
        directions: Tensor,
        graph: AtomGraph,
    ) -> tuple[Tensor, Tensor]:
        width = s.shape[1]
        gates = graph.to_edges(self.context(s)) * self.filter(radial)  # (E, 2F or 3F)
        along, scalar = gates[:, :width], gates[:, width : 2 * width]
        vectors = along[:, None, :] * directions[:, :, None]  # (E, 3, F)
        if v is not None:
            vectors = vectors + graph.to_edges(v) * gates[:, None, 2 * width :]
        dv = graph.sum_over_neighbours(vectors)
        return s + graph.sum_over_neighbours(scalar), dv if v is None else v + dv

    def update_atoms(self, s: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        width = s.shape[1]
        mixed = self.mix(v)  # (N, 3, 2F)
        u, w = mixed[..., :width], mixed[..., width:]
        norm = torch.sqrt((w * w).sum(1) + EPSILON)
        scale_v, scale_dot, ds = self.update(torch.cat([s, norm], 1)).split(width, 1)
        return s + ds + scale_dot * (u * w).sum(1), v + scale_v[:, None, :] * u
