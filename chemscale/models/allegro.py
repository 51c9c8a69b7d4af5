"""Allegro: strictly local equivariant potentials (Musaelian et al., Nature Communications 2023)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from chemscale.common.sections import Count, Index, Positive
from chemscale.models.atom_graph import AtomGraph
from chemscale.models.layers.activations import ScaledMLP
from chemscale.models.layers.equivariant import (
    SCALAR,
    ChannelCoupling,
    ChannelMixing,
    Degree,
    Irreps,
    SphericalHarmonics,
    irreps_up_to,
)
from chemscale.models.layers.radial import Basis, Functions, polynomial_cutoff, radial_basis


@dataclass(frozen=True)
class AllegroConfig:
    """Shape of an Allegro; capacity is layers × width as in Frey et al. 2023.

    Args:
        width: features of the scalar track.
        layers: Allegro layers.
        tensors: channels of the tensor track.
        l_max: highest degree of the tensor track and of the spherical harmonics.
        parity: whether both parities of each degree are kept, or only those of the spherical harmonics.
        cutoff: Å within which atoms are neighbours.
        radial: radial functions.
        basis: gaussian, bessel or bernstein.
        depth: hidden layers of every latent network.
        cutoff_power: p of the polynomial cutoff.
    """

    family: ClassVar[str] = "allegro"
    width: Count = 64
    layers: Count = 2
    tensors: Count = 32
    l_max: Degree = 2
    parity: bool = False
    cutoff: Positive = 5.0
    radial: Functions = 8
    basis: Basis = "bessel"
    depth: Index = 1
    cutoff_power: Count = 6

    def network(self, elements: tuple[int, ...], neighbours: float) -> Allegro:
        """The network of this shape.

        Args:
            elements: atomic numbers that it has to know.
            neighbours: mean number of neighbours of an atom, by whose root sums over neighbours are divided.
        """
        return Allegro(self, len(elements), neighbours)


class Allegro(nn.Module):
    """Energies of ordered pairs, E_i = Σ_j E_ij; nothing travels beyond the cutoff.

    All state lives on edges: scalars x_ij and tensors V_ij. The two-body latent of both elements and the
    distance starts them; each Allegro layer (Fig. 1 of the paper) couples the tensors of a pair with the
    environment of its centre, and the invariants that come out update the scalars::

        V_ij ← V_ij ⊗ 1/√n̄ Σ_k w(x_ik) Y(r̂_ik)
        x_ij ← α x_ij + β MLP(x_ij ‖ invariants of V_ij) f_cut(r_ij),    α² + β² = 1

    Shapes: N atoms, E edges, K radial functions, J components of the harmonics, C of all paths,
    S scalar features, T tensor channels, L degrees.

    A. Musaelian, S. Batzner, A. Johansson, L. Sun, C. J. Owen, M. Kornbluth and B. Kozinsky, Learning local
    equivariant representations for large-scale atomistic dynamics, Nature Communications 14, 579 (2023).

    Args:
        config: its shape.
        types: number of elements.
        neighbours: mean number of neighbours of an atom.
    """

    degree: Tensor
    reads_out_edges = True
    """The rows of ``readout`` are edges, not atoms."""

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
            layer = AllegroLayer(config, irreps, wanted, self.harmonics.irreps, neighbours)
            layers.append(layer)
            irreps = layer.irreps_out
        self.layers = nn.ModuleList(layers)
        self.readout = ScaledMLP([config.width, *hidden, 1])
        self.norm = 1.0 / math.sqrt(neighbours)
        degree = [index for index, ir in enumerate(self.harmonics.irreps) for _ in range(ir.dim)]
        self.register_buffer("degree", torch.tensor(degree), persistent=False)

    def forward(self, graph: AtomGraph) -> Tensor:
        """Energies of atoms in units of the potential's scale, (N,)."""
        config = self.config
        cutoff = polynomial_cutoff(graph.distances, config.cutoff, config.cutoff_power)[:, None]  # (E, 1)
        radial = self.basis(graph.distances)  # (E, K)
        pair = graph.types[graph.receivers] * self.types + graph.types[graph.senders]  # (E,)
        kinds = self.embedding(pair)  # (E, K)
        x = self.two_body(torch.cat([radial * kinds, radial], 1)) * cutoff  # (E, S)
        harmonics = self.harmonics(graph.vectors)  # (E, J)
        tensors = self.weigh(self.first_weights(x), harmonics)  # (E, J, T)
        for layer in self.layers:
            x, tensors = layer(x, tensors, harmonics, cutoff, self, graph)
        return graph.sum_over_neighbours(self.readout(x) * cutoff)[:, 0] * self.norm

    def weigh(self, weights: Tensor, harmonics: Tensor) -> Tensor:
        """Harmonics times weights of each degree and channel, (E, J, T).

        Args:
            weights: (E, L·T) of each degree and channel.
            harmonics: (E, J) spherical harmonics.
        """
        weights = weights.view(harmonics.shape[0], len(self.harmonics.irreps), self.config.tensors)
        return weights.index_select(1, self.degree) * harmonics[:, :, None]


class AllegroLayer(nn.Module):
    """Couple each pair's tensors with the centre's environment (Eqs. 10 to 16 of the paper).

    Args:
        config: shape of the network.
        irreps_in: of the tensors before.
        wanted: irreps to end in; those that no path reaches are left out of ``irreps_out``.
        harmonics: irreps of the spherical harmonics.
        neighbours: mean number of neighbours of an atom.
    """

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
        """Scalars and tensors after the layer.

        Args:
            x: (E, S) scalars.
            tensors: (E, I, T) tensors of I components.
            harmonics: (E, J) spherical harmonics.
            cutoff: (E, 1) of each edge.
            model: the network, for its ``weigh``.
            graph: the atoms and their edges.

        Returns:
            (E, S) scalars and (E, I', T) tensors.
        """
        around = (
            graph.sum_over_neighbours(model.weigh(self.environment(x), harmonics)) * self.norm
        )  # (N, J, T)
        coupled = self.coupling(tensors, graph.to_receivers(around))  # (E, C, T)
        invariants = coupled[:, : self.scalars].flatten(1)
        update = self.latent(torch.cat([x, invariants], 1)) * cutoff  # (E, S)
        # A learned share of the old features, norms kept: α² + β² = 1 (supplementary section of the paper).
        share = torch.sigmoid(self.residual)
        keep, take = torch.rsqrt(1 + share * share), share * torch.rsqrt(1 + share * share)
        x = keep * x + take * update
        return x, coupled if self.mixing is None else self.mixing(coupled)
