"""Rows of unequal length in memory-mapped shards, gathered without a loop over them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class Ragged:
    """Rows one after another, over one or more shards.

    Args:
        shards: for each the values (uint16), and the length of each row (uint16).
        rows: only the first so many; None for all.
    """

    def __init__(self, shards: Sequence[tuple[np.ndarray, np.ndarray]], rows: int | None = None):
        self._shards = shards
        lengths = np.concatenate([s[1] for s in shards]) if shards else np.empty(0, dtype="<u2")
        self.lengths = lengths[:rows]
        """(n,) values of each row."""
        self._first = np.cumsum([0, *(len(s[1]) for s in shards)])
        starts = [np.cumsum(s[1], dtype=np.int64) - s[1] for s in shards]
        self._starts = np.concatenate(starts)[:rows] if shards else np.empty(0, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.lengths)

    def row(self, index: int) -> np.ndarray:
        """Values of one row, (length,) uint16.

        Args:
            index: of the row, below the number of rows.
        """
        shard = int(np.searchsorted(self._first, index, side="right")) - 1
        start = int(self._starts[index])
        return self._shards[shard][0][start : start + int(self.lengths[index])]

    def gather(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values of rows one after another, and the length of each.

        Args:
            indices: (k,) of the rows.
        """
        lengths = self.lengths[indices].astype(np.int64)
        ends = np.cumsum(lengths)
        within = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - lengths, lengths)
        where = np.repeat(self._starts[indices], lengths) + within
        if len(self._shards) == 1:
            return self._shards[0][0][where], lengths
        out = np.empty(len(where), dtype=np.uint16)
        shard = np.repeat(np.searchsorted(self._first, indices, side="right") - 1, lengths)
        for number in np.unique(shard):
            mine = shard == number
            out[mine] = self._shards[number][0][where[mine]]
        return out, lengths
