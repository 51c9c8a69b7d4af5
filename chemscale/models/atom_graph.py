"""What a potential sees of a batch of structures: atoms, and the directed edges between neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from chemscale.models.layers.edge_products import Ends, convolve, sum_outer
from chemscale.models.layers.segments import Segments, gather, offsets_of, segment_sum


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
        receiver_offsets: (N + 1,) first edge into each atom, and E.
        sender_order: (E,) edges ordered by sender.
        sender_offsets: (N + 1,) where the edges from each atom begin in that order, and E.
        slots: (B, n) atom in each slot of structures padded to the largest, any atom where there is none;
            None where the network does not couple all atoms of a structure.
        halves: (H,) one edge of each of H = E/2 pairs of neighbours; None where edges do not come in pairs.
        pair_of: (E,) pair of each edge, or None.
        both: (E,) edges ordered by pair, or None.
        half_offsets: (E + 1,) how many of `halves` come before each edge, and H; or None.
    """

    numbers: Tensor
    types: Tensor
    senders: Tensor
    receivers: Tensor
    batch: Tensor
    ptr: Tensor
    charge: Tensor
    spin: Tensor
    receiver_offsets: Tensor
    sender_order: Tensor
    sender_offsets: Tensor
    slots: Tensor | None = None
    halves: Tensor | None = None
    pair_of: Tensor | None = None
    both: Tensor | None = None
    half_offsets: Tensor | None = None

    @property
    def ends(self) -> Ends:
        """Senders and receivers as segments of atoms, and edges as members of pairs."""
        pairs = None
        if self.pair_of is not None and self.both is not None:
            offsets = torch.arange(0, self.pair_of.shape[0] + 1, 2, device=self.pair_of.device)
            pairs = Segments(self.pair_of, offsets, self.both)
        return Ends(
            Segments(self.senders, self.sender_offsets, self.sender_order),
            Segments(self.receivers, self.receiver_offsets),
            pairs,
        )

    @property
    def one_of_each_pair(self) -> Segments:
        """Pairs as members of the edges that `halves` names: an edge has one member or none."""
        assert self.halves is not None
        assert self.half_offsets is not None
        return Segments(self.halves, self.half_offsets)

    @property
    def structures(self) -> Segments:
        """Atoms as members of structures."""
        return Segments(self.batch, self.ptr)


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
        radii: (H,) Å of each pair of neighbours, whose two edges are equally long; (E,), the distances, where
            edges do not come in pairs. What depends on a distance alone is computed here, once for both.
        senders: (E,) atom that each edge starts from.
        receivers: (E,) atom that each edge ends at.
        batch: (N,) structure that each atom belongs to.
        ptr: (B + 1,) first atom of each structure, and N.
        charge: (B,) total charge in e.
        spin: (B,) unpaired electrons, 2S.
        ends: senders and receivers as segments of atoms, and edges as members of pairs.
        slots: (B, n) as ``Connectivity``; None if the configuration does not say ``couples_all_atoms``.
        in_slots: atoms as members of their slots, B·n of them; None likewise.
        pair_vectors: (B, n, n, 3) Å from the atom of the second slot to that of the third, as
            ``geometry.pair_vectors``; None if the configuration does not say ``molecules_only``.
    """

    numbers: Tensor
    types: Tensor
    vectors: Tensor
    distances: Tensor
    radii: Tensor
    senders: Tensor
    receivers: Tensor
    batch: Tensor
    ptr: Tensor
    charge: Tensor
    spin: Tensor
    ends: Ends
    slots: Tensor | None = None
    in_slots: Segments | None = None
    pair_vectors: Tensor | None = None

    @classmethod
    def of(cls, connectivity: Connectivity, vectors: Tensor, pair_vectors: Tensor | None = None) -> AtomGraph:
        """The graph with its geometry, all of which follows from vectors.

        Args:
            connectivity: the atoms and their edges.
            vectors: (E, 3) Å.
            pair_vectors: (B, n, n, 3) Å, where the network reads them.
        """
        c = connectivity
        vectors = vectors.view_as(vectors)  # no leaf: PyTorch's module hooks refuse one as input of a module
        distances = torch.linalg.vector_norm(vectors, dim=1)
        return cls(
            numbers=c.numbers,
            types=c.types,
            vectors=vectors,
            distances=distances,
            radii=distances if c.halves is None else gather(distances, c.one_of_each_pair),
            senders=c.senders,
            receivers=c.receivers,
            batch=c.batch,
            ptr=c.ptr,
            charge=c.charge,
            spin=c.spin,
            ends=c.ends,
            slots=c.slots,
            in_slots=None if c.slots is None else in_slots(c.batch, c.ptr, *c.slots.shape),
            pair_vectors=pair_vectors,
        )

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
        return gather(x, self.ends.senders)

    def to_receivers(self, x: Tensor) -> Tensor:
        """Features of each edge's receiver: (N, …) → (E, …)."""
        return gather(x, self.ends.receivers)

    def sum_over_neighbours(self, messages: Tensor) -> Tensor:
        """Messages of all edges into each atom, added up: (E, …) → (N, …)."""
        return segment_sum(messages, self.ends.receivers)

    def to_both_edges(self, x: Tensor) -> Tensor:
        """Features of pairs of neighbours on each of their edges: (H, …) → (E, …)."""
        return x if self.ends.pairs is None else gather(x, self.ends.pairs)

    def convolve(self, filters: Tensor, x: Tensor) -> Tensor:
        """Σ_j filters_ij ∘ x_j over the neighbours j of each atom i: (H, F), (N, …, F) → (N, …, F)."""
        return convolve(filters, x, self.ends)

    def sum_outer(self, features: Tensor, weights: Tensor) -> Tensor:
        """Σ_j weights_ij ⊗ features_ij over the neighbours j of each atom i: (E, F), (E, D) → (N, D, F)."""
        return sum_outer(features, weights, self.ends)

    def to_atoms(self, x: Tensor) -> Tensor:
        """What belongs to each atom's structure: (B, …) → (N, …)."""
        return gather(x, Segments(self.batch, self.ptr))

    def sum_over_structures(self, x: Tensor) -> Tensor:
        """Sums over the atoms of each structure: (N, …) → (B, …)."""
        return segment_sum(x, Segments(self.batch, self.ptr))

    def occupied(self) -> Tensor:
        """Whether each slot of the padded structures holds an atom, (B, n)."""
        assert self.slots is not None
        return occupied(self.ptr, self.slots.shape[1])

    def to_slots(self, x: Tensor) -> Tensor:
        """Features of atoms in slots of padded structures, (N, …) → (B, n, …); 0 where there is no atom."""
        assert self.slots is not None
        assert self.in_slots is not None
        return segment_sum(x, self.in_slots).unflatten(0, self.slots.shape)  # of one atom, or of none

    def from_slots(self, padded: Tensor) -> Tensor:
        """Features of atoms out of their slots, (B, n, …) → (N, …)."""
        assert self.in_slots is not None
        return gather(padded.flatten(0, 1), self.in_slots)


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


def in_slots(batch: Tensor, ptr: Tensor, structures: int, largest: int) -> Segments:
    """Atoms as members of the slots of all structures padded to the largest; a slot has one or none.

    Args:
        batch: (N,) structure that each atom belongs to.
        ptr: (B + 1,) first atom of each structure, and N.
        structures: B.
        largest: n, slots of a structure.
    """
    slots = slot_of(batch, ptr, largest)
    return Segments(slots, offsets_of(slots, structures * largest))


def occupied(ptr: Tensor, largest: int) -> Tensor:
    """Whether each slot of structures padded to the largest holds an atom, (B, n) bool.

    Args:
        ptr: (B + 1,) first atom of each structure, and N.
        largest: n, slots of a structure.
    """
    sizes = ptr[1:] - ptr[:-1]
    return torch.arange(largest, device=ptr.device) < sizes[:, None]
