"""PaiNN: polarizable atom interaction network, with vectors (Schütt, Unke and Gastegger, ICML 2021)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from chemscale.common.sections import Count, Positive
from chemscale.models.atom_graph import AtomGraph
from chemscale.models.layers.activations import mlp
from chemscale.models.layers.radial import Basis, EdgeLinear, Functions, cosine_cutoff, radial_basis

EPSILON = 1e-8
"""Floor under a squared norm: its root has finite derivatives where a vector feature is 0."""


@dataclass(frozen=True)
class PaiNNConfig:
    """Shape of a PaiNN; capacity is layers × width as in Frey et al. 2023.

    Args:
        width: features of an atom, scalar and vector ones each.
        layers: message and update blocks.
        cutoff: Å within which atoms are neighbours.
        radial: radial functions.
        basis: gaussian, bessel or bernstein.
    """

    family: ClassVar[str] = "painn"
    width: Count = 128
    layers: Count = 3
    cutoff: Positive = 5.0
    radial: Functions = 20
    basis: Basis = "gaussian"

    def network(self, elements: tuple[int, ...], neighbours: float) -> PaiNN:
        """The network of this shape.

        Args:
            elements: atomic numbers that it has to know.
            neighbours: mean number of neighbours of an atom; PaiNN has no use for it.
        """
        return PaiNN(self, len(elements))


class PaiNN(nn.Module):
    """Scalars s and vectors v on each atom that exchange messages and mix (Fig. 2 of the paper).

    Message block (Fig. 2b, Eqs. 7 and 8), with r̂_ij the direction to the neighbour::

        s_i ← s_i + Σ_j φ_s(s_j) ∘ W_s(r_ij)
        v_i ← v_i + Σ_j φ_vs(s_j) ∘ W_vs(r_ij) r̂_ij + Σ_j φ_vv(s_j) ∘ W_vv(r_ij) ∘ v_j

    Update block (Fig. 2c, Eqs. 9 and 10), with ⟨·, ·⟩ the sum over x, y, z::

        s_i ← s_i + a_ss(s_i, ‖Vv_i‖) + a_sv(s_i, ‖Vv_i‖) ∘ ⟨Uv_i, Vv_i⟩
        v_i ← v_i + a_vv(s_i, ‖Vv_i‖) ∘ Uv_i

    Vectors start at 0, so the first layer has no filter for them and the published layer's unused third of
    weights is not kept.

    Shapes: N atoms, E edges, H pairs of neighbours, F features, K radial functions.

    K. T. Schütt, O. T. Unke and M. Gastegger, Equivariant message passing for the prediction of tensorial
    properties and molecular spectra, ICML 2021.

    Args:
        config: its shape.
        types: number of elements.
    """

    def __init__(self, config: PaiNNConfig, types: int):
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(types, config.width)
        self.basis = radial_basis(config.basis, config.radial, config.cutoff)
        self.layers = nn.ModuleList(
            [MessageAndUpdate(config, first=index == 0) for index in range(config.layers)]
        )
        self.readout = mlp([config.width, config.width // 2 or 1, 1])

    def forward(self, graph: AtomGraph) -> Tensor:
        """Energies of atoms in units of the potential's scale, (N,)."""
        s = self.embedding(graph.types)  # (N, F)
        v: Tensor | None = None  # (N, 3, F)
        cutoff = cosine_cutoff(graph.radii, self.config.cutoff)[:, None]
        # The bias of the filters is the weight of one more function: 1, cut off like the others.
        radial = torch.cat([self.basis(graph.radii) * cutoff, cutoff], 1)  # (H, K + 1)
        directions = graph.vectors / graph.distances[:, None]  # (E, 3)
        for layer in self.layers:
            s, v = layer(s, v, radial, directions, graph)
        return self.readout(s)[:, 0]


class MessageAndUpdate(nn.Module):
    """A message from neighbours (Fig. 2b of the paper), then an update on each atom (Fig. 2c).

    Args:
        config: shape of the network.
        first: whether there are no vectors yet.
    """

    def __init__(self, config: PaiNNConfig, *, first: bool):
        super().__init__()
        width = config.width
        parts = 2 if first else 3
        self.context = mlp([width, width, parts * width])  # φ
        self.filter = EdgeLinear(config.radial + 1, parts * width)  # W
        self.mix = nn.Linear(width, 2 * width, bias=False)  # U and V
        self.update = mlp([2 * width, width, 3 * width])  # a

    def forward(
        self,
        s: Tensor,
        v: Tensor | None,
        radial: Tensor,
        directions: Tensor,
        graph: AtomGraph,
    ) -> tuple[Tensor, Tensor]:
        """Both blocks, one after the other.

        Args:
            s: (N, F) scalars.
            v: (N, 3, F) vectors; None for 0.
            radial: (H, K + 1) radial functions and a constant, cut off.
            directions: (E, 3) unit vectors from receiver to sender.
            graph: the atoms and their edges.

        Returns:
            (N, F) scalars and (N, 3, F) vectors.
        """
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
        """Fig. 2b: what neighbours send, added up on each atom."""
        context = self.context(s).split(s.shape[1], 1)  # φ of 2 or 3 parts, (N, F) each
        filters = self.filter(radial).split(s.shape[1], 1)  # W likewise, (H, F) each
        along = graph.to_edges(context[0]) * graph.to_both_edges(filters[0])  # (E, F)
        dv = graph.sum_outer(along, directions)  # (N, 3, F)
        if v is not None:
            dv = v + dv + graph.convolve(filters[2], context[2][:, None] * v)
        return s + graph.convolve(filters[1], context[1]), dv

    def update_atoms(self, s: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Fig. 2c: scalars and vectors of one atom learn of each other."""
        width = s.shape[1]
        mixed = self.mix(v)  # (N, 3, 2F)
        u, w = mixed.split(width, 2)  # Uv and Vv, (N, 3, F) each
        norm = torch.sqrt((w * w).sum(1) + EPSILON)  # (N, F)
        a_vv, a_sv, a_ss = self.update(torch.cat([s, norm], 1)).split(width, 1)  # (N, F) each
        return s + a_ss + a_sv * (u * w).sum(1), v + a_vv[:, None, :] * u
