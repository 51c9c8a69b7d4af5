"""From positions to the vectors that an energy depends on, and from its gradients there back to forces.

An energy is a function of the vectors r_sender - r_receiver of its edges alone (with electrostatics, also of
those between all atoms of a molecule). It is differentiated there, at a fresh leaf, and what follows is
linear: forces are sums of edge gradients over each atom, the virial is a sum of their outer products with
the vectors over each structure. Positions, cells and strain thus never enter the part that is
differentiated twice, which can be traced and compiled as a function of tensors.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch_geometric.data import Data

from chemscale.models.atom_graph import Connectivity, occupied, slot_of, slots_of
from chemscale.models.layers.segments import Segments, segment_sum


def edge_vectors(data: Data, pos: Tensor | None = None, strain: Tensor | None = None) -> Tensor:
    """Vectors from each edge's receiver to its sender, (E, 3) Å float64, periodic shift included.

    Args:
        data: a batch, as ``Potential.forward`` takes it.
        pos: (N, 3) Å in the place of the batch's, for derivatives by hand.
        strain: (B, 3, 3) that deforms each structure, of which the symmetric part counts.

    Raises:
        ValueError: a strain of structures without a cell.
    """
    pos = (data.pos if pos is None else pos).to(torch.float64)
    senders, receivers = data.edge_index[0], data.edge_index[1]
    vectors = pos.index_select(0, senders) - pos.index_select(0, receivers)
    cell = data.get("cell")
    if cell is not None:
        of_edges = data.batch.index_select(0, receivers)
        cells = cell.to(torch.float64).index_select(0, of_edges)  # (E, 3, 3)
        vectors = vectors + (data.edge_shift.to(torch.float64)[:, :, None] * cells).sum(1)
    if strain is None:
        return vectors
    if cell is None:
        raise ValueError("Stress needs a cell: this structure is a molecule.")
    symmetric = 0.5 * (strain + strain.transpose(1, 2))
    return vectors + (vectors[:, :, None] * symmetric.index_select(0, of_edges)).sum(1)


def pair_vectors(data: Data, largest: int, pos: Tensor | None = None) -> Tensor:
    """Vectors between all atoms of each structure, padded to the largest: (B, n, n, 3) Å float64.

    Entry (b, i, j) is r_j - r_i; (1, 0, 0) where i = j and where there is no atom, so that distances have
    derivatives everywhere.

    Args:
        data: a batch, as ``Potential.forward`` takes it.
        largest: n, atoms of its largest structure.
        pos: (N, 3) Å in the place of the batch's.
    """
    pos = (data.pos if pos is None else pos).to(torch.float64)
    slots = slots_of(data.ptr, pos.shape[0], largest)
    padded = pos.index_select(0, slots.flatten()).unflatten(0, slots.shape)  # (B, n, 3)
    unit = torch.zeros(3, dtype=pos.dtype, device=pos.device)
    unit[:1] = 1.0  # of one element: a single number would be copied from the host, which waits
    real = different_atoms(data.ptr, largest)
    return torch.where(real[..., None], padded[:, None, :, :] - padded[:, :, None, :], unit)


def different_atoms(ptr: Tensor, largest: int) -> Tensor:
    """Whether two slots of a structure hold two different atoms, (B, n, n) bool.

    Args:
        ptr: (B + 1,) first atom of each structure, and N.
        largest: n, slots of a structure.
    """
    real = occupied(ptr, largest)
    itself = torch.eye(largest, dtype=torch.bool, device=ptr.device)
    return real[:, :, None] & real[:, None, :] & ~itself


def forces_of_edges(gradient: Tensor, connectivity: Connectivity) -> Tensor:
    """Forces on atoms from the energy's gradient at edge vectors: (E, 3) → (N, 3).

    Args:
        gradient: (E, 3) ∂E/∂(r_sender - r_receiver) in eV/Å.
        connectivity: the atoms and their edges.
    """
    ends = connectivity.ends
    return segment_sum(gradient, ends.receivers) - segment_sum(gradient, ends.senders)


def forces_of_pairs(gradient: Tensor, connectivity: Connectivity) -> Tensor:
    """Forces on atoms from the energy's gradient at ``pair_vectors``: (B, n, n, 3) → (N, 3).

    Args:
        gradient: (B, n, n, 3) in eV/Å.
        connectivity: the atoms of the structures.
    """
    padded = gradient.sum(2) - gradient.sum(1)  # (B, n, 3)
    slots = slot_of(connectivity.batch, connectivity.ptr, padded.shape[1])
    return padded.flatten(0, 1).index_select(0, slots)


def virial(vectors: Tensor, gradient: Tensor, connectivity: Connectivity) -> Tensor:
    """The energy's derivative by a symmetric strain of each structure: (E, 3), (E, 3) → (B, 3, 3) in eV.

    Args:
        vectors: (E, 3) Å.
        gradient: (E, 3) of the energy at the vectors, eV/Å.
        connectivity: the atoms and their edges.
    """
    c = connectivity
    of_edges = Segments(c.batch.index_select(0, c.receivers), c.receiver_offsets.index_select(0, c.ptr))
    summed = segment_sum(vectors[:, :, None] * gradient[:, None, :], of_edges)
    return 0.5 * (summed + summed.transpose(1, 2))
