"""Distances of nearest atoms and neighbours within a cutoff, of a random sample of frames."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np

from chemscale.common.progress import ProgressBar
from chemscale.points.data_report.values import Values, sample
from chemscale.structures.neighbours import neighbour_list
from chemscale.structures.store import FrameStore

SAMPLE = 10_000
"""Frames that are looked at; all of them where there are no more."""
MAX_ATOMS = 1_000_000
"""Atoms of the sample at most: no further frame is drawn behind that."""
CUTOFF = 5.0
"""Å: that of most models here (``model.cutoff``)."""
Pair = tuple[int, int]


@dataclass
class Geometry:
    """What a sample of frames has shown.

    Args:
        frames: that were looked at.
        of: that there are.
        neighbours: of each atom within the cutoff, by part.
        nearest: distance of each atom to its nearest one in Å, where that is within the cutoff, by part.
        pairs: least distance in each frame of each pair of elements, atomic numbers ascending.
        closest: the least of all of a pair in Å, and the frame.
        alone: atoms without a neighbour within the cutoff.
    """

    frames: int = 0
    of: int = 0
    neighbours: dict[str, Values] = field(default_factory=dict)
    nearest: dict[str, Values] = field(default_factory=dict)
    pairs: dict[Pair, Values] = field(default_factory=dict)
    closest: dict[Pair, tuple[float, int]] = field(default_factory=dict)
    alone: int = 0


def look_at_geometry(store: FrameStore, part_of: np.ndarray, names: tuple[str, ...]) -> Geometry:
    """Neighbours of the atoms of a random sample of the frames of all parts.

    Args:
        store: whose frames they are.
        part_of: (F,) place of each frame's part in `names`; negative where it is in none.
        names: of the parts.
    """
    members = np.flatnonzero(part_of >= 0)
    drawn = members[sample(len(members), SAMPLE, number=1)]
    last = int(np.searchsorted(np.cumsum(store.sizes[drawn], dtype=np.int64), MAX_ATOMS)) + 1
    drawn = np.sort(drawn[:last])
    found, seen = Geometry(len(drawn), len(members)), _Seen()
    with ProgressBar("distances", len(drawn), "frames") as progress:
        for frame in drawn.tolist():
            _see(store, frame, names[part_of[frame]], found, seen)
            progress.advance(1)
    for name in names:
        found.neighbours[name] = _values(seen.neighbours[name])
        found.nearest[name] = _values(seen.nearest[name])
    found.pairs = {pair: _values([np.array(least)]) for pair, least in seen.pairs.items()}
    return found


@dataclass
class _Seen:
    """What is added up once all frames were seen: to add each by itself takes longer than to see it."""

    neighbours: defaultdict[str, list[np.ndarray]] = field(default_factory=lambda: defaultdict(list))
    nearest: defaultdict[str, list[np.ndarray]] = field(default_factory=lambda: defaultdict(list))
    pairs: defaultdict[Pair, list[float]] = field(default_factory=lambda: defaultdict(list))


def _values(numbers: list[np.ndarray]) -> Values:
    values = Values()
    values.add(np.concatenate(numbers) if numbers else np.empty(0))
    return values


def _see(store: FrameStore, frame: int, part: str, found: Geometry, seen: _Seen) -> None:
    structure = store.structure(frame)
    positions, numbers = structure.positions, structure.numbers.astype(np.int64)
    edges, shifts = neighbour_list(positions, CUTOFF, structure.cell, structure.pbc)
    sender, receiver = edges
    vectors = positions[sender] - positions[receiver]
    if shifts is not None and structure.cell is not None:
        vectors = vectors + shifts @ structure.cell
    distances = np.linalg.norm(vectors, axis=1)
    neighbours = np.bincount(receiver, minlength=len(numbers))
    seen.neighbours[part].append(neighbours)
    found.alone += int((neighbours == 0).sum())
    nearest = np.full(len(numbers), np.inf)
    np.minimum.at(nearest, receiver, distances)
    seen.nearest[part].append(nearest[neighbours > 0])
    keys = np.minimum(numbers[sender], numbers[receiver]) * 1000 + np.maximum(
        numbers[sender], numbers[receiver]
    )
    kinds, which = np.unique(keys, return_inverse=True)
    least = np.full(len(kinds), np.inf)
    np.minimum.at(least, which, distances)
    for key, value in zip(kinds.tolist(), least.tolist(), strict=True):
        pair = divmod(key, 1000)
        seen.pairs[pair].append(value)
        found.closest[pair] = min(found.closest.get(pair, (np.inf, -1)), (value, frame))
