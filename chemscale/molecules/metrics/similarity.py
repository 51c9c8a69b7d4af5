"""Tanimoto similarities of many molecules, in blocks."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from chemscale.molecules.metrics.intervals import MISSING, Value, around

BLOCK = 1000
"""Molecules of a side of a block: its similarities take 4 MB."""


def _unpacked(packed: np.ndarray) -> np.ndarray:
    return np.unpackbits(packed, axis=1).astype(np.float32)


def _rows(first: np.ndarray, second: np.ndarray) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """Similarities of blocks of rows of the one with blocks of the other; of two without a bit 1.

    Yields:
        Rows of the first, rows of the second, and their similarities.
    """
    for i in range(0, len(first), BLOCK):
        left = _unpacked(first[i : i + BLOCK])
        for j in range(0, len(second), BLOCK):
            right = _unpacked(second[j : j + BLOCK])
            both = left @ right.T
            either = left.sum(1)[:, None] + right.sum(1)[None, :] - both
            similar = np.divide(both, either, out=np.ones_like(both), where=either > 0)
            yield slice(i, i + len(left)), slice(j, j + len(right)), similar


def nearest(bits: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Similarity to the nearest reference molecule of each, (n,), and the place of that one, (n,).

    Args:
        bits: (n, b) packed fingerprints.
        reference: (m, b) likewise, at least one.
    """
    best, place = np.full(len(bits), -1.0, dtype=np.float32), np.zeros(len(bits), dtype=np.int64)
    for rows, columns, similar in _rows(bits, reference):
        high, where = similar.max(1), similar.argmax(1) + columns.start
        better = high > best[rows]
        best[rows] = np.where(better, high, best[rows])
        place[rows] = np.where(better, where, place[rows])
    return best.astype(float), place


def nearest_other(bits: np.ndarray) -> np.ndarray:
    """Similarity of each molecule to the nearest other one of the same list, (n,); 0 where it is alone.

    Args:
        bits: (n, b) packed fingerprints.
    """
    best = np.zeros(len(bits), dtype=np.float32)
    for rows, columns, similar in _rows(bits, bits):
        if rows.start == columns.start:
            np.fill_diagonal(similar, 0.0)
        best[rows] = np.maximum(best[rows], similar.max(1))
    return best.astype(float)


def nearest_similarity(bits: np.ndarray, reference: np.ndarray) -> Value:
    """Mean similarity to the nearest reference molecule (SNN of MOSES).

    Args:
        bits: (n, b) packed fingerprints.
        reference: (m, b) likewise.
    """
    if not len(bits) or not len(reference):
        return MISSING
    best, _ = nearest(bits, reference)
    return around(float(best.mean()), _error_of_mean(best), len(best), low=0.0, high=1.0)


def internal_diversity(bits: np.ndarray) -> tuple[Value, Value]:
    """Internal diversity 1 and 2 as MOSES computes them, a molecule's similarity to itself included.

    The first is one less the mean similarity of all pairs. The second takes, in MOSES's code, the root of
    each molecule's mean square and then the mean; its paper (Polykovskiy et al. 2020) writes the root of the
    mean square over all pairs, which gives at most that.

    Args:
        bits: (n, b) packed fingerprints.
    """
    n = len(bits)
    if n < 2:  # of one molecule there is no pair, and 0 would look like a finding
        return MISSING, MISSING
    total, square = np.zeros(n), np.zeros(n)
    for rows, _, similar in _rows(bits, bits):
        total[rows] += similar.sum(1, dtype=float)
        square[rows] += np.square(similar).sum(1, dtype=float)
    mean, root = total / n, np.sqrt(square / n)
    # Every molecule is in its own row and in all others': its influence counts both.
    first = around(1 - float(mean.mean()), 2 * _error_of_mean(mean), n, low=0.0, high=1.0)
    slope = 0.5 / root
    pull = np.zeros(n)
    for rows, columns, similar in _rows(bits, bits):
        pull[rows] += np.square(similar) @ slope[columns]
    influence = root + pull / n
    return first, around(1 - float(root.mean()), _error_of_mean(influence), n, low=0.0, high=1.0)


def _error_of_mean(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan
