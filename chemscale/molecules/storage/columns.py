"""One number of each molecule, over all shards: as an array to its reader, and never one in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from chemscale.molecules.packing_kernel import gathered, library
from chemscale.molecules.storage.mapping import Place, map_file, place_of

AT_ONCE = 1 << 20
"""Numbers that are looked at together: a few megabytes."""
MANY = 1 << 12
"""Rows from which on they are gathered in C++: a window of an order has sixty times as many."""


class LikeArray(np.lib.mixins.NDArrayOperatorsMixin):
    """Numbers that arithmetic and comparisons take for the array that ``numpy.asarray`` makes of them."""

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        plain = [np.asarray(value) if isinstance(value, LikeArray) else value for value in inputs]
        return getattr(ufunc, method)(*plain, **options)


class Column(LikeArray):
    """Numbers of rows one after another, over one or more parts that are not copied.

    It answers indices and slices with arrays of the numbers that were asked for, and sums in bounded memory;
    ``numpy.asarray`` makes one array of all of it, which a large corpus has no room for.

    Args:
        parts: arrays of uint16, memory-mapped as a rule.
        rows: only the first so many; None for all.
    """

    def __init__(self, parts: Sequence[np.ndarray], rows: int | None = None):
        self.arrays = list(parts)
        """The numbers of each part, all of them."""
        self.first = np.cumsum([0, *(len(array) for array in self.arrays)], dtype=np.int64)
        """(parts + 1,) row that each part begins at; at the end, how many there are."""
        plain = all(a.dtype == np.uint16 and a.flags.c_contiguous for a in self.arrays)
        self._addresses = np.array([a.ctypes.data for a in self.arrays], dtype=np.uintp) if plain else None
        self._rows = int(self.first[-1]) if rows is None else min(rows, int(self.first[-1]))

    def __len__(self) -> int:
        return self._rows

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy has addresses of its own, and another process maps the files itself."""
        return _column, ([place_of(array) or array for array in self.arrays], self._rows)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the numbers."""
        return self.arrays[0].dtype if self.arrays else np.dtype("<u2")

    @property
    def shape(self) -> tuple[int]:
        """(n,)."""
        return (self._rows,)

    def head(self, rows: int) -> Column:
        """The first rows of it.

        Args:
            rows: how many, at most as many as there are.
        """
        return Column(self.arrays, min(rows, self._rows))

    def part_of(self, rows: np.ndarray) -> np.ndarray:
        """Which part each row is in, (k,)."""
        return np.searchsorted(self.first, rows, side="right") - 1

    def __getitem__(self, where: Any) -> Any:
        if isinstance(where, slice):
            begin, end, step = where.indices(self._rows)
            if step == 1:
                return self._range(begin, max(begin, end))
            where = np.arange(begin, end, step)
        if np.ndim(where) == 0:
            row = int(where) + (self._rows if int(where) < 0 else 0)
            if not 0 <= row < self._rows:
                raise IndexError(f"Row {int(where)} of {self._rows}.")
            part = int(self.part_of(np.asarray(row)))
            return self.arrays[part][row - int(self.first[part])]
        rows = np.asarray(where)
        if rows.dtype == bool:
            rows = np.flatnonzero(rows)
        return self._gather(rows)

    def _range(self, begin: int, end: int) -> np.ndarray:
        """Rows one after another; those of one part are not copied."""
        pieces = []
        for array, first in zip(self.arrays, self.first[:-1].tolist(), strict=True):
            if begin < first + len(array) and first < end:
                pieces.append(array[max(0, begin - first) : end - first])
        if len(pieces) == 1:
            return pieces[0]
        return np.concatenate(pieces) if pieces else np.empty(0, dtype=self.dtype)

    def _gather(self, rows: np.ndarray) -> np.ndarray:
        """Rows in any order: of many shards each is visited once."""
        if not len(rows):
            return np.empty(0, dtype=self.dtype)
        if int(rows.min()) < 0:
            rows = np.where(rows < 0, rows + self._rows, rows)
        if not 0 <= int(rows.min()) <= int(rows.max()) < self._rows:
            raise IndexError(f"Rows from {int(rows.min())} to {int(rows.max())} of {self._rows}.")
        if len(self.arrays) == 1:
            return self.arrays[0][rows]
        if len(rows) >= MANY and self._addresses is not None and (kernels := library()) is not None:
            return gathered(kernels, self._addresses, self.first, rows)
        out = np.empty(len(rows), dtype=self.dtype)
        for part, places in by_part(self.part_of(rows)):
            out[places] = self.arrays[part][rows[places] - self.first[part]]
        return out

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        whole = self._range(0, self._rows)
        return whole.astype(whole.dtype if dtype is None else dtype, copy=bool(copy))

    def chunks(self) -> Iterator[np.ndarray]:
        """All rows, some of them at a time."""
        for begin in range(0, self._rows, AT_ONCE):
            yield self._range(begin, min(self._rows, begin + AT_ONCE))

    def astype(self, dtype: Any) -> np.ndarray:
        """One array of all rows in memory."""
        return np.asarray(self).astype(dtype)

    def sum(self, dtype: Any = np.int64) -> int:
        """Of all rows."""
        return sum(int(chunk.sum(dtype=dtype)) for chunk in self.chunks())

    def max(self) -> int:
        """The largest.

        Raises:
            ValueError: there are no rows.
        """
        return max(int(chunk.max()) for chunk in self.chunks())

    def mean(self) -> float:
        """Of all rows; there is at least one."""
        return self.sum() / len(self)

    def equals(self, other: Column) -> bool:
        """Whether another column has the same numbers, cut into whatever parts."""
        same = len(self) == len(other)
        return same and all(np.array_equal(a, b) for a, b in zip(self.chunks(), other.chunks(), strict=True))


def _column(parts: Sequence[np.ndarray | Place], rows: int) -> Column:
    def opened(place: Place) -> np.ndarray:
        file, dtype, at_random = place
        return map_file(Path(file), dtype, at_random=at_random)

    return Column([part if isinstance(part, np.ndarray) else opened(part) for part in parts], rows)


def by_part(parts: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Each part that occurs, and the places where it does, ascending.

    Args:
        parts: (k,) numbers of parts, below 65536.
    """
    order = np.argsort(parts.astype(np.uint16), kind="stable")  # a radix sort: linear in k
    ends = np.cumsum(np.bincount(parts))
    for part in np.unique(parts).tolist():
        yield part, order[ends[part - 1] if part else 0 : ends[part]]
