"""NequIP: E(3)-equivariant interatomic potentials (Batzner et al., Nature Communications 2022)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from e3nn import o3
from torch import Tensor, nn

from chemscale.models.atom_graph import AtomGraph
from chemscale.models.layers.activations import ScaledMLP
from chemscale.models.layers.equivariant import (
    ChannelMixing,
    ElementMixing,
    Gate,
    Irreps,
    NeighbourCoupling,
    SphericalHarmonics,
    coupling_paths,
    irreps_up_to,
)
from chemscale.models.layers.radial import polynomial_cutoff, radial_basis

SCALAR = o3.Irrep(0, 1)


@dataclass(frozen=True)
class NequIPConfig:
    """Shape of a NequIP; capacity is layers × width as in Frey et al. 2023.

    `parity` keeps both parities of each degree up to `l_max` (the paper's "even and odd"); without it only
    those of the spherical harmonics. `radial_layers` hidden layers of `radial_width` make the path weights.
    """

    family: ClassVar[str] = "nequip"
    width: int = 32
    layers: int = 4
    l_max: int = 1
    parity: bool = True
    cutoff: float = 5.0
    radial: int = 8
    basis: str = "bessel"
    radial_layers: int = 2
    radial_width: int = 64
    cutoff_power: int = 6

    def network(self, elements: tuple[int, ...], neighbours: float) -> NequIP:
        return NequIP(self, len(elements), neighbours)


class NequIP(nn.Module):
    """Convolutions x_i ← Gate(self-connection + Σ_j R(r_ij)(x_j ⊗ Y(r̂_ij))) over features of several degrees.

    N atoms, E edges, U channels, I components of the hidden irreps.
    """

    def __init__(self, config: NequIPConfig, types: int, neighbours: float):
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(types, config.width)
        self.basis = radial_basis(config.basis, config.radial, config.cutoff)
        self.harmonics = SphericalHarmonics(config.l_max)
        hidden = irreps_up_to(config.l_max, parity=config.parity)
        layers, irreps = [], (SCALAR,)
        for index in range(config.layers):
            wanted = hidden if index < config.layers - 1 else (SCALAR,)
            layer = Convolution(config, irreps, wanted, self.harmonics.irreps, types, neighbours)
            layers.append(layer)
            irreps = layer.irreps_out
        self.layers = nn.ModuleList(layers)
        self.readout = ScaledMLP([config.width, config.width // 2 or 1, 1])

    def forward(self, graph: AtomGraph) -> Tensor:
        """(N,) energies of atoms, in units of the potential's scale."""
        x = self.embedding(graph.types)[:, None, :]  # (N, 1, U)
        envelope = polynomial_cutoff(graph.distances, self.config.cutoff, self.config.cutoff_power)
        radial = self.basis(graph.distances) * envelope[:, None]  # (E, K)
        harmonics = self.harmonics(graph.vectors)  # (E, J)
        for layer in self.layers:
            x = layer(x, radial, harmonics, graph)
        return self.readout(x[:, 0])[:, 0]


class Convolution(nn.Module):
    """One interaction block (Fig. 1 of the paper)."""

    def __init__(
        self,
        config: NequIPConfig,
        irreps_in: Irreps,
        wanted: Irreps,
        harmonics: Irreps,
        types: int,
        neighbours: float,
    ):
        super().__init__()
        width = config.width
        reached = {ir for _, _, ir in coupling_paths(irreps_in, harmonics, wanted)} | set(irreps_in)
        self.irreps_out = tuple(ir for ir in wanted if ir in reached)
        self.gate = Gate(self.irreps_out)
        self.coupling = NeighbourCoupling(irreps_in, harmonics, self.irreps_out)
        sizes = [config.radial, *[config.radial_width] * config.radial_layers, self.coupling.paths * width]
        self.radial = ScaledMLP(sizes)
        self.before = ChannelMixing(irreps_in, width, irreps_in, width)
        targets = self.gate.irreps_in  # gates are even scalars and come first: grouped
        self.after = ChannelMixing(self.coupling.irreps_out, width, targets, width)
        self.self_connection = ElementMixing(irreps_in, width, targets, width, types)
        self.norm = 1.0 / math.sqrt(neighbours)

    def forward(self, x: Tensor, radial: Tensor, harmonics: Tensor, graph: AtomGraph) -> Tensor:
        weights = self.radial(radial).unflatten(1, (self.coupling.paths, x.shape[2]))  # (E, P, U)
        messages = self.coupling(graph.to_edges(self.before(x)), harmonics, weights)  # (E, K, U)
        gathered = graph.sum_over_neighbours(messages) * self.norm
        return self.gate(self.after(gathered) + self.self_connection(x, graph.types))
