"""Frames of a store as blocks: those of one name and composition that follow each other together."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from chemscale.structures.blocks import Block
from chemscale.structures.graphs import Joined

if TYPE_CHECKING:
    from chemscale.structures.store import FrameStore

AT_ONCE = 4096
"""Frames of a block at most, and frames that are read together."""
ATOMS_AT_ONCE = 1 << 20
"""Atoms that are read together, 50 bytes each; a larger frame is read alone."""


def frame_blocks(store: FrameStore, frames: np.ndarray) -> Iterator[Block]:
    """Frames as blocks, by name and rising number; crystals and molecules are in blocks of their own.

    Args:
        store: where they are.
        frames: (k,) numbers in the store.
    """
    frames = np.asarray(frames)
    groups = store.groups[frames]
    order = np.lexsort((frames, groups))
    frames, groups = frames[order], groups[order]
    sizes, periodic = np.asarray(store.sizes[frames], np.int64), store.is_periodic(frames)
    other = np.ones(len(frames), bool)  # than the frame before it, in name, size or periodicity
    for column in (groups, sizes, periodic):
        other[1:] &= column[1:] == column[:-1]
    other[1:] = ~other[1:]
    ends = np.append(np.flatnonzero(other), len(frames))
    atoms = np.concatenate([[0], np.cumsum(sizes)])
    start = 0
    while start < len(frames):
        most = int(np.searchsorted(atoms, atoms[start] + ATOMS_AT_ONCE, side="right")) - 1
        most = max(start + 1, min(most, start + AT_ONCE, len(frames)))
        whole = int(ends[np.searchsorted(ends, most, side="right") - 1])
        end = whole if whole > start else most
        window = frames[start:end]
        read = store.joined(window)
        bounds = [*np.flatnonzero(_begins(read, other[start:end])).tolist(), len(window)]
        if end != whole and len(bounds) > 2:
            bounds.pop()  # the last composition may go on behind the window
        yield from _blocks(store, window, read, bounds)
        start += bounds[-1]


def _begins(read: Joined, other: np.ndarray) -> np.ndarray:
    """Whether each frame begins a block: it is another kind than the one before, or other atoms, (k,)."""
    begins = other.copy()
    begins[0] = True
    bounds = np.append(np.flatnonzero(begins), len(begins))
    offsets = np.concatenate([[0], np.cumsum(read.sizes)])
    for kind in np.flatnonzero(np.diff(bounds) > 1).tolist():
        first, end = bounds[kind], bounds[kind + 1]
        numbers = read.numbers[offsets[first] : offsets[end]].reshape(end - first, -1)
        begins[first + 1 : end] = (numbers[1:] != numbers[:-1]).any(axis=1)
    return begins


def _blocks(store: FrameStore, frames: np.ndarray, read: Joined, bounds: list[int]) -> Iterator[Block]:
    """Blocks of frames that were read, between bounds."""
    offsets = np.concatenate([[0], np.cumsum(read.sizes)])
    rows = store.rows_in_files(frames)
    stresses = store.stresses(frames) if store.has_stresses else None
    for first, end in pairwise(bounds):
        part, n = slice(first, end), int(read.sizes[first])
        atoms = slice(offsets[first], offsets[end])
        crystals = read.cells is not None and bool(store.is_periodic(frames[first : first + 1])[0])
        yield Block(
            name=store.name(int(frames[first])),
            numbers=read.numbers[atoms][:n],
            positions=read.positions[atoms].reshape(-1, n, 3),
            energies=read.energies[part],
            forces=read.forces[atoms].reshape(-1, n, 3),
            rows=rows[part],
            charges=read.charges[part],
            spins=read.spins[part],
            cells=read.cells[part] if crystals and read.cells is not None else None,
            pbc=store.directions(frames[part]) if crystals else None,
            stresses=None if stresses is None else stresses[part],
            weights=read.weights[part] if store.has_weights else None,
        )
