"""Energies that are known: repulsion of nuclei at short range, electrostatics of partial charges."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from chemscale.models.atom_graph import AtomGraph
from chemscale.models.geometry import different_atoms
from chemscale.models.layers.radial import polynomial_cutoff

COULOMB = 14.399645478425668
"""e²/(4πε₀) in eV·Å (CODATA 2018)."""

BOHR = 0.529177210903
"""Å."""


class ZBL(nn.Module):
    """Screened repulsion of nuclei (Ziegler, Biersack and Littmark 1985), cut off smoothly.

    E_ij = k·Z_i Z_j/r·Σ_k c_k exp(-d_k r/a), a = 0.8854 a₀/(Z_i^0.23 + Z_j^0.23).

    Args:
        cutoff: Å.
    """

    COEFFICIENTS = (0.18175, 0.50986, 0.28022, 0.02817)
    EXPONENTS = (3.19980, 0.94229, 0.40290, 0.20162)

    def __init__(self, cutoff: float):
        super().__init__()
        self.cutoff = cutoff

    def forward(self, graph: AtomGraph) -> Tensor:
        """Energies of atoms in eV, (N,): half of the repulsion of each pair to each of its atoms."""
        z = graph.numbers.to(graph.distances.dtype)
        z_i, z_j, r = z[graph.receivers], z[graph.senders], graph.distances
        x = r * (z_i**0.23 + z_j**0.23) / (0.8854 * BOHR)
        screening = sum(c * torch.exp(-d * x) for c, d in zip(self.COEFFICIENTS, self.EXPONENTS, strict=True))
        energy = COULOMB * z_i * z_j / r * screening * polynomial_cutoff(r, self.cutoff)
        return 0.5 * graph.sum_over_neighbours(energy)


def conserve_charge(charges: Tensor, graph: AtomGraph) -> Tensor:
    """Spread evenly over a structure's atoms what its partial charges lack to its total charge."""
    sizes = (graph.ptr[1:] - graph.ptr[:-1]).to(charges.dtype)
    missing = graph.charge - graph.sum_over_structures(charges)
    return charges + graph.to_atoms(missing / sizes)


def electrostatics(charges: Tensor, graph: AtomGraph, cutoff: float) -> Tensor:
    """Energies of point charges in vacuum in eV, (N,), damped near by (SpookyNet, Eqs. 18 and 19).

    1/r goes over into 1/√(r² + 1 Å²) between three quarters and one quarter of the cutoff, where the network
    describes the pair. All pairs of a structure interact: structures are molecules, not crystals.

    Args:
        charges: (N,) partial charges in e.
        graph: the atoms, with the vectors between all of them.
        cutoff: Å.
    """
    vectors, slots = graph.pair_vectors, graph.slots
    assert vectors is not None
    assert slots is not None
    r2 = (vectors * vectors).sum(-1)  # (B, n, n)
    r = torch.sqrt(r2)
    near = smooth_step(r, 0.25 * cutoff, 0.75 * cutoff)
    kernel = near * torch.rsqrt(r2 + 1.0) + (1 - near) / r
    kernel = kernel.masked_fill(~different_atoms(graph.ptr, slots.shape[1]), 0.0)
    padded = graph.to_slots(charges.to(r.dtype))  # (B, n)
    potential = 0.5 * COULOMB * (kernel * padded[:, None, :]).sum(2)
    return graph.from_slots(padded * potential)


def smooth_step(r: Tensor, start: float, end: float) -> Tensor:
    """1 below `start`, 0 above `end`, all derivatives continuous (SpookyNet, Eqs. 20 and 21)."""
    x = (r - start) / (end - start)
    inside = (x > 0) & (x < 1)
    safe = torch.where(inside, x, torch.full_like(x, 0.5))
    rise, fall = torch.exp(-1 / safe), torch.exp(-1 / (1 - safe))
    return torch.where(inside, fall / (rise + fall), (x <= 0).to(r.dtype))
