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
    """

    numbers: Tensor  # (N,) atomic numbers
    types: Tensor  # (N,) index of the element among those that the model knows
    vectors: Tensor  # (E, 3) Å
    distances: Tensor  # (E,) Å
    senders: Tensor  # (E,)
    receivers: Tensor  # (E,)
    batch: Tensor  # (N,) which structure an atom belongs to
    ptr: Tensor  # (B + 1,) first atom of each structure
    charge: Tensor  # (B,) total charge in e
    spin: Tensor  # (B,) unpaired electrons, 2S
    positions: Tensor  # (N, 3) Å

    @property
    def atoms(self) -> int:
        return self.types.shape[0]

    @property
    def structures(self) -> int:
        return self.ptr.shape[0] - 1

    def to_edges(self, x: Tensor) -> Tensor:
        """(N, …) → (E, …): what the sender of each edge holds."""
        return x.index_select(0, self.senders)

    def sum_over_neighbours(self, messages: Tensor) -> Tensor:
        """(E, …) → (N, …): the messages of all edges into each atom, added up."""
        return sum_by(messages, self.receivers, self.atoms)


def sum_by(values: Tensor, index: Tensor, size: int) -> Tensor:
    """(M, …) → (size, …): row i holds the sum of the rows whose index is i."""
    flat = values.flatten(1) if values.dim() > 2 else values
    total = flat.new_zeros((size, *flat.shape[1:])).index_add(0, index, flat)
    return total.view(size, *values.shape[1:])


def all_pairs(batch: Tensor, ptr: Tensor) -> tuple[Tensor, Tensor]:
    """Every ordered pair of different atoms of the same structure: (senders, receivers), by receiver."""
    sizes = (ptr[1:] - ptr[:-1])[batch]
    receivers = torch.repeat_interleave(torch.arange(len(batch), device=batch.device), sizes)
    first = torch.cumsum(sizes, 0) - sizes
    within = torch.arange(len(receivers), device=batch.device) - first[receivers]
    senders = ptr[batch[receivers]] + within
    other = senders != receivers
    return senders[other], receivers[other]
