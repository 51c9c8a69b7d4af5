"""Rows of unequal length in memory-mapped shards, gathered without a loop over them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chemscale.molecules.storage.columns import Column, by_part
from chemscale.molecules.storage.index import RowStarts
from chemscale.molecules.storage.mapping import let_go, will_need


class Ragged:
    """Rows one after another, over one or more shards; nothing of them is copied.

    Args:
        values: of each shard (uint16).
        starts: where the rows begin there.
        rows: only the first so many; None for all.
        ahead: whether the rows of a batch are asked of the disk together before the first is looked at, for
            values that the page cache has no room for.
    """

    def __init__(
        self, values: Sequence[np.ndarray], starts: RowStarts, rows: int | None = None, *, ahead: bool = False
    ):
        self.values, self.starts, self.ahead = values, starts, ahead
        self.lengths: Column = starts.lengths if rows is None else starts.lengths.head(rows)
        """(n,) values of each row."""

    def __len__(self) -> int:
        return len(self.lengths)

    def head(self, rows: int) -> Ragged:
        """The first rows of it.

        Args:
            rows: how many.
        """
        return Ragged(self.values, self.starts, rows, ahead=self.ahead)

    def row(self, index: int) -> np.ndarray:
        """Values of one row, (length,) uint16.

        Args:
            index: of the row, below the number of rows.
        """
        parts, starts = self.starts(np.array([index]))
        start = int(starts[0])
        return self.values[int(parts[0])][start : start + int(self.lengths[index])]

    def gather(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values of rows one after another, and the length of each.

        Args:
            indices: (k,) of the rows.
        """
        lengths = self.lengths[indices].astype(np.int64)
        parts, starts = self.starts(indices)
        if self.ahead:
            for part, start, end in zip(
                parts.tolist(), starts.tolist(), (starts + lengths).tolist(), strict=True
            ):
                will_need(self.values[part], start, end)
        ends = np.cumsum(lengths)
        where = np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - (ends - lengths), lengths)
        if len(self.values) == 1:
            return self.values[0][where], lengths
        out = np.empty(len(where), dtype=np.uint16)
        for part, places in by_part(np.repeat(parts, lengths)):
            out[places] = self.values[part][where[places]]
        return out, lengths

    def let_go(self) -> None:
        """Stop holding pages of the shards, as ``storage.mapping.let_go`` says."""
        for values in (*self.values, *self.lengths.arrays):
            let_go(values)
