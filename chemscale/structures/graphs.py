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


def collate(structures: Sequence[Structure]) -> Data:
    """Join structures to one graph, none connected to another.

    Args:
        structures: B of them, each with its neighbour list.

    Returns:
        ``z`` (N,), ``pos`` (N, 3) float64 Å, ``edge_index`` (2, E) as [sender, receiver] by receiver,
        ``batch`` (N,), ``ptr`` (B + 1,), ``charge``, ``spin`` (B,), ``energy`` (B,) and ``forces`` (N, 3)
        float64, NaN where unknown; ``largest``, the atoms of the largest, an int; ``sender_order`` (E,),
        edges ordered by sender; for crystals ``cell`` (B, 3, 3), ``edge_shift`` (E, 3) and, where any has
        one, ``stress`` (B, 3, 3) float64; ``weight`` (B,) float64 where any is not 1. Where each edge has
        its reverse: ``halves`` (E/2,), one of each two, ``half_offsets`` (E + 1,), how many of these come
        before each edge, ``pair_of`` (E,), its two, and ``both`` (E,), edges by these twos.
    """
    sizes = np.array([len(s.numbers) for s in structures])
    ptr = np.concatenate([[0], np.cumsum(sizes)])
    edges = np.concatenate([s.edges + start for s, start in zip(structures, ptr[:-1], strict=True)], axis=1)
    order = _by_receiver(edges)
    data = Data(
        z=torch.from_numpy(np.concatenate([s.numbers for s in structures]).astype(np.int64)),
        pos=torch.from_numpy(np.concatenate([s.positions for s in structures]).astype(np.float64)),
        edge_index=torch.from_numpy(edges if order is None else edges[:, order]),
        batch=torch.from_numpy(np.repeat(np.arange(len(structures)), sizes)),
        ptr=torch.from_numpy(ptr),
        charge=torch.tensor([s.charge for s in structures]),
        spin=torch.tensor([s.spin for s in structures]),
        energy=torch.tensor([s.energy for s in structures], dtype=torch.float64),
        forces=torch.from_numpy(
            np.concatenate(
                [np.full((len(s.numbers), 3), np.nan) if s.forces is None else s.forces for s in structures]
            ).astype(np.float64)
        ),
        largest=int(sizes.max()),
    )
    if any(s.cell is not None and s.pbc is not None and np.any(s.pbc) for s in structures):
        cells = [np.zeros((3, 3)) if s.cell is None else s.cell for s in structures]
        data.cell = torch.from_numpy(np.stack(cells).astype(np.float64))
        shifts = [np.zeros((s.edges.shape[1], 3)) if s.shifts is None else s.shifts for s in structures]  # type: ignore[union-attr]
        joined = np.concatenate(shifts).astype(np.float64)
        data.edge_shift = torch.from_numpy(joined if order is None else joined[order])
        if any(s.stress is not None for s in structures):
            unknown = np.full((3, 3), np.nan)
            stresses = [unknown if s.stress is None else s.stress for s in structures]
            data.stress = torch.from_numpy(np.stack(stresses).astype(np.float64))
    if any(s.weight != 1.0 for s in structures):
        data.weight = torch.tensor([s.weight for s in structures], dtype=torch.float64)
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
