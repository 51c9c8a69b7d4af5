"""What a potential sees of a batch of structures: atoms, and the directed edges between neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


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
        positions: (N, 3) Å.
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
    positions: Tensor

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


def all_pairs(batch: Tensor, ptr: Tensor) -> tuple[Tensor, Tensor]:
    """Every ordered pair of different atoms of the same structure.

    Args:
        batch: (N,) structure that each atom belongs to.
        ptr: (B + 1,) first atom of each structure, and N.

    Returns:
        Senders and receivers, (pairs,) each, sorted by receiver.
    """
    sizes = (ptr[1:] - ptr[:-1])[batch]
    receivers = torch.repeat_interleave(torch.arange(len(batch), device=batch.device), sizes)
    first = torch.cumsum(sizes, 0) - sizes
    within = torch.arange(len(receivers), device=batch.device) - first[receivers]
    senders = ptr[batch[receivers]] + within
    other = senders != receivers
    return senders[other], receivers[other]
