"""How far two geometries of one composition are apart, whatever their place, turn and order of atoms.

The distance D is the RMS difference of all interatomic distances in Å, which are sorted within each pair of
elements. Sorting pairs two lists of numbers in the best way there is, so that a permutation of atoms never
makes D larger; and moving atoms by an RMSD of r changes the distances by 2r (RMS) at most: D ≤ 2·RMSD,
over all superpositions and permutations. Mirror images have D = 0.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from chemscale.structures.lint.evidence.geometry import chunks, distances, pairs_of, superposition


def sorted_distances(numbers: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Interatomic distances of each frame in Å, sorted within each pair of elements, (k, P).

    The pairs of elements follow each other in one order, so that frames of one composition can be compared
    whatever the order of their atoms.

    Args:
        numbers: (n,) atomic numbers.
        positions: (k, n, 3) Å, without periodicity.
    """
    i, j = pairs_of(len(numbers))
    z = numbers.astype(np.int64)
    kind = np.minimum(z[i], z[j]) * 128 + np.maximum(z[i], z[j])
    order = np.argsort(kind, kind="stable")
    edges = np.flatnonzero(np.diff(kind[order])) + 1
    found = np.empty((len(positions), len(i)))
    for at in chunks(len(positions), len(i)):
        lengths = distances(positions[at])[:, order]
        for part in np.split(lengths, edges, axis=1):  # views
            part.sort(axis=1)
        found[at] = lengths
    return found


class Lengths:
    """Sorted distances of frames that others are compared with.

    Args:
        lengths: (m, P) Å, as ``sorted_distances``.
    """

    def __init__(self, lengths: np.ndarray):
        self._centre = lengths.mean(axis=0)  # small numbers keep their digits in the differences of squares
        self._rest = lengths - self._centre
        self._squares = np.square(self._rest).sum(1)

    def __len__(self) -> int:
        return len(self._rest)

    def apart(self, lengths: np.ndarray) -> np.ndarray:
        """D of every pair in Å, (k, m).

        Args:
            lengths: (k, P) of others, likewise.
        """
        rest = lengths - self._centre
        squares = np.square(rest).sum(1)[:, None] + self._squares[None, :] - 2 * rest @ self._rest.T
        return np.sqrt(np.maximum(squares, 0.0) / max(1, lengths.shape[1]))

    def compare(self, numbers: np.ndarray, positions: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """D of frames of the same composition, some at a time: all of them, or all distances, are too many.

        Args:
            numbers: (n,) atomic numbers.
            positions: (k, n, 3) Å.

        Yields:
            Which frames, and their D in Å, (·, m).
        """
        for at in chunks(len(positions), max(self._rest.shape)):
            yield at, self.apart(sorted_distances(numbers, positions[at]))


def rmsd(one: np.ndarray, other: np.ndarray) -> float:
    """RMSD of two geometries after superposition in Å, their atoms in one order; of the mirror image if less.

    Args:
        one: (n, 3) Å.
        other: (n, 3) Å.
    """
    fixed = (other - other.mean(axis=0))[None]
    found = []
    for sign in (1.0, -1.0):
        moving = sign * (one - one.mean(axis=0))[None]
        moved = moving @ superposition(moving, fixed)
        found.append(float(np.sqrt(np.square(moved - fixed).sum(axis=2).mean())))
    return min(found)
