"""SpookyNet: charge, spin and nonlocal effects (Unke et al., Nature Communications 2021)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from chemscale.common.sections import Count, Positive
from chemscale.models.atom_graph import AtomGraph
from chemscale.models.layers.activations import Swish
from chemscale.models.layers.electrons import DESCRIPTORS, descriptors
from chemscale.models.layers.equivariant import SphericalHarmonics
from chemscale.models.layers.physics import ZBL, conserve_charge, electrostatics
from chemscale.models.layers.radial import BernsteinBasis, Functions, bump_cutoff


@dataclass(frozen=True)
class SpookyNetConfig:
    """Shape of a SpookyNet; capacity is layers × width as in Frey et al. 2023.

    Args:
        width: features of an atom.
        layers: interaction modules.
        cutoff: Å within which atoms are neighbours.
        radial: Bernstein polynomials.
        nonlocal_attention: whether all atoms of a structure are coupled.
        zbl: whether the repulsion of nuclei at short range is added.
        electrostatics: whether the interaction of learned partial charges is added (molecules only).
    """

    family: ClassVar[str] = "spookynet"
    knows_charge: ClassVar[bool] = True
    width: Count = 64
    layers: Count = 3
    cutoff: Positive = 5.2917721
    radial: Functions = 16
    nonlocal_attention: bool = True
    zbl: bool = False
    electrostatics: bool = False

    @property
    def couples_all_atoms(self) -> bool:
        """Whether something acts between all atoms of a structure."""
        return self.nonlocal_attention or self.electrostatics

    @property
    def molecules_only(self) -> bool:
        """Whether the energy of a crystal would depend on how its atoms are wrapped into the cell."""
        return self.electrostatics

    def network(self, elements: tuple[int, ...], neighbours: float) -> SpookyNet:
        """The network of this shape.

        Args:
            elements: atomic numbers that it has to know.
            neighbours: mean number of neighbours of an atom; SpookyNet has no use for it.
        """
        return SpookyNet(self, elements)


class SpookyNet(nn.Module):
    """Atoms that know of their element, of the total charge and spin, and of each other near and far.

    Features start from the element, its electron configuration, and the total charge Q and spin S (Fig. 2b
    of the paper, Eqs. 9 and 10); T interaction modules refine them, and each leaves its share of the output::

        x⁽⁰⁾ = e_Z + e_Q + e_S
        x⁽ᵗ⁾, y⁽ᵗ⁾ = module_t(x⁽ᵗ⁻¹⁾)
        E_i = w · Σ_t y_i⁽ᵗ⁾   (+ repulsion of nuclei, + electrostatics)

    Shapes: B structures, N atoms, E edges, H pairs of neighbours, F features, K radial functions.

    O. T. Unke, S. Chmiela, M. Gastegger, K. T. Schütt, H. E. Sauceda and K.-R. Müller, SpookyNet: Learning
    force fields with electronic degrees of freedom and nonlocal effects, Nature Communications 12, 7273
    (2021).

    Args:
        config: its shape.
        elements: atomic numbers that it has to know.
    """

    electrons: Tensor

    def __init__(self, config: SpookyNetConfig, elements: tuple[int, ...]):
        super().__init__()
        self.config = config
        width = config.width
        self.register_buffer("electrons", descriptors(elements), persistent=False)
        self.embedding = nn.Embedding(len(elements), width)
        self.from_electrons = nn.Linear(DESCRIPTORS, width, bias=False)
        self.charge = ElectronicEmbedding(width, signed=True)
        self.spin = ElectronicEmbedding(width, signed=False)
        self.basis = BernsteinBasis(config.radial)
        self.harmonics = SphericalHarmonics(2)
        self.layers = nn.ModuleList([InteractionModule(config) for _ in range(config.layers)])
        self.readout = nn.Linear(width, 1, bias=False)
        self.repulsion = ZBL(config.cutoff) if config.zbl else None
        self.partial_charges = nn.Linear(width, 1) if config.electrostatics else None

    def forward(self, graph: AtomGraph) -> Tensor | tuple[Tensor, Tensor]:
        """Energies of atoms (N,), in units of the potential's scale; with physical terms also those in eV."""
        x = self.embedding(graph.types) + self.from_electrons(self.electrons[graph.types])  # (N, F)
        x = x + self.charge(x, graph.charge, graph) + self.spin(x, graph.spin, graph)
        cutoff = bump_cutoff(graph.radii, self.config.cutoff)[:, None]  # (H, 1)
        radial = self.basis(graph.radii) * cutoff  # (H, K)
        harmonics = self.harmonics(graph.vectors)[:, 1:]  # (E, 8): p, then d
        absent = ~graph.occupied()[:, None, :] if self.config.nonlocal_attention else None
        features = torch.zeros_like(x)  # (N, F)
        for layer in self.layers:
            x, out = layer(x, radial, harmonics, absent, graph)
            features = features + out
        energies = self.readout(features)[:, 0]
        physical = None
        if self.repulsion is not None:
            physical = self.repulsion(graph)
        if self.partial_charges is not None:
            charges = conserve_charge(self.partial_charges(features)[:, 0], graph)
            term = electrostatics(charges, graph, self.config.cutoff)
            physical = term if physical is None else physical + term
        return energies if physical is None else (energies, physical)


class Residual(nn.Module):
    """x + W₂σ(W₁σ(x) + b₁) + b₂, the second product 0 at the start (Eq. 4).

    Args:
        width: features of x.
    """

    def __init__(self, width: int):
        super().__init__()
        self.before, self.between = Swish(width), Swish(width)
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(self.between(self.first(self.before(x))))


