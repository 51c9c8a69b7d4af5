"""Who is near whom: neighbour lists by vesin, in the order and direction that models expect."""

from __future__ import annotations

import numpy as np
from vesin import NeighborList


def neighbour_list(
    positions: np.ndarray, cutoff: float, cell: np.ndarray | None = None, pbc: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Every ordered pair of atoms within the cutoff, images included.

    Args:
        positions: (n, 3) Å.
        cutoff: Å.
        cell: (3, 3) Å, rows are vectors; None for a molecule.
        pbc: (3,) periodic directions; None for a molecule.

    Returns:
        (2, E) int64 as [sender, receiver] by receiver, senders of one receiver in any order; and (E, 3) int32
        cells that the sender is shifted by, None for a molecule. An edge's vector is
        r_sender + shift·cell - r_receiver.
    """
    positions = np.ascontiguousarray(positions, dtype=np.float64)
    periodic = pbc is not None and bool(np.any(pbc))
    if len(positions) < 2 and not periodic:
        return np.zeros((2, 0), np.int64), None
    finder = NeighborList(cutoff=cutoff, full_list=True, sorted=True)
    if not periodic:
        receivers, senders = finder.compute(
            points=positions, box=np.zeros((3, 3)), periodic=False, quantities="ij"
        )
        return np.stack([senders, receivers]).astype(np.int64), None
    assert cell is not None
    assert pbc is not None
    receivers, senders, shifts = finder.compute(
        points=positions,
        box=np.ascontiguousarray(cell, dtype=np.float64),
        periodic=np.asarray(pbc, dtype=bool),
        quantities="ijS",
    )
    return np.stack([senders, receivers]).astype(np.int64), shifts.astype(np.int32)
