"""Nearest neighbours by Tanimoto similarity, exact, of some molecules among very many that stream by.

Fingerprints of benchmark molecules stand as columns of a table of bits, in the order of how many bits are 1.
Of a molecule that streams by, the rows of its own bits are added up: that counts the bits in common with
every column. A similarity cannot exceed the smaller of both numbers of bits over the larger (Swamidass and
Baldi, J. Chem. Inf. Model. 47, 302, 2007), so that columns with a nearer neighbour already are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from chemscale.common.files import write_array
from chemscale.molecules.overlap.keys import BITS

REFRESH = (128, 2048)
"""Molecules after which the bounds on columns are drawn tighter: first, and later."""


class BitTable:
    """Fingerprints of m molecules by bit, memory-mapped where they are opened.

    Args:
        table: (BITS, m) of 0 and 1, columns by ascending number of bits.
        order: (m,) place that each column had in the list that the table was made of.
    """

    def __init__(self, table: np.ndarray, order: np.ndarray):
        self.table, self.order = table, order
        self.counts = np.zeros(len(order), np.int64)
        for first in range(0, BITS, 64):
            self.counts += table[first : first + 64].sum(axis=0, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.order)

    @classmethod
    def of(cls, bits: Sequence[Sequence[int]]) -> BitTable:
        """Make a table.

        Args:
            bits: numbers of the bits that are 1, of each molecule.
        """
        order = np.argsort([len(each) for each in bits], kind="stable").astype(np.int64)
        table = np.zeros((BITS, len(bits)), np.uint8)
        for column, place in enumerate(order.tolist()):
            table[bits[place], column] = 1
        return cls(table, order)

    def save(self, folder: Path) -> None:
        """Write it for other processes.

        Args:
            folder: that exists.
        """
        write_array(folder / "bits.npy", self.table)
        write_array(folder / "order.npy", self.order)

    @classmethod
    def open(cls, folder: Path) -> BitTable:
        """Open what ``save`` wrote; its pages are shared by all processes.

        Args:
            folder: of the table.
        """
        table = np.load(folder / "bits.npy", mmap_mode="r").view(np.ndarray)
        return cls(table, np.load(folder / "order.npy"))

    def common(self, bits: Sequence[int], columns: slice) -> np.ndarray:
        """Bits in common with each column, (k,).

        Args:
            bits: numbers of the bits that are 1.
            columns: of the table.
        """
        rows = self.table[:, columns].take(bits, axis=0)
        return rows.sum(axis=0, dtype=np.uint8 if len(bits) < 256 else np.uint16).astype(np.int64)


class Nearest:
    """The nearest neighbours so far of the columns of a table.

    Args:
        table: of the benchmark molecules.
        best: (m,) similarity that a neighbour must exceed, by column; later that of the nearest one.
    """

    def __init__(self, table: BitTable, best: np.ndarray | None = None):
        self.table = table
        self.best = np.full(len(table), -1.0) if best is None else np.array(best, float)
        self.row = np.full(len(table), -1, np.int64)
        """(m,) number of the nearest molecule that was added; -1 where none was nearer than `best`."""
        self._seen = self._next = 0
        self._windows: np.ndarray = np.empty((0, 2), np.int64)

    def add(self, bits: Sequence[int], number: int) -> bool:
        """Compare one molecule with every column; whether it is the nearest of any now.

        Args:
            bits: numbers of the bits that are 1.
            number: of the molecule.
        """
        if self._seen >= self._next:
            self._refresh()
            self._next += min(max(REFRESH[0], self._seen), REFRESH[1])
        self._seen += 1
        own = len(bits)
        low, high = self._windows[min(own, len(self._windows) - 1)].tolist()
        if low >= high:
            return False
        columns = slice(low, high)
        common = self.table.common(bits, columns)
        either = self.table.counts[columns] + own - common
        best = self.best[columns]
        near = np.flatnonzero(common > best * either - 1e-6)
        if not len(near):
            return False
        both, all_bits = common[near], either[near]
        # Two without any bit are alike.
        similar = np.where(all_bits > 0, both / np.maximum(all_bits, 1), 1.0)
        better = similar > best[near]
        at = near[better] + low
        self.best[at], self.row[at] = similar[better], number
        return bool(len(at))

    def _refresh(self) -> None:
        """For each number of bits, the range of columns that could find a nearer neighbour."""
        counts, best = self.table.counts, self.best
        largest = int(counts.max(initial=0)) * 2 + 64
        windows = np.zeros((largest + 1, 2), np.int64)
        # best < min(a, b) / max(a, b): from b·best to b/best bits, with room for rounding.
        floor = np.maximum(best, 0.0)
        first = np.floor(counts * floor - 1e-6).clip(0, largest).astype(np.int64)
        last = np.where(floor > 0, counts / np.maximum(floor, 1e-12) + 1e-6, largest)
        last = np.floor(last).clip(0, largest).astype(np.int64)
        open_ = best < 1.0
        columns = np.arange(len(counts))
        low = np.full(largest + 2, len(counts), np.int64)
        high = np.zeros(largest + 2, np.int64)
        for a in range(largest + 1):
            inside = columns[open_ & (first <= a) & (a <= last)]
            if len(inside):
                low[a], high[a] = inside[0], inside[-1] + 1
        windows[:, 0], windows[:, 1] = low[: largest + 1], high[: largest + 1]
        self._windows = windows