def residual_mlp(width: int) -> nn.Sequential:
    """Residual block, activation, linear layer (Eq. 5)."""
    return nn.Sequential(Residual(width), Swish(width), nn.Linear(width, width))


class ElectronicEmbedding(nn.Module):
    """Spread a total charge or spin over atoms by attention (Eqs. 9 and 10); exactly 0 for 0.

    Args:
        width: features of an atom.
        signed: two keys and values, one for each sign.
    """

    def __init__(self, width: int, *, signed: bool):
        super().__init__()
        kinds = 2 if signed else 1
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(kinds, width, bias=False)
        self.value = nn.Linear(kinds, width, bias=False)
        self.first = nn.Linear(width, width, bias=False)
        self.second = nn.Linear(width, width, bias=False)
        self.before, self.between, self.after = Swish(width), Swish(width), Swish(width)
        self.last = nn.Linear(width, width, bias=False)
        self.signed = signed

    def forward(self, x: Tensor, total: Tensor, graph: AtomGraph) -> Tensor:
        """Features of the charge or spin on each atom.

        Args:
            x: (N, F) features of atoms.
            total: (B,) charge in e, or unpaired electrons.
            graph: the atoms and their structures.

        Returns:
            (N, F)
        """
        parts = [total.clamp(min=0), (-total).clamp(min=0)] if self.signed else [total]
        psi = torch.stack(parts, 1)  # (B, kinds)
        key = self.key(psi / psi.amax(1, keepdim=True).clamp(min=1.0))  # (B, F)
        logits = (self.query(x) * graph.to_atoms(key)).sum(1) / math.sqrt(x.shape[1])  # (N,)
        weight = nn.functional.softplus(logits)
        share = weight / graph.to_atoms(graph.sum_over_structures(weight))  # (N,)
        v = share[:, None] * graph.to_atoms(self.value(psi))  # (N, F)
        v = v + self.second(self.between(self.first(self.before(v))))
        return self.last(self.after(v))


class InteractionModule(nn.Module):
    """Local and nonlocal interactions between residual blocks (Fig. 2c).

    Args:
        config: shape of the network.
    """

    def __init__(self, config: SpookyNetConfig):
        super().__init__()
        width = config.width
        self.before, self.after = Residual(width), Residual(width)
        self.local = LocalInteraction(config)
        self.far = NonlocalInteraction(width) if config.nonlocal_attention else None
        self.out = residual_mlp(width)

    def forward(
        self, x: Tensor, radial: Tensor, harmonics: Tensor, absent: Tensor | None, graph: AtomGraph
    ) -> tuple[Tensor, Tensor]:
        """Refined features, and this module's share of the output.

        Args:
            x: (N, F) features.
            radial: (H, K) radial functions, cut off.
            harmonics: (E, 8) spherical harmonics of p, then of d.
            absent: (B, 1, n) slots of padded structures without an atom; None without attention.
            graph: the atoms and their edges.

        Returns:
            (N, F) and (N, F)
        """
        x = self.before(x)
        update = self.local(x, radial, harmonics, graph)
        if self.far is not None and absent is not None:
            update = update + self.far(x, absent, graph)
        x = self.after(x + update)
        return x, self.out(x)


class LocalInteraction(nn.Module):
    """Messages of s, p and d kind; p and d enter through invariant products (Eqs. 6 to 8).

    Args:
        config: shape of the network.
    """

    def __init__(self, config: SpookyNetConfig):
        super().__init__()
        width = config.width
        self.centre = residual_mlp(width)
        self.neighbours = nn.ModuleList([residual_mlp(width) for _ in "spd"])
        self.filters = nn.ModuleList([nn.Linear(config.radial, width, bias=False) for _ in "spd"])
        self.projections = nn.ModuleList([nn.Linear(width, 2 * width, bias=False) for _ in "pd"])
        self.output = residual_mlp(width)

    def forward(self, x: Tensor, radial: Tensor, harmonics: Tensor, graph: AtomGraph) -> Tensor:
        """What neighbours contribute, (N, F); arguments as ``InteractionModule``."""
        s, p, d = (mix(x) for mix in self.neighbours)  # (N, F) each
        of_s, of_p, of_d = (weigh(radial) for weigh in self.filters)  # (H, F) each
        total = self.centre(x) + graph.convolve(of_s, s)
        p_atoms = graph.sum_outer(
            graph.to_edges(p) * graph.to_both_edges(of_p), harmonics[:, :3]
        )  # (N, 3, F)
        d_atoms = graph.sum_outer(
            graph.to_edges(d) * graph.to_both_edges(of_d), harmonics[:, 3:]
        )  # (N, 5, F)
        for atoms, project in zip((p_atoms, d_atoms), self.projections, strict=True):
            left, right = project(atoms).chunk(2, dim=-1)  # (N, 3 or 5, F) each
            total = total + (left * right).sum(1)
        return self.output(total)


class NonlocalInteraction(nn.Module):
    """Attention over all atoms of a structure (Eq. 8), exact where the paper approximates it.

    Written out, because the fused kernels have no second derivative.

    Args:
        width: features of an atom.
    """

    def __init__(self, width: int):
        super().__init__()
        self.query, self.key, self.value = (residual_mlp(width) for _ in range(3))

    def forward(self, x: Tensor, absent: Tensor, graph: AtomGraph) -> Tensor:
        """What all atoms of the structure contribute, (N, F); arguments as ``InteractionModule``."""
        query, key, value = (graph.to_slots(mix(x)) for mix in (self.query, self.key, self.value))
        logits = query @ key.transpose(1, 2) / math.sqrt(x.shape[1])  # (B, n, n)
        weights = torch.softmax(logits.masked_fill(absent, -1e9), -1)
        return graph.from_slots(weights @ value)
