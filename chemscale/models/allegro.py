"""Allegro: strictly local equivariant potentials (Musaelian et al., Nature Communications 2023)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from e3nn import o3
from torch import Tensor, nn

from chemscale.models.atom_graph import AtomGraph
from chemscale.models.layers.activations import ScaledMLP
from chemscale.models.layers.equivariant import (
    ChannelCoupling,
    ChannelMixing,
    Irreps,
    SphericalHarmonics,
    irreps_up_to,
)
from chemscale.models.layers.radial import polynomial_cutoff, radial_basis

SCALAR = o3.Irrep(0, 1)


@dataclass(frozen=True)
class AllegroConfig:
    """Shape of an Allegro; capacity is layers × width as in Frey et al. 2023.

    `width` is that of the scalar track, `tensors` the channels of the tensor track; `depth` hidden layers in
    every latent network; `parity` keeps both parities of each degree up to `l_max`.
    """

    family: ClassVar[str] = "allegro"
    width: int = 64
    layers: int = 2
    tensors: int = 32
    l_max: int = 2
    parity: bool = False
    cutoff: float = 5.0
    radial: int = 8
    basis: str = "bessel"
    depth: int = 1
    cutoff_power: int = 6

    def network(self, elements: tuple[int, ...], neighbours: float) -> Allegro:
        return Allegro(self, len(elements), neighbours)


class Allegro(nn.Module):
    """Energies of ordered pairs: E_i = Σ_j E_ij. All state lives on edges; nothing travels beyond the cutoff.

    E edges, S scalar features x, T tensor channels V of I components.
    """

    degree: Tensor

    def __init__(self, config: AllegroConfig, types: int, neighbours: float):
        super().__init__()
        self.config = config
        self.basis = radial_basis(config.basis, config.radial, config.cutoff)
        self.harmonics = SphericalHarmonics(config.l_max)
        # The one-hot pair of elements as an embedding, times the radial basis: the two-body latent's input.
        self.embedding = nn.Embedding(types * types, config.radial)
        self.types = types
        hidden = [config.width] * config.depth
        self.two_body = ScaledMLP([2 * config.radial, *hidden, config.width])
        self.first_weights = ScaledMLP([config.width, len(self.harmonics.irreps) * config.tensors])
        features = irreps_up_to(config.l_max, parity=config.parity)
        layers, irreps = [], self.harmonics.irreps
        for index in range(config.layers):
            wanted = features if index < config.layers - 1 else (SCALAR,)
            layer = Layer(config, irreps, wanted, self.harmonics.irreps, neighbours)
            layers.append(layer)
            irreps = layer.irreps_out
        self.layers = nn.ModuleList(layers)
        self.readout = ScaledMLP([config.width, *hidden, 1])
        self.norm = 1.0 / math.sqrt(neighbours)
        degree = [index for index, ir in enumerate(self.harmonics.irreps) for _ in range(ir.dim)]
        self.register_buffer("degree", torch.tensor(degree), persistent=False)

    def forward(self, graph: AtomGraph) -> Tensor:
        """(N,) energies of atoms, in units of the potential's scale."""
        config = self.config
        cutoff = polynomial_cutoff(graph.distances, config.cutoff, config.cutoff_power)[:, None]  # (E, 1)
        radial = self.basis(graph.distances)  # (E, K)
        pair = graph.types[graph.receivers] * self.types + graph.types[graph.senders]
        kinds = self.embedding(pair)  # (E, K)
        x = self.two_body(torch.cat([radial * kinds, radial], 1)) * cutoff  # (E, S)
        harmonics = self.harmonics(graph.vectors)  # (E, J)
        tensors = self.weigh(self.first_weights(x), harmonics)  # (E, J, T)
        for layer in self.layers:
            x, tensors = layer(x, tensors, harmonics, cutoff, self, graph)
        return graph.sum_over_neighbours(self.readout(x) * cutoff)[:, 0] * self.norm

    def weigh(self, weights: Tensor, harmonics: Tensor) -> Tensor:
        """(E, L·T) weights of each degree and channel, (E, J) harmonics → (E, J, T)."""
        weights = weights.view(harmonics.shape[0], len(self.harmonics.irreps), self.config.tensors)
        return weights.index_select(1, self.degree) * harmonics[:, :, None]


class Layer(nn.Module):
    """Couples each pair's tensors with the centre's environment (Eqs. 10 to 16 of the paper)."""

    def __init__(
        self, config: AllegroConfig, irreps_in: Irreps, wanted: Irreps, harmonics: Irreps, neighbours: float
    ):
        super().__init__()
        self.environment = ScaledMLP([config.width, len(harmonics) * config.tensors])
        self.coupling = ChannelCoupling(irreps_in, harmonics, wanted)
        reached = set(self.coupling.irreps_out)
        self.irreps_out = tuple(ir for ir in wanted if ir in reached)
        self.scalars = self.coupling.irreps_out.count(SCALAR)
        hidden = [config.width] * config.depth
        self.latent = ScaledMLP([config.width + self.scalars * config.tensors, *hidden, config.width])
        last = self.irreps_out == (SCALAR,)
        self.mixing = (
            None
            if last
            else ChannelMixing(self.coupling.irreps_out, config.tensors, self.irreps_out, config.tensors)
        )
        self.residual = nn.Parameter(torch.zeros(()))
        self.norm = 1.0 / math.sqrt(neighbours)

    def forward(
        self, x: Tensor, tensors: Tensor, harmonics: Tensor, cutoff: Tensor, model: Allegro, graph: AtomGraph
    ) -> tuple[Tensor, Tensor]:
        around = (
            graph.sum_over_neighbours(model.weigh(self.environment(x), harmonics)) * self.norm
        )  # (N, J, T)
        coupled = self.coupling(tensors, around.index_select(0, graph.receivers))  # (E, K, T)
        invariants = coupled[:, : self.scalars].flatten(1)
        update = self.latent(torch.cat([x, invariants], 1)) * cutoff
        # A learned share of the old features, norms kept: α² + β² = 1 (supplementary section of the paper).
        share = torch.sigmoid(self.residual)
        keep, take = torch.rsqrt(1 + share * share), share * torch.rsqrt(1 + share * share)
        x = keep * x + take * update
        return x, coupled if self.mixing is None else self.mixing(coupled)
