"""MACE: higher order equivariant message passing (Batatia et al., NeurIPS 2022)."""

from __future__ import annotations

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
    Irreps,
    NeighbourCoupling,
    SphericalHarmonics,
    irreps_up_to,
)
from chemscale.models.layers.radial import Basis, Functions, polynomial_cutoff, radial_basis
from chemscale.models.layers.symmetric import SymmetricContraction


@dataclass(frozen=True)
class MACEConfig:
    """Shape of a MACE; capacity is layers × width as in Frey et al. 2023.

    Args:
        width: channels of each irrep.
        layers: interactions, each with its product.
        l_max: highest degree of the spherical harmonics and of the atomic basis.
        hidden_l_max: highest degree of what passes between layers.
        correlation: ν, the neighbours that one feature couples (body order ν + 1).
        cutoff: Å within which atoms are neighbours.
        radial: radial functions.
        basis: gaussian, bessel or bernstein.
        radial_layers: hidden layers of the network that makes the path weights.
        radial_width: their width.
        cutoff_power: p of the polynomial cutoff.
    """

    family: ClassVar[str] = "mace"
    width: Count = 64
    layers: Count = 2
    l_max: Degree = 3
    hidden_l_max: Degree = 1
    correlation: Count = 3
    cutoff: Positive = 5.0
    radial: Functions = 8
    basis: Basis = "bessel"
    radial_layers: Index = 3
    radial_width: Count = 64
    cutoff_power: Count = 5

    def network(self, elements: tuple[int, ...], neighbours: float) -> MACE:
        """The network of this shape.

        Args:
            elements: atomic numbers that it has to know.
            neighbours: mean number of neighbours of an atom, by which sums over neighbours are divided.
        """
        return MACE(self, len(elements), neighbours)


class MACE(nn.Module):
    """Few layers of high body order: a basis A from neighbours, a basis B of its products on each atom.

    Each layer gathers A (Eqs. 8 and 9 of the paper), takes all products of up to ν of its components that
    are equivariant (Eqs. 10 and 11), and updates the features h (Eq. 12)::

        A_i = W 1/n̄ Σ_j R(r_ij) (V h_j ⊗ Y(r̂_ij))
        B_i = Σ_ν Σ_η w_Z,ν,η C_ν,η · A_i ⊗ … ⊗ A_i
        h_i ← U B_i + W_Z h_i

    The energy of an atom is the sum of a readout of every layer.

    Shapes: N atoms, E edges, H pairs of neighbours, K radial functions, J components of the harmonics, I of
    the features, C of all paths, P paths, U channels.

    I. Batatia, D. P. Kovács, G. N. C. Simm, C. Ortner and G. Csányi, MACE: Higher order equivariant message
    passing neural networks for fast and accurate force fields, NeurIPS 2022.

    Args:
        config: its shape.
        types: number of elements.
        neighbours: mean number of neighbours of an atom.
    """

    def __init__(self, config: MACEConfig, types: int, neighbours: float):
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(types, config.width)
        self.basis = radial_basis(config.basis, config.radial, config.cutoff)
        self.harmonics = SphericalHarmonics(config.l_max)
        hidden = irreps_up_to(config.hidden_l_max, parity=False)
        layers: list[InteractionAndProduct] = []
        readouts: list[nn.Module] = []
        irreps: Irreps = (SCALAR,)
        for index in range(config.layers):
            last = index == config.layers - 1
            wanted = (SCALAR,) if last else hidden
            layers.append(InteractionAndProduct(config, irreps, wanted, types, neighbours))
            readouts.append(ScaledMLP([config.width, 16, 1] if last else [config.width, 1]))
            irreps = hidden
        self.layers, self.readouts = nn.ModuleList(layers), nn.ModuleList(readouts)

    def forward(self, graph: AtomGraph) -> Tensor:
        """Energies of atoms in units of the potential's scale, (N,)."""
        x = self.embedding(graph.types)[:, None, :]  # (N, 1, U)
        envelope = polynomial_cutoff(graph.radii, self.config.cutoff, self.config.cutoff_power)
        radial = self.basis(graph.radii) * envelope[:, None]  # (H, K)
        harmonics = self.harmonics(graph.vectors)  # (E, J)
        energies = graph.distances.new_zeros(graph.atoms)  # (N,)
        for layer, readout in zip(self.layers, self.readouts, strict=True):
            x = layer(x, radial, harmonics, graph)
            energies = energies + readout(x[:, 0])[:, 0]
        return energies


class InteractionAndProduct(nn.Module):
    """Interaction (Eqs. 8 and 9), product (Eqs. 10 and 11) and update (Eq. 12) of one layer.

    Args:
        config: shape of the network.
        irreps_in: of the features before.
        irreps_out: of the features after.
        types: number of elements.
        neighbours: mean number of neighbours of an atom.
    """

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
        """The features after the layer.

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
        atomic = self.after(graph.sum_over_neighbours(messages) * self.norm)  # A, (N, components, U)
        return self.update(self.product(atomic, graph.types)) + self.self_connection(x, graph.types)
