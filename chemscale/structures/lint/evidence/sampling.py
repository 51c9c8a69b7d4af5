"""A sample of frames for the checks that compare frames with each other, in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chemscale.structures.blocks import Block

RUN = 8
"""Frames that follow each other in a file are drawn together: in a trajectory they are neighbours."""

ATOMS = 500_000
"""Atoms of the whole sample: large structures are fewer."""


@dataclass
class Group:
    """Sampled frames of one composition in one atom order, charge and multiplicity: k frames of n atoms.

    Args:
        name: of the first frame.
        numbers: (n,) atomic numbers.
        positions: (k, n, 3) Å.
        energies: (k,) eV.
        forces: (k, n, 3) eV/Å.
        rows: (k,) where each frame stood in its source.
        cells: (k, 3, 3) Å of crystals, else None.
        pbc: (k, 3) of crystals, else None.
        stresses: (k, 3, 3) eV/Å³ of crystals, NaN where missing, else None.
    """

    name: str
    numbers: np.ndarray
    positions: np.ndarray
    energies: np.ndarray
    forces: np.ndarray
    rows: np.ndarray
    cells: np.ndarray | None = None
    pbc: np.ndarray | None = None
    stresses: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.energies)

    @property
    def periodic(self) -> bool:
        """Whether these are crystals."""
        return self.cells is not None

    def select(self, chosen: np.ndarray) -> Group:
        """A group of some of the frames.

        Args:
            chosen: (k,) mask, or indices.
        """
        return Group(
            self.name,
            self.numbers,
            self.positions[chosen],
            self.energies[chosen],
            self.forces[chosen],
            self.rows[chosen],
            None if self.cells is None else self.cells[chosen],
            None if self.pbc is None else self.pbc[chosen],
            None if self.stresses is None else self.stresses[chosen],
        )


class Sampler:
    """Draws frames in one pass; those of one state stay together, so that there are neighbours among them.

    Args:
        size: frames of the sample.
        seed: of the draw.
    """

    def __init__(self, size: int, seed: int):
        self._size = size
        self._random = np.random.default_rng(seed)
        self._groups: dict[bytes, list[tuple[np.ndarray, Group]]] = {}
        self._held: dict[bytes, int] = {}

    def add(self, block: Block, states: dict[bytes, np.ndarray]) -> None:
        """Draw from a block.

        Args:
            block: the next one.
            states: frames of each of its states, of `states_of`.
        """
        draws = np.repeat(self._random.random(-(-len(block) // RUN)), RUN)[: len(block)]
        if len(block) > self._size:
            draws = np.where(draws <= np.partition(draws, self._size - 1)[self._size - 1], draws, 2.0)
        for key, members in states.items():
            kept = members[draws[members] <= 1.0]
            if len(kept):
                self._groups.setdefault(key, []).append((draws[kept], _group(block, kept)))
                self._held[key] = self._held.get(key, 0) + len(kept)
                if self._held[key] > 2 * self._limit(block):
                    self._groups[key] = [_drawn(self._groups[key], self._limit(block))]
                    self._held[key] = self._limit(block)
        if sum(self._held.values()) > 8 * self._size and len(self._groups) > 1:
            self._thin(4 * self._size)

    def _limit(self, block: Block) -> int:
        return max(2, min(self._size, ATOMS // max(len(block.numbers), 1)))

    def _thin(self, limit: int) -> None:
        """Drop the smallest groups, which hold the fewest neighbours, down to a number of frames."""
        left = sum(self._held.values())
        for key in sorted(self._held, key=lambda k: self._held[k]):
            if left <= limit or len(self._groups) == 1:
                break
            left -= self._held.pop(key)
            del self._groups[key]

    def sample(self) -> list[Group]:
        """The drawn frames, largest states first."""
        chosen: list[Group] = []
        left, atoms = self._size, ATOMS
        for key in sorted(self._held, key=lambda k: -self._held[k]):
            size = len(self._groups[key][0][1].numbers)
            number = min(left, max(atoms // size, 2))
            if left <= 0 or atoms <= 0:
                break
            group = _drawn(self._groups[key], number)[1]
            left, atoms = left - len(group), atoms - len(group) * size
            chosen.append(group)
        return chosen


def states_of(block: Block) -> dict[bytes, np.ndarray]:
    """Frames of each state in a block: the same atoms, charge, multiplicity and kind of boundary.

    Args:
        block: of one composition.

    Returns:
        A key of the state → (k,) indices of its frames.
    """
    periodic = np.zeros(len(block), bool) if block.pbc is None else block.pbc.any(axis=1)
    codes = (block.charges.astype(int) + 128) * 512 + block.spins.astype(int) * 2 + periodic
    atoms = bytes(block.numbers)
    if (codes == codes[0]).all():
        return {atoms + int(codes[0]).to_bytes(3): np.arange(len(block))}
    return {atoms + int(code).to_bytes(3): np.flatnonzero(codes == code) for code in np.unique(codes)}


def _group(block: Block, kept: np.ndarray) -> Group:
    periodic = block.pbc is not None and bool(block.pbc[kept].any())
    unknown = np.full((len(kept), 3, 3), np.nan)
    return Group(
        name=block.name,
        numbers=block.numbers,
        positions=block.positions[kept],
        energies=block.energies[kept],
        forces=block.forces[kept],
        rows=block.rows[kept],
        cells=block.cells[kept] if periodic and block.cells is not None else None,
        pbc=block.pbc[kept] if periodic and block.pbc is not None else None,
        stresses=(unknown if block.stresses is None else block.stresses[kept]) if periodic else None,
    )


def _drawn(pieces: list[tuple[np.ndarray, Group]], number: int) -> tuple[np.ndarray, Group]:
    """The frames with the smallest draws, in their order."""
    draws = np.concatenate([d for d, _ in pieces])
    best = np.sort(np.argsort(draws, kind="stable")[:number])
    first = pieces[0][1]

    def joined(name: str) -> np.ndarray | None:
        parts = [getattr(g, name) for _, g in pieces]
        return None if parts[0] is None else np.concatenate(parts)[best]

    fields = ("positions", "energies", "forces", "rows", "cells", "pbc", "stresses")
    return draws[best], Group(first.name, first.numbers, *(joined(f) for f in fields))  # type: ignore[arg-type]
