"""Neighbour lists of a store's parts, found once for each cutoff and kept beside it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import IO, Any

import numpy as np

from chemscale.common.files import naming_place
from chemscale.common.locks import file_lock
from chemscale.common.parallel import ordered_map, worker_count
from chemscale.common.progress import ProgressBar
from chemscale.structures.graphs import Joined, Structure
from chemscale.structures.loading.mapped import MappedRows, rows_of
from chemscale.structures.loading.plan import spans
from chemscale.structures.neighbours import neighbour_list
from chemscale.structures.store import FrameStore

INDEX, SHIFT = "<u2", "<i2"
MAX_ATOMS = 2**16 - 1
WITHOUT_LOCKS = "let one process find the neighbours before others are started"


CHUNK, CHUNK_ATOMS = 4096, 1 << 15
"""Frames and atoms whose neighbours are found and written together: megabytes, and each process has a few."""
WORTH_PROCESSES = 500_000
"""Frames from which on all cores find neighbours: fewer take no longer than processes need to begin."""


@dataclass(frozen=True)
class Found:
    """Neighbours of some frames.

    Args:
        counts: (k,) edges of each frame.
        pairs: senders and receivers of all edges, as `INDEX`.
        shifts: cells that senders are shifted by, as `SHIFT`; empty for a store without crystals.
    """

    counts: np.ndarray
    pairs: bytes
    shifts: bytes


def find_neighbours(store: FrameStore | Path, frames: np.ndarray, *, cutoff: float) -> Found:
    """Find the neighbours in some frames of a store.

    Args:
        store: where they are, or its folder in a process of its own.
        frames: (k,) their numbers.
        cutoff: Å.
    """
    if isinstance(store, Path):
        store = _opened(store)
    counts, pairs, shifts = [], [], []
    store.expect(frames, forces=False)
    for frame in frames.tolist():
        structure = store.structure(frame)
        edges, shift = neighbour_list(structure.positions, cutoff, structure.cell, structure.pbc)
        counts.append(edges.shape[1])
        pairs.append(edges.T.astype(INDEX).tobytes())
        if store.periodic:
            zero = np.zeros((edges.shape[1], 3), SHIFT)
            shifts.append(zero.tobytes() if shift is None else shift.astype(SHIFT).tobytes())
    return Found(np.array(counts, "<i4"), b"".join(pairs), b"".join(shifts))


@lru_cache(maxsize=1)
def _opened(path: Path) -> FrameStore:
    """The store that a process works on."""
    return FrameStore(path)


class EdgeCache:
    """Neighbours of the first frames of a part on disk, extended when more frames are asked for.

    Indices are 16 bits wide: a structure has at most 65,535 atoms. Counts are written behind the pairs that
    they count, so that an interrupted extension is taken up where the counts end.

    Args:
        store: whose frames they are.
        part: "train", "validation" or "test".
        cutoff: Å.

    Raises:
        ValueError: a structure is larger than that.
    """

    def __init__(self, store: FrameStore, part: str, cutoff: float):
        self.store, self.part, self.cutoff = store, part, float(cutoff)
        self.frames = store.part(part)
        self.directory = store.path / f"edges-{self.cutoff:g}"
        largest = int(store.sizes[self.frames].max(initial=0))
        if largest > MAX_ATOMS:
            raise ValueError(
                f"{store.path}: a frame has {largest} atoms; neighbours are kept for {MAX_ATOMS}."
            )

    def _file(self, name: str) -> Path:
        return self.directory / f"{self.part}.{name}"

    def counts(self, frames: int) -> np.ndarray:
        """Edges of each of the first frames, (frames,); found first where they are not known.

        Args:
            frames: how many.
        """
        known = self._known()
        if len(known) < frames:
            with file_lock(self.directory / "lock", without=WITHOUT_LOCKS):
                self._extend(frames)
            known = self._known()
        return known[:frames]

    def _known(self) -> np.ndarray:
        """Edges of each of the first frames whose neighbours are all there."""
        path = self._file("counts")
        counts = np.fromfile(path, "<i4") if path.exists() else np.zeros(0, "<i4")
        rows = _rows_in(self._file("pairs"), 4)
        if self.store.periodic:
            rows = min(rows, _rows_in(self._file("shifts"), 6))
        return counts[: int(np.searchsorted(np.cumsum(counts, dtype=np.int64), rows, side="right"))]

    def _extend(self, frames: int) -> None:
        known = self._known()
        done, total = len(known), int(known.sum(dtype=np.int64))
        title = f"neighbours within {self.cutoff:g} Å"
        missing = self.frames[done:frames]
        chunks = (missing[part] for part in spans(self.store.sizes[missing], CHUNK, CHUNK_ATOMS))
        workers = worker_count(None) if len(missing) >= WORTH_PROCESSES else 1
        find = partial(find_neighbours, self.store if workers == 1 else self.store.path, cutoff=self.cutoff)
        with (
            naming_place(self.directory),
            ProgressBar(title, len(missing), "frames", every=5.0) as progress,
            _open_at(self._file("pairs"), total * 4) as pairs,
            _open_at(self._file("shifts"), total * 6 if self.store.periodic else 0) as shifts,
            _open_at(self._file("counts"), done * 4) as counts,
        ):
            for found in ordered_map(find, chunks, workers):
                pairs.write(found.pairs)
                shifts.write(found.shifts)
                pairs.flush()
                shifts.flush()
                counts.write(found.counts.tobytes())
                counts.flush()
                progress.advance(len(found.counts))

    def open(self, frames: int) -> Edges:
        """The edges of the first frames, memory-mapped.

        Args:
            frames: how many.
        """
        return Edges(self, frames)


def _open_at(path: Path, place: int) -> IO[bytes]:
    """A file to be written from a place on; what stands there, and behind it, is written over.

    Where there are no locks several processes may do so at a time: they write the same bytes to the same
    places, where appending would leave each frame twice.
    """
    file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
    file.seek(place)
    return file


def _rows_in(path: Path, width: int) -> int:
    """Whole rows of so many bytes in a file; 0 where there is none."""
    return path.stat().st_size // width if path.exists() else 0


class Edges:
    """Random access to cached edges by position in the part; it can be sent to worker processes.

    Args:
        cache: where they are.
        frames: of the part, from its first on.
    """

    def __init__(self, cache: EdgeCache, frames: int):
        self.counts = cache.counts(frames)
        self.offsets = np.concatenate([[0], np.cumsum(self.counts, dtype=np.int64)])
        self.periodic = cache.store.periodic
        self._pairs_path, self._shifts_path = cache._file("pairs"), cache._file("shifts")
        self._maps: tuple[MappedRows, MappedRows | None] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_maps": None}

    def attach(self, structure: Structure, position: int) -> Structure:
        """Give a structure its neighbours.

        Args:
            structure: that gets them.
            position: of it within the part.
        """
        pairs, shifts = self._scattered()
        rows = slice(self.offsets[position], self.offsets[position + 1])
        structure.edges = np.asarray(pairs[rows]).T.astype(np.int64)
        structure.shifts = None if shifts is None else np.asarray(shifts[rows]).astype(np.int32)
        return structure

    def join(self, joined: Joined, positions: np.ndarray) -> Joined:
        """Give structures one after another their neighbours.

        Args:
            joined: that gets them.
            positions: (B,) of its structures within the part.
        """
        pairs, shifts = self._scattered()
        places = self._places(np.asarray(positions))
        counts = self.offsets[places + 1] - self.offsets[places]
        starts = np.cumsum(joined.sizes) - joined.sizes
        # Row by row: the senders of all edges lie side by side, as do the receivers.
        edges = np.empty((2, int(counts.sum())), np.int64)
        np.add(rows_of(pairs, self.offsets, places).T, np.repeat(starts, counts), out=edges)
        joined.edges = edges
        if joined.cells is not None:
            assert shifts is not None
            joined.shifts = rows_of(shifts, self.offsets, places)
        return joined

    def _places(self, positions: np.ndarray) -> np.ndarray:
        """Where the edges of structures stand in the cache."""
        return positions

    def expect(self, positions: np.ndarray) -> None:
        """Let the kernel read edges ahead, without waiting for them.

        Args:
            positions: of structures within the part.
        """
        for array in self._arrays():
            if array is not None:
                array.expect(self.offsets, self._places(positions))

    def _arrays(self) -> tuple[MappedRows, MappedRows | None]:
        """All pairs (E, 2), and all shifts (E, 3) of a store with crystals."""
        if self._maps is None:
            edges = int(self.offsets[-1])  # and no more: another process may be adding some
            self._maps = (
                MappedRows(self._pairs_path, INDEX, 2, edges),
                MappedRows(self._shifts_path, SHIFT, 3, edges) if self.periodic else None,
            )
        return self._maps

    def _scattered(self) -> tuple[np.ndarray, np.ndarray | None]:
        """The same, as rows that are read here and there."""
        pairs, shifts = self._arrays()
        return pairs.scattered, None if shifts is None else shifts.scattered


class ChosenEdges(Edges):
    """Cached edges of some frames of a part, by their position among these.

    Args:
        cache: where they are.
        positions: of the frames within the part, in any order.
    """

    def __init__(self, cache: EdgeCache, positions: np.ndarray):
        super().__init__(cache, int(np.max(positions, initial=-1)) + 1)
        self.positions = np.asarray(positions)
        self.counts = self.counts[self.positions]

    def attach(self, structure: Structure, position: int) -> Structure:
        return super().attach(structure, int(self.positions[position]))

    def _places(self, positions: np.ndarray) -> np.ndarray:
        return self.positions[positions]
