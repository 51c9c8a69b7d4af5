"""Where the molecules of a split begin, and what they add up to: a small table, not a number a molecule.

A corpus of 10⁹ molecules has 2 GB of lengths and 80 GB of tokens. Starts of 8 bytes each would be held by
every rank of a node: here ``GROUP`` molecules share one, and the lengths within the group say the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chemscale.common.progress import ProgressBar
from chemscale.molecules.storage.columns import Column, LikeArray

GROUP = 64
"""Rows that share a start: two lines of cache of lengths, and an eighth of a byte a row."""
STRIDE = 1 << 16
"""Molecules between two rows of the totals."""
TOTALS = ("targets", "positions", "squares", "longest")
"""What is added up: symbols and one end each; positions in blocks, prefixes with them; their squares; and the
largest number of positions so far."""
SHOWN = 1 << 24
"""Molecules from which on an index is made with a progress bar."""


class RowStarts:
    """Where rows begin in the values of their shard.

    Args:
        lengths: values of each row, all shards.
        starts: (groups,) int64 values of the shard before each group; None to count them now. The groups of
            a shard begin with its first row.
    """

    def __init__(self, lengths: Column, starts: np.ndarray | None = None):
        self.lengths = lengths
        sizes = np.diff(lengths.first)
        self._groups = np.cumsum([0, *(-(-sizes // GROUP))])
        self.starts = _counted(lengths) if starts is None else starts

    def __call__(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Part of each row, and its first value there, (k,) int64.

        Args:
            rows: (k,) of all shards.
        """
        rows = np.asarray(rows, dtype=np.int64)
        parts = self.lengths.part_of(rows)
        groups, offsets = np.divmod(rows - self.lengths.first[parts], GROUP)
        starts = self.starts[self._groups[parts] + groups]
        ends = np.cumsum(offsets)
        before = np.repeat(rows - ends, offsets) + np.arange(int(ends[-1]) if len(ends) else 0)
        summed = np.concatenate([[0], np.cumsum(self.lengths[before], dtype=np.int64)])
        return parts, starts + summed[ends] - summed[ends - offsets]


def _counted(lengths: Column) -> np.ndarray:
    """(groups,) int64 values of the shard before each group."""
    found = []
    for array in lengths.arrays:
        values = _group_sums(array, GROUP)
        found.append(np.cumsum(values) - values)
    return np.concatenate(found) if found else np.empty(0, dtype=np.int64)


def _group_sums(array: np.ndarray, group: int) -> np.ndarray:
    """(⌈n / group⌉,) int64 sums of so many numbers each, the last of what is left."""
    whole = len(array) // group * group
    sums = array[:whole].reshape(-1, group).sum(axis=1, dtype=np.int64)
    return sums if whole == len(array) else np.append(sums, array[whole:].sum(dtype=np.int64))


class Totals:
    """Sums over the first molecules of a split, however many, without a look at all of them.

    Args:
        lengths: symbols of each molecule.
        prefixes: ids before each; None for none.
        table: (strides, 4) int64 ``TOTALS`` of what lies before each multiple of ``STRIDE``; None: count now.
    """

    def __init__(self, lengths: Column, prefixes: Column | None = None, table: np.ndarray | None = None):
        self.lengths, self.prefixes = lengths, prefixes
        self.table = self._counted() if table is None else table

    def first(self, molecules: int) -> dict[str, int]:
        """``TOTALS`` of the first so many molecules.

        Args:
            molecules: at most as many as there are.
        """
        row = molecules // STRIDE
        sums = self.table[row].tolist()
        more = self._sums(row * STRIDE, molecules)
        both = [*(a + b for a, b in zip(sums[:3], more[:3], strict=True)), max(sums[3], more[3])]
        return dict(zip(TOTALS, both, strict=True))

    def _sums(self, begin: int, end: int) -> list[int]:
        symbols = self.lengths[begin:end].astype(np.int64)
        positions = symbols + 1 if self.prefixes is None else symbols + 1 + self.prefixes[begin:end]
        squares = int((positions * positions).sum())
        return [
            int(symbols.sum()) + len(symbols),
            int(positions.sum()),
            squares,
            int(positions.max(initial=0)),
        ]

    def _counted(self) -> np.ndarray:
        rows = len(self.lengths)
        table = np.zeros((rows // STRIDE + 1, len(TOTALS)), dtype=np.int64)
        with ProgressBar("index", rows, "molecules", silent=rows < SHOWN) as progress:
            for number in range(1, len(table)):
                found = self._sums((number - 1) * STRIDE, number * STRIDE)
                table[number, :3] = table[number - 1, :3] + found[:3]
                table[number, 3] = max(int(table[number - 1, 3]), found[3])
                progress.advance(STRIDE)
        return table


class Positions(LikeArray):
    """Positions that each molecule takes in a block: prefix, symbols and one more.

    Indices and slices give arrays (int64); ``numpy.asarray`` makes one of all of them.

    Args:
        totals: of the split.
        molecules: only the first so many.
    """

    dtype = np.dtype(np.int64)

    def __init__(self, totals: Totals, molecules: int):
        self._totals, self._molecules = totals, molecules
        self._lengths = totals.lengths.head(molecules)
        self._prefixes = None if totals.prefixes is None else totals.prefixes.head(molecules)
        self._sums: dict[str, int] | None = None

    def __len__(self) -> int:
        return self._molecules

    @property
    def shape(self) -> tuple[int]:
        """(n,)."""
        return (self._molecules,)

    def __getitem__(self, where: Any) -> Any:
        symbols = self._lengths[where].astype(np.int64) + 1
        return symbols if self._prefixes is None else symbols + self._prefixes[where]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        whole: np.ndarray = self[:]
        return whole if dtype is None else whole.astype(dtype)

    def chunks(self) -> Iterator[np.ndarray]:
        """All of them, ``STRIDE`` at a time."""
        for begin in range(0, self._molecules, STRIDE):
            yield self[begin : begin + STRIDE]

    def total(self, name: str) -> int:
        """One of ``TOTALS``."""
        if self._sums is None:
            self._sums = self._totals.first(self._molecules)
        return self._sums[name]

    def sum(self) -> int:
        """Positions of all molecules."""
        return self.total("positions")

    def max(self) -> int:
        """Positions of the longest molecule; 0 of none."""
        return self.total("longest")


@dataclass(frozen=True)
class SplitIndex:
    """What is known of a split without its tokens.

    Args:
        starts: of the molecules' symbols.
        prefixes: of what stands before molecules; None where nothing does.
        totals: sums over molecules.
    """

    starts: RowStarts
    prefixes: RowStarts | None
    totals: Totals

    @classmethod
    def of(cls, columns: Sequence[Column], tables: Sequence[np.ndarray] | None = None) -> SplitIndex:
        """The index of a split.

        Args:
            columns: symbols of each molecule, and ids before each if there are any.
            tables: as ``tables`` gave them; None to count now.
        """
        lengths, prefixes = columns[0], columns[1] if len(columns) > 1 else None
        given = iter(tables or ())
        starts = RowStarts(lengths, next(given, None))
        before = None if prefixes is None else RowStarts(prefixes, next(given, None))
        return cls(starts, before, Totals(lengths, prefixes, next(given, None)))

    @property
    def tables(self) -> list[np.ndarray]:
        """What a file of it holds."""
        before = [] if self.prefixes is None else [self.prefixes.starts]
        return [self.starts.starts, *before, self.totals.table]
