"""SchNet: continuous-filter convolutions, invariant under rotation (Schütt et al., NeurIPS 2017)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from chemscale.common.sections import Count, Positive
from chemscale.models.atom_graph import AtomGraph
from chemscale.models.layers.activations import ShiftedSoftplus, mlp
from chemscale.models.layers.radial import Basis, EdgeLinear, Functions, cosine_cutoff, radial_basis


@dataclass(frozen=True)
class SchNetConfig:
    """Shape of a SchNet; capacity is layers × width as in Frey et al. 2023.

    Args:
        width: features of an atom, and of a filter.
        layers: interaction blocks.
        cutoff: Å within which atoms are neighbours.
        radial: radial functions.
        basis: gaussian, bessel or bernstein.
    """

    family: ClassVar[str] = "schnet"
    width: Count = 128
    layers: Count = 6
    cutoff: Positive = 5.0
    radial: Functions = 20
    basis: Basis = "gaussian"

    def network(self, elements: tuple[int, ...], neighbours: float) -> SchNet:
        """The network of this shape.

        Args:
            elements: atomic numbers that it has to know.
            neighbours: mean number of neighbours of an atom; SchNet has no use for it.
        """
        return SchNet(self, len(elements))


class SchNet(nn.Module):
    """Features of atoms that are convolved with filters which a network makes of distances.

    Each interaction block (Fig. 2 of the paper) adds a continuous-filter convolution::

        x_i ← x_i + f(Σ_j (A x_j) ∘ W(r_ij)),    W(r) = filter network(e_1(r) … e_K(r)) · f_cut(r)

    Here f and the filter network have shifted softplus between their layers, and A has no bias.

    Shapes: N atoms, H pairs of neighbours, F features, K radial functions.

    K. T. Schütt, P.-J. Kindermans, H. E. Sauceda, S. Chmiela, A. Tkatchenko and K.-R. Müller, SchNet: A
    continuous-filter convolutional neural network for modeling quantum interactions, NeurIPS 2017.

    Args:
        config: its shape.
        types: number of elements.
    """

    def __init__(self, config: SchNetConfig, types: int):
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(types, config.width)
        self.basis = radial_basis(config.basis, config.radial, config.cutoff)
        self.layers = nn.ModuleList([InteractionBlock(config) for _ in range(config.layers)])
        self.readout = mlp([config.width, config.width // 2 or 1, 1], ShiftedSoftplus)

    def forward(self, graph: AtomGraph) -> Tensor:
        """Energies of atoms in units of the potential's scale, (N,)."""
        x = self.embedding(graph.types)  # (N, F)
        radial = self.basis(graph.radii)  # (H, K)
        # The bias of the first filter layer is the weight of a constant.
        radial = torch.cat([radial, torch.ones_like(radial[:, :1])], 1)  # (H, K + 1)
        cutoff = cosine_cutoff(graph.radii, self.config.cutoff)[:, None]  # (H, 1)
        for layer in self.layers:
            x = x + layer(x, radial, cutoff, graph)
        return self.readout(x)[:, 0]


class InteractionBlock(nn.Module):
    """One continuous-filter convolution with its atom-wise layers (Fig. 2 of the paper).

    Args:
        config: shape of the network.
    """

    def __init__(self, config: SchNetConfig):
        super().__init__()
        width = config.width
        self.to_filter_space = nn.Linear(width, width, bias=False)
        self.filter = nn.Sequential(
            EdgeLinear(config.radial + 1, width), ShiftedSoftplus(), nn.Linear(width, width)
        )
        self.output = mlp([width, width, width], ShiftedSoftplus)

    def forward(self, x: Tensor, radial: Tensor, cutoff: Tensor, graph: AtomGraph) -> Tensor:
        """What the block adds to the features.

        Args:
            x: (N, F) features.
            radial: (H, K + 1) radial functions and a constant.
            cutoff: (H, 1) of each pair of neighbours.
            graph: the atoms and their edges.

        Returns:
            (N, F)
        """
        weights = self.filter(radial) * cutoff  # (H, F)
        return self.output(graph.convolve(weights, self.to_filter_space(x)))
