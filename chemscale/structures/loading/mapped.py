"""Arrays on disk, mapped into memory for two ways of reading: one row after another, and here and there.

The kernel reads ahead of what is asked for, up to megabytes. That is right for a pass over a file; of rows
here and there it reads a thousand times too much once the file is larger than the memory left for it.
"""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np

PAGE = mmap.PAGESIZE


class MappedRows:
    """Rows of an array in a file.

    Args:
        path: of the file; one that is missing or empty has no rows.
        kind: type of the numbers.
        columns: of a row.
        rows: that are mapped, of a file that another process may be extending; None for all.

    Raises:
        ValueError: the file ends within a row, or has fewer rows.
    """

    def __init__(self, path: Path, kind: str, columns: int, rows: int | None = None):
        shape = (-1, columns) if columns > 1 else (-1,)
        self._map: mmap.mmap | None = None
        self.in_order = self.scattered = np.empty((0, columns) if columns > 1 else 0, kind)
        """The rows (N, …) for reading on, and for reading here and there: plain arrays, since an element of a
        ``numpy.memmap`` takes 4 µs to find and of an array 0.2 µs."""
        if rows == 0 or (rows is None and (not path.exists() or path.stat().st_size == 0)):
            return
        length = None if rows is None else (rows * columns,)
        self.in_order = np.asarray(np.memmap(path, dtype=kind, mode="r", shape=length)).reshape(shape)
        self.width = self.in_order.itemsize * columns
        with open(path, "rb") as file:
            self._map = mmap.mmap(file.fileno(), self.in_order.nbytes, prot=mmap.PROT_READ)
        if hasattr(mmap, "MADV_RANDOM"):
            self._map.madvise(mmap.MADV_RANDOM)
        self.scattered = np.frombuffer(self._map, kind).reshape(shape)

    def expect(self, offsets: np.ndarray, places: np.ndarray) -> None:
        """Let the kernel read stretches of rows ahead, without waiting for them.

        Args:
            offsets: (F + 1,) where each stretch begins and the last one ends.
            places: (k,) numbers of stretches.
        """
        if self._map is None or not hasattr(mmap, "MADV_WILLNEED"):
            return
        starts = offsets[places] * self.width // PAGE * PAGE
        lengths = offsets[places + 1] * self.width - starts
        for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
            if length > 0:
                self._map.madvise(mmap.MADV_WILLNEED, start, length)


def rows_of(array: np.ndarray, offsets: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Rows of several stretches of an array, one stretch after another; a copy.

    Args:
        array: (N, …).
        offsets: (F + 1,) where each stretch begins and the last one ends.
        places: (k,) numbers of stretches.
    """
    ends = offsets[places + 1].tolist()
    pieces = [array[a:b] for a, b in zip(offsets[places].tolist(), ends, strict=True)]
    return np.concatenate(pieces) if pieces else array[:0].copy()


def follow_each_other(places: np.ndarray) -> bool:
    """Whether stretches are many and lie close together in rising order: a pass over that part of the file.

    Args:
        places: (k,) numbers of stretches.
    """
    if len(places) < 64 or places[-1] - places[0] > 4 * len(places):
        return False
    return bool((places[1:] > places[:-1]).all())
