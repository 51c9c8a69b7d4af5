"""NequIP: E(3)-equivariant interatomic potentials (Batzner et al., Nature Communications 2022)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from chemscale.common.sections import Count, Index, Positive
from chemscale.models.atom_graph import AtomGraph
from chemscale.models.layers.activations import ScaledMLP
from chemscale.models.layers.equivariant import (
    SCALAR,
    ChannelMixing,
    Degree,
    ElementMixing,
    Gate,
    Irreps,
    NeighbourCoupling,
    SphericalHarmonics,
    coupling_paths,
    irreps_up_to,
)
from chemscale.models.layers.radial import Basis, Functions, polynomial_cutoff, radial_basis

READOUT_START = 0.1
"""What the readout starts with: at 1 the forces of an untrained network are as large as the labels, in random
directions, which hundreds of steps unlearn (docs/lab-notes.md)."""


@dataclass(frozen=True)
class NequIPConfig:
    """Shape of a NequIP; capacity is layers × width as in Frey et al. 2023.

    Args:
        width: channels of each irrep.
        layers: interaction blocks.
        l_max: highest degree of features and spherical harmonics.
        parity: whether both parities of each degree are kept (the paper's "even and odd"), or only those of
            the spherical harmonics.
        cutoff: Å within which atoms are neighbours.
        radial: radial functions.
        basis: gaussian, bessel or bernstein.
        radial_layers: hidden layers of the network that makes the path weights.
        radial_width: their width.
        cutoff_power: p of the polynomial cutoff.
    """

    family: ClassVar[str] = "nequip"
    width: Count = 32
    layers: Count = 4
    l_max: Degree = 1
    parity: bool = True
    cutoff: Positive = 5.0
    radial: Functions = 8
    basis: Basis = "bessel"
    radial_layers: Index = 2
    radial_width: Count = 64
    cutoff_power: Count = 6

    def network(self, elements: tuple[int, ...], neighbours: float) -> NequIP:
        """The network of this shape.

        Args:
            elements: atomic numbers that it has to know.
            neighbours: mean number of neighbours of an atom, by whose root sums over neighbours are divided.
        """
        return NequIP(self, len(elements), neighbours)


class NequIP(nn.Module):
    """Equivariant convolutions over features of several degrees.

    Each interaction block (Fig. 1 of the paper) couples neighbours' features with spherical harmonics Y of
    the direction, with a weight R of the distance for each path and channel::

        x_i ← Gate(W_Z x_i + A · 1/√n̄ Σ_j R(r_ij) (B x_j ⊗ Y(r̂_ij)))

    A, B and the self-connection W_Z mix channels; n̄ is the mean number of neighbours.

    Shapes: N atoms, E edges, H pairs of neighbours, K radial functions, J components of the harmonics, I of
    the features, C of all paths, P paths, U channels.

    S. Batzner, A. Musaelian, L. Sun, M. Geiger, J. P. Mailoa, M. Kornbluth, N. Molinari, T. E. Smidt and
    B. Kozinsky, E(3)-equivariant graph neural networks for data-efficient and accurate interatomic
    potentials, Nature Communications 13, 2453 (2022).

    Args:
        config: its shape.
        types: number of elements.
        neighbours: mean number of neighbours of an atom.
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
            layer = InteractionBlock(config, irreps, wanted, self.harmonics.irreps, types, neighbours)
            layers.append(layer)
            irreps = layer.irreps_out
        self.layers = nn.ModuleList(layers)
        self.readout = ScaledMLP([config.width, config.width // 2 or 1, 1], last=READOUT_START)

    def forward(self, graph: AtomGraph) -> Tensor:
        """Energies of atoms in units of the potential's scale, (N,)."""
        x = self.embedding(graph.types)[:, None, :]  # (N, 1, U)
        envelope = polynomial_cutoff(graph.radii, self.config.cutoff, self.config.cutoff_power)
        radial = self.basis(graph.radii) * envelope[:, None]  # (H, K)
        harmonics = self.harmonics(graph.vectors)  # (E, J)
        for layer in self.layers:
            x = layer(x, radial, harmonics, graph)
        return self.readout(x[:, 0])[:, 0]


class InteractionBlock(nn.Module):
    """One convolution, self-connection and gate (Fig. 1 of the paper).

    Args:
        config: shape of the network.
        irreps_in: of the features before.
        wanted: irreps to end in; those that no path reaches are left out of ``irreps_out``.
        harmonics: irreps of the spherical harmonics.
        types: number of elements.
        neighbours: mean number of neighbours of an atom.
    """

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
        """The features after the block.

        Args:
            x: (N, I, U) features.
            radial: (H, K) radial functions, cut off.
            harmonics: (E, J) spherical harmonics.
            graph: the atoms and their edges.

        Returns:
            (N, I', U)
        """
        weights = graph.to_both_edges(self.radial(radial))  # (E, P·U)
        weights = weights.unflatten(1, (self.coupling.paths, x.shape[2]))
        messages = self.coupling(graph.to_edges(self.before(x)), harmonics, weights)  # (E, C, U)
        gathered = graph.sum_over_neighbours(messages) * self.norm  # (N, C, U)
        return self.gate(self.after(gathered) + self.self_connection(x, graph.types))
