"""Structures to the torch-geometric batch that potentials take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch_geometric.data import Data

from chemscale.structures.neighbours import neighbour_list


@dataclass
class Structure:
    """One molecule or crystal of n atoms in eV and Å; labels that are not known are NaN.

    Args:
        numbers: (n,) atomic numbers.
        positions: (n, 3) Å.
        energy: eV.
        forces: (n, 3) eV/Å; None for NaN.
        charge: total charge in e.
        spin: multiplicity 2S+1, 0 where it is not stated.
        cell: (3, 3) Å, rows are vectors; None for a molecule.
        pbc: (3,) periodic directions; None for a molecule.
        edges: (2, E) senders and receivers in any order, if they are known already.
        shifts: (E, 3) cells that each sender is shifted by, if they are known already.
        stress: (3, 3) eV/Å³, positive under tension; None for NaN.
        weight: by which its errors are multiplied in training.
    """

    numbers: np.ndarray
    positions: np.ndarray
    energy: float = np.nan
    forces: np.ndarray | None = None
    charge: int = 0
    spin: int = 0
    cell: np.ndarray | None = None
    pbc: np.ndarray | None = None
    edges: np.ndarray | None = field(default=None, repr=False)
    shifts: np.ndarray | None = field(default=None, repr=False)
    stress: np.ndarray | None = None
    weight: float = 1.0

    def with_neighbours(self, cutoff: float) -> Structure:
        """This structure, its neighbour list found if it has none.

        Args:
            cutoff: Å.
        """
        if self.edges is None:
            self.edges, self.shifts = neighbour_list(self.positions, cutoff, self.cell, self.pbc)
        return self


@dataclass
class Joined:
    """B structures one after another, N atoms and E edges in all.

    Args:
        numbers: (N,) atomic numbers.
        positions: (N, 3) Å.
        forces: (N, 3) eV/Å, NaN where unknown.
        sizes: (B,) atoms of each structure.
        energies: (B,) eV, NaN where unknown.
        charges: (B,) total charges in e.
        spins: (B,) multiplicities, 0 where it is not stated.
        weights: (B,) by which errors are multiplied.
        edges: (2, E) senders and receivers, numbered over all N atoms.
        shifts: (E, 3) cells that each sender is shifted by; None where no structure is a crystal.
        cells: (B, 3, 3) Å, zeros for molecules; None where no structure is a crystal.
        stresses: (B, 3, 3) eV/Å³, NaN where unknown; None where no structure has any.
    """

    numbers: np.ndarray
    positions: np.ndarray
    forces: np.ndarray
    sizes: np.ndarray
    energies: np.ndarray
    charges: np.ndarray
    spins: np.ndarray
    weights: np.ndarray
    edges: np.ndarray
    shifts: np.ndarray | None = None
    cells: np.ndarray | None = None
    stresses: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.sizes)


def join(structures: Sequence[Structure]) -> Joined:
    """Structures one after another.

    Args:
        structures: each with its neighbour list.
    """
    sizes = np.array([len(s.numbers) for s in structures])
    starts = np.cumsum(sizes) - sizes
    joined = Joined(
        numbers=np.concatenate([s.numbers for s in structures]),
        positions=np.concatenate([s.positions for s in structures]),
        forces=np.concatenate(
            [np.full((len(s.numbers), 3), np.nan) if s.forces is None else s.forces for s in structures]
        ),
        sizes=sizes,
        energies=np.array([s.energy for s in structures], np.float64),
        charges=np.array([s.charge for s in structures]),
        spins=np.array([s.spin for s in structures]),
        weights=np.array([s.weight for s in structures]),
        edges=np.concatenate([s.edges + start for s, start in zip(structures, starts, strict=True)], axis=1),
    )
    if any(s.cell is not None and s.pbc is not None and np.any(s.pbc) for s in structures):
        joined.cells = np.stack([np.zeros((3, 3)) if s.cell is None else s.cell for s in structures])
        joined.shifts = np.concatenate(
            [np.zeros((s.edges.shape[1], 3)) if s.shifts is None else s.shifts for s in structures]  # type: ignore[union-attr]
        )
        if any(s.stress is not None for s in structures):
            unknown = np.full((3, 3), np.nan)
            joined.stresses = np.stack([unknown if s.stress is None else s.stress for s in structures])
    return joined


def collate(structures: Sequence[Structure]) -> Data:
    """Join structures to one graph, none connected to another, as ``to_graph``.

    Args:
        structures: B of them, each with its neighbour list.
    """
    return to_graph(join(structures))


def to_graph(joined: Joined) -> Data:
    """Structures as one graph.

    Args:
        joined: B of them.

    Returns:
        ``z`` (N,), ``pos`` (N, 3) float64 Å, ``edge_index`` (2, E) as [sender, receiver] by receiver,
        ``batch`` (N,), ``ptr`` (B + 1,), ``charge``, ``spin`` (B,), ``energy`` (B,) and ``forces`` (N, 3)
        float64, NaN where unknown; ``largest``, the atoms of the largest, an int; ``sender_order`` (E,),
        edges ordered by sender; for crystals ``cell`` (B, 3, 3), ``edge_shift`` (E, 3) and, where any has
        one, ``stress`` (B, 3, 3) float64; ``weight`` (B,) float64 where any is not 1. Where each edge has
        its reverse: ``halves`` (E/2,), one of each two, ``half_offsets`` (E + 1,), how many of these come
        before each edge, ``pair_of`` (E,), its two, and ``both`` (E,), edges by these twos.
    """
    sizes, edges = joined.sizes, joined.edges
    order = _by_receiver(edges)

    def tensor(values: np.ndarray, kind: type = np.float64) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(values, kind))

    data = Data(
        z=tensor(joined.numbers, np.int64),
        pos=tensor(joined.positions),
        edge_index=torch.from_numpy(edges if order is None else edges[:, order]),
        batch=torch.from_numpy(np.repeat(np.arange(len(joined)), sizes)),
        ptr=tensor(np.concatenate([[0], np.cumsum(sizes)]), np.int64),
        charge=tensor(joined.charges, np.int64),
        spin=tensor(joined.spins, np.int64),
        energy=tensor(joined.energies),
        forces=tensor(joined.forces),
        largest=int(sizes.max()),
    )
    if joined.cells is not None and joined.shifts is not None:
        data.cell = tensor(joined.cells)
        data.edge_shift = tensor(joined.shifts if order is None else joined.shifts[order])
        if joined.stresses is not None:
            data.stress = tensor(joined.stresses)
    if (joined.weights != 1.0).any():
        data.weight = tensor(joined.weights)
    for name, numbers in _orders(data.edge_index.numpy(), data.get("edge_shift")).items():
        data[name] = torch.from_numpy(numbers)
    return data


def _by_receiver(edges: np.ndarray) -> np.ndarray | None:
    """(E,) edges ordered by receiver; None where they are, as from ``neighbour_list``."""
    receivers = edges[1]
    return None if (receivers[1:] >= receivers[:-1]).all() else np.argsort(receivers, kind="stable")


def _orders(edges: np.ndarray, shifts: torch.Tensor | None) -> dict[str, np.ndarray]:
    """Edges ordered by sender, and where every edge has its reverse, edges as pairs.

    Each edge gets a number made of its ends and shift, and so does its reverse: sorted by the one and by the
    other, an edge and its reverse stand at the same place.

    Args:
        edges: (2, E) senders and receivers.
        shifts: (E, 3) cells that each sender is shifted by; None for molecules.
    """
    senders, receivers = edges
    count, atoms = len(senders), int(edges.max(initial=0)) + 1
    forward, backward = receivers * atoms + senders, senders * atoms + receivers
    if shifts is not None:
        cells = shifts.numpy().astype(np.int64)
        reach = int(np.abs(cells).max(initial=0))
        base = 2 * reach + 1
        if atoms**2 * base**3 >= 2**63:
            return {"sender_order": np.argsort(senders, kind="stable")}
        for axis in cells.T:
            forward, backward = forward * base + reach + axis, backward * base + reach - axis
    if shifts is None and atoms <= 1 << 16:
        # Edges come by receiver: sorted by sender they are by (sender, receiver), and the other way round.
        # NumPy sorts numbers of 16 bits by counting, eight times as fast as the keys.
        by_sender = np.argsort(senders.astype(np.uint16), kind="stable")
        by_receiver = by_sender[np.argsort(receivers.astype(np.uint16)[by_sender], kind="stable")]
    else:
        by_receiver, by_sender = np.argsort(forward), np.argsort(backward)
    found = {"sender_order": by_sender}
    if (forward[by_receiver] != backward[by_sender]).any():
        return found
    reverse = np.empty(count, dtype=np.int64)
    reverse[by_receiver] = by_sender
    first = np.arange(count) < reverse
    halves, half_offsets = np.flatnonzero(first), np.concatenate([[0], np.cumsum(first)])
    both = np.stack([halves, reverse[halves]], 1).ravel()
    pair_of = np.empty(count, dtype=np.int64)
    pair_of[both] = np.repeat(np.arange(len(halves)), 2)
    return found | {"halves": halves, "half_offsets": half_offsets, "pair_of": pair_of, "both": both}
