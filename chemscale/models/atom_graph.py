"""What a potential sees of a batch of structures: atoms, and the directed edges between neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class Connectivity(NamedTuple):
    """B structures of N atoms, and who is whose neighbour along E directed edges, without any geometry.

    Tensors only (a pytree), so that a function of it can be traced. Edges are sorted by receiver.

    Args:
        numbers: (N,) atomic numbers.
        types: (N,) index of the element among those that the model knows.
        senders: (E,) atom that each edge starts from.
        receivers: (E,) atom that each edge ends at.
        batch: (N,) structure that each atom belongs to.
        ptr: (B + 1,) first atom of each structure, and N.
        charge: (B,) total charge in e, in the precision of the network.
        spin: (B,) unpaired electrons, 2S, likewise.
        slots: (B, n) atom in each slot of structures padded to the largest, any atom where there is none;
            None where the network does not couple all atoms of a structure.
    """

    numbers: Tensor
    types: Tensor
    senders: Tensor
    receivers: Tensor
    batch: Tensor
    ptr: Tensor
    charge: Tensor
    spin: Tensor
    slots: Tensor | None = None


@dataclass
class AtomGraph:
    """B structures as one graph of N atoms and E directed edges; nothing connects two structures.

    An edge carries a message from ``senders`` to ``receivers``; its vector points from the receiver to the
    sender, r_sender - r_receiver, periodic shift included. Edges are sorted by receiver.

    Args:
        numbers: (N,) atomic numbers.
        types: (N,) index of the element among those that the model knows.
        vectors: (E, 3) Å.
        distances: (E,) Å.
        senders: (E,) atom that each edge starts from.
        receivers: (E,) atom that each edge ends at.
        batch: (N,) structure that each atom belongs to.
        ptr: (B + 1,) first atom of each structure, and N.
        charge: (B,) total charge in e.
        spin: (B,) unpaired electrons, 2S.
        slots: (B, n) as ``Connectivity``; None if the configuration does not say ``couples_all_atoms``.
        pair_vectors: (B, n, n, 3) Å from the atom of the second slot to that of the third, as
            ``geometry.pair_vectors``; None if the configuration does not say ``molecules_only``.
    """

    numbers: Tensor
    types: Tensor
    vectors: Tensor
    distances: Tensor
    senders: Tensor
    receivers: Tensor
    batch: Tensor
    ptr: Tensor
    charge: Tensor
    spin: Tensor
    slots: Tensor | None = None
    pair_vectors: Tensor | None = None

    @classmethod
    def of(cls, connectivity: Connectivity, vectors: Tensor, pair_vectors: Tensor | None = None) -> AtomGraph:
        """The graph with its geometry, all of which follows from vectors.

        Args:
            connectivity: the atoms and their edges.
            vectors: (E, 3) Å.
            pair_vectors: (B, n, n, 3) Å, where the network reads them.
        """
        distances = torch.linalg.vector_norm(vectors, dim=1)
        return cls(vectors=vectors, distances=distances, pair_vectors=pair_vectors, **connectivity._asdict())

    @property
    def atoms(self) -> int:
        """N."""
        return self.types.shape[0]

    @property
    def structures(self) -> int:
        """B."""
        return self.ptr.shape[0] - 1

    def to_edges(self, x: Tensor) -> Tensor:
        """Features of each edge's sender: (N, …) → (E, …)."""
        return x.index_select(0, self.senders)

    def sum_over_neighbours(self, messages: Tensor) -> Tensor:
        """Messages of all edges into each atom, added up: (E, …) → (N, …)."""
        return sum_by(messages, self.receivers, self.atoms)

    def occupied(self) -> Tensor:
        """Whether each slot of the padded structures holds an atom, (B, n)."""
        assert self.slots is not None
        return occupied(self.ptr, self.slots.shape[1])

    def to_slots(self, x: Tensor) -> Tensor:
        """Features of atoms in slots of padded structures, (N, …) → (B, n, …); 0 where there is no atom."""
        assert self.slots is not None
        padded = x.index_select(0, self.slots.flatten()).unflatten(0, self.slots.shape)
        return padded.masked_fill(~self.occupied().view(*self.slots.shape, *[1] * (x.dim() - 1)), 0.0)

    def from_slots(self, padded: Tensor) -> Tensor:
        """Features of atoms out of their slots, (B, n, …) → (N, …)."""
        return padded.flatten(0, 1).index_select(0, slot_of(self.batch, self.ptr, padded.shape[1]))


def sum_by(values: Tensor, index: Tensor, size: int) -> Tensor:
    """Sum rows by an index: (M, …) → (size, …), row i holding the sum of the rows whose index is i.

    Args:
        values: (M, …) rows.
        index: (M,) row of the result that each is added to.
        size: rows of the result.
    """
    flat = values.flatten(1) if values.dim() > 2 else values
    total = flat.new_zeros((size, *flat.shape[1:])).index_add(0, index, flat)
    return total.view(size, *values.shape[1:])


def slots_of(ptr: Tensor, atoms: int, largest: int) -> Tensor:
    """The atom in each slot of structures padded to the largest, (B, n); any atom where there is none.

    Args:
        ptr: (B + 1,) first atom of each structure, and N.
        atoms: N.
        largest: n, atoms of the largest structure.
    """
    return (ptr[:-1, None] + torch.arange(largest, device=ptr.device)).clamp(max=atoms - 1)


def slot_of(batch: Tensor, ptr: Tensor, largest: int) -> Tensor:
    """The slot of each atom, (N,), counted through all structures padded to the largest.

    Args:
        batch: (N,) structure that each atom belongs to.
        ptr: (B + 1,) first atom of each structure, and N.
        largest: n, slots of a structure.
    """
    within = torch.arange(batch.shape[0], device=batch.device) - ptr.index_select(0, batch)
    return batch * largest + within


def occupied(ptr: Tensor, largest: int) -> Tensor:
    """Whether each slot of structures padded to the largest holds an atom, (B, n) bool.

    Args:
        ptr: (B + 1,) first atom of each structure, and N.
        largest: n, slots of a structure.
    """
    sizes = ptr[1:] - ptr[:-1]
    return torch.arange(largest, device=ptr.device) < sizes[:, None]
