"""Nearest neighbours by Tanimoto similarity, exact, of some molecules among very many that stream by.

Fingerprints of benchmark molecules stand as columns of a table of bits. Of a molecule that streams by, the
rows of its own bits are added up: that counts the bits in common with every column, for the price of reading
some fifty bytes a column. Columns are in the order of how many bits are 1: a similarity cannot exceed the
smaller of both numbers of bits over the larger (Swamidass and Baldi, J. Chem. Inf. Model. 47, 302, 2007), so
that those that reach a given one are a range of columns. For the nearest neighbour that bound leaves out
little: the best similarities are about one half (docs/lab-notes.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from chemscale.common.files import write_array
from chemscale.molecules.overlap.keys import BITS


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
    def of(cls, bits: Sequence[Sequence[int] | np.ndarray]) -> BitTable:
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

    def common(self, bits: Sequence[int], columns: slice = slice(None)) -> np.ndarray:
        """Bits in common with each column, (k,).

        Args:
            bits: numbers of the bits that are 1.
            columns: of the table, by ascending number of bits.
        """
        whole = columns == slice(None)
        # Of a slice `take` would copy the whole table first.
        rows = self.table.take(bits, axis=0) if whole else self.table[bits, columns]
        return rows.sum(axis=0, dtype=np.uint8 if len(bits) < 256 else np.uint16)


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
        # c common bits of a and b are more similar than t where c > (a + b)·t / (1 + t).
        self._slope = np.empty(len(table), np.float32)
        self._least = np.empty(len(table), np.float32)
        self._raise(np.arange(len(table)))

    def _raise(self, columns: np.ndarray) -> None:
        """Set what neighbours of columns must exceed."""
        best = np.maximum(self.best[columns], 0.0)
        slope = np.where(self.best[columns] < 0, -1.0, best / (1 + best))  # below 0 anything is nearer
        self._slope[columns] = slope
        self._least[columns] = slope * self.table.counts[columns] - 1e-2  # candidates, rounding included

    def add(self, bits: Sequence[int], number: int) -> bool:
        """Compare one molecule with every column; whether it is the nearest of any now.

        Args:
            bits: numbers of the bits that are 1.
            number: of the molecule.
        """
        common = self.table.common(bits)
        needed = self._slope * np.float32(len(bits))
        needed += self._least
        near = np.flatnonzero(common > needed)
        if not len(near):
            return False
        both = common[near].astype(np.int64)
        either = self.table.counts[near] + len(bits) - both
        # Two without any bit are alike.
        similar = np.where(either > 0, both / np.maximum(either, 1), 1.0)
        better = similar > self.best[near]
        at = near[better]
        self.best[at], self.row[at] = similar[better], number
        self._raise(at)
        return bool(len(at))
