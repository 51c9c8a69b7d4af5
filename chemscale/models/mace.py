"""MACE: higher order equivariant message passing (Batatia et al., NeurIPS 2022)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from e3nn import o3
from torch import Tensor, nn

from chemscale.models.atom_graph import AtomGraph
from chemscale.models.layers.activations import ScaledMLP
from chemscale.models.layers.equivariant import (
    ChannelMixing,
    ElementMixing,
    Irreps,
    NeighbourCoupling,
    SphericalHarmonics,
    irreps_up_to,
)
from chemscale.models.layers.radial import polynomial_cutoff, radial_basis
from chemscale.models.layers.symmetric import SymmetricContraction

SCALAR = o3.Irrep(0, 1)


@dataclass(frozen=True)
class MACEConfig:
    """Shape of a MACE; capacity is layers × width as in Frey et al. 2023.

    `l_max` is the degree of the spherical harmonics and of the atomic basis, `hidden_l_max` that of what
    passes between layers, `correlation` ν the number of neighbours a feature couples (body order ν + 1).
    """

    family: ClassVar[str] = "mace"
    width: int = 64
    layers: int = 2
    l_max: int = 3
    hidden_l_max: int = 1
    correlation: int = 3
    cutoff: float = 5.0
    radial: int = 8
    basis: str = "bessel"
    radial_layers: int = 3
    radial_width: int = 64
    cutoff_power: int = 5

    def network(self, elements: tuple[int, ...], neighbours: float) -> MACE:
        return MACE(self, len(elements), neighbours)


class MACE(nn.Module):
    """A-basis from neighbours, B-basis by symmetric products on each atom; few layers of high body order.

    N atoms, E edges, U channels.
    """

    def __init__(self, config: MACEConfig, types: int, neighbours: float):
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(types, config.width)
        self.basis = radial_basis(config.basis, config.radial, config.cutoff)
        self.harmonics = SphericalHarmonics(config.l_max)
        hidden = irreps_up_to(config.hidden_l_max, parity=False)
        layers: list[Layer] = []
        readouts: list[nn.Module] = []
        irreps: Irreps = (SCALAR,)
        for index in range(config.layers):
            last = index == config.layers - 1
            layers.append(Layer(config, irreps, (SCALAR,) if last else hidden, types, neighbours))
            readouts.append(ScaledMLP([config.width, 16, 1] if last else [config.width, 1]))
            irreps = hidden
        self.layers, self.readouts = nn.ModuleList(layers), nn.ModuleList(readouts)

    def forward(self, graph: AtomGraph) -> Tensor:
        """(N,) energies of atoms, in units of the potential's scale."""
        x = self.embedding(graph.types)[:, None, :]  # (N, 1, U)
        envelope = polynomial_cutoff(graph.distances, self.config.cutoff, self.config.cutoff_power)
        radial = self.basis(graph.distances) * envelope[:, None]  # (E, K)
        harmonics = self.harmonics(graph.vectors)  # (E, J)
        energies = graph.distances.new_zeros(graph.atoms)
        for layer, readout in zip(self.layers, self.readouts, strict=True):
            x = layer(x, radial, harmonics, graph)
            energies = energies + readout(x[:, 0])[:, 0]
        return energies


class Layer(nn.Module):
    """Interaction (Eqs. 8 and 9), product (Eqs. 10 and 11) and update (Eq. 12)."""

    def __init__(
        self, config: MACEConfig, irreps_in: Irreps, irreps_out: Irreps, types: int, neighbours: float
    ):
        super().__init__()
        width = config.width
        atomic = irreps_up_to(config.l_max, parity=False)
        self.before = ChannelMixing(irreps_in, width, irreps_in, width)
        self.coupling = NeighbourCoupling(irreps_in, atomic, atomic)
        sizes = [config.radial, *[config.radial_width] * config.radial_layers, self.coupling.paths * width]
        self.radial = ScaledMLP(sizes)
        self.after = ChannelMixing(self.coupling.irreps_out, width, atomic, width)
        self.product = SymmetricContraction(atomic, irreps_out, width, config.correlation, types)
        self.update = ChannelMixing(irreps_out, width, irreps_out, width)
        self.self_connection = ElementMixing(irreps_in, width, irreps_out, width, types)
        self.norm = 1.0 / neighbours

    def forward(self, x: Tensor, radial: Tensor, harmonics: Tensor, graph: AtomGraph) -> Tensor:
        weights = self.radial(radial).unflatten(1, (self.coupling.paths, x.shape[2]))  # (E, P, U)
        messages = self.coupling(graph.to_edges(self.before(x)), harmonics, weights)  # (E, K, U)
        atomic = self.after(graph.sum_over_neighbours(messages) * self.norm)  # (N, I, U)
        return self.update(self.product(atomic, graph.types)) + self.self_connection(x, graph.types)
