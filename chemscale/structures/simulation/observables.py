"""Structure along a trajectory: distances between elements, and lengths of the bonds of the start."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from ase.io import iread

from chemscale.structures.neighbours import neighbour_list
from chemscale.structures.simulation.stops import Bonds

FARTHEST = 8.0
"""Å; distances above are not counted in crystals."""
WIDTH = 0.05
"""Å of a bin."""
MOST_FRAMES = 1000
"""Frames that distances are counted in, at even intervals."""


@dataclass
class Distances:
    """Distribution of distances between two elements.

    Args:
        name: such as H-C, the lighter element first.
        r: (K,) Å, middles of bins.
        values: (K,) g(r) of a crystal, 1 for atoms without order, or (N - 1)/N among N of one element;
            probability density in 1/Å of a molecule.
        normalised: whether it is g(r).
    """

    name: str
    r: np.ndarray
    values: np.ndarray
    normalised: bool


@dataclass
class Structures:
    """What a trajectory shows.

    Args:
        frames: that were read.
        distances: of each pair of elements.
        lengths: (frames, B) Å of the bonds of the start.
        times: (frames,) ps.
    """

    frames: int
    distances: list[Distances] = field(default_factory=list)
    lengths: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    times: np.ndarray = field(default_factory=lambda: np.zeros(0))


def observe(trajectory: Path, frames: int, bonds: Bonds) -> Structures:
    """Go through a trajectory once.

    Args:
        trajectory: extended XYZ.
        frames: that it holds.
        bonds: of the start.
    """
    stride = max(1, -(-frames // MOST_FRAMES))
    found = Structures(0)
    counts: Counts | None = None
    lengths, times = [], []
    for atoms in _frames(trajectory, stride):
        if not np.isfinite(atoms.positions).all():
            continue
        counts = counts or Counts(atoms)
        counts.add(atoms)
        lengths.append(bonds.measure(atoms.positions, np.asarray(atoms.cell)))
        times.append(float(atoms.info["time_ps"]))
    if counts is not None:
        found.frames, found.distances = len(times), counts.distributions()
        found.lengths, found.times = np.array(lengths), np.array(times)
    return found


def _frames(trajectory: Path, stride: int) -> Iterator[Atoms]:
    if trajectory.stat().st_size:
        yield from iread(trajectory, index=slice(0, None, stride), format="extxyz")


class Counts:
    """Histograms of distances, of the pairs of elements of a structure.

    Args:
        atoms: a first frame; all have the same atoms.
    """

    def __init__(self, atoms: Atoms):
        self.periodic = bool(atoms.pbc.all())
        self.numbers = np.asarray(atoms.numbers)
        elements = np.unique(self.numbers)
        self.pairs = list(combinations_with_replacement(elements.tolist(), 2))
        self.frames = 0
        if self.periodic:
            longest = FARTHEST
        else:
            spread = atoms.positions - atoms.positions.mean(axis=0)
            longest = 2 * 1.5 * float(np.linalg.norm(spread, axis=1).max()) + 1.0
        self.edges = np.arange(0.0, longest + WIDTH, WIDTH)
        self.histograms = np.zeros((len(self.pairs), len(self.edges) - 1))
        self.ideal = np.zeros_like(self.histograms)
        code = np.full(119, -1)
        code[elements] = np.arange(len(elements))
        self.kind = code[self.numbers]
        self.slot = np.zeros((len(elements), len(elements)), int)
        for index, (a, b) in enumerate(self.pairs):
            self.slot[code[a], code[b]] = self.slot[code[b], code[a]] = index

    def add(self, atoms: Atoms) -> None:
        """Count a frame: every ordered pair, images included.

        Args:
            atoms: of the frame.
        """
        cell, pbc = (np.asarray(atoms.cell), np.asarray(atoms.pbc)) if self.periodic else (None, None)
        (sender, receiver), shifts = neighbour_list(atoms.positions, float(self.edges[-1]), cell, pbc)
        vectors = atoms.positions[sender] - atoms.positions[receiver]
        if cell is not None and shifts is not None:
            vectors = vectors + shifts @ cell
        slots = self.slot[self.kind[sender], self.kind[receiver]]
        bins = (np.linalg.norm(vectors, axis=1) / WIDTH).astype(int)
        inside = bins < self.histograms.shape[1]
        np.add.at(self.histograms, (slots[inside], bins[inside]), 1)
        if self.periodic:
            shells = 4 / 3 * np.pi * np.diff(self.edges**3)
            for index, (a, b) in enumerate(self.pairs):
                of_a, of_b = (self.numbers == a).sum(), (self.numbers == b).sum()
                both = 1 if a == b else 2
                self.ideal[index] += both * of_a * of_b / atoms.get_volume() * shells
        self.frames += 1

    def distributions(self) -> list[Distances]:
        """g(r) of a crystal, densities of a molecule's distances."""
        found = []
        middles = (self.edges[1:] + self.edges[:-1]) / 2
        for index, (a, b) in enumerate(self.pairs):
            counted = self.histograms[index]
            if not counted.sum():
                continue
            values = counted / self.ideal[index] if self.periodic else counted / (counted.sum() * WIDTH)
            name = f"{chemical_symbols[a]}-{chemical_symbols[b]}"
            found.append(Distances(name, middles, values, self.periodic))
        return found
