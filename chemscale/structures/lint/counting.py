"""The checks that see every frame, and the sample for those that do not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from ase.data import chemical_symbols

from chemscale.structures.blocks import Block
from chemscale.structures.lint.findings import Finding
from chemscale.structures.lint.geometry import distances, fingerprints

CLOSE = 0.4
"""Å: nearer than any two nuclei of stable matter; hydrogen molecules have 0.74 Å."""

PRIMES = np.array([2654435761, 2246822519, 3266489917, 668265263, 374761393, 4294967291], np.uint64)
"""Weights of the six numbers of a cell's metric in a fingerprint."""

NET_FORCE = 0.05
"""Share of the force RMS that the mean force of an atom may be: DFT grids leave about 0.001."""


@dataclass
class Group:
    """Sampled frames of one composition in one atom order: k frames of n atoms.

    Args:
        name: of the first frame.
        numbers: (n,) atomic numbers.
        positions: (k, n, 3) Å.
        energies: (k,) eV.
        forces: (k, n, 3) eV/Å.
        rows: (k,) where each frame stood in its source.
        periodic: whether any of them is a crystal.
    """

    name: str
    numbers: np.ndarray
    positions: np.ndarray
    energies: np.ndarray
    forces: np.ndarray
    rows: np.ndarray
    periodic: bool = False


@dataclass
class Counted:
    """Counts of one pass over a part, and the sample for checks that compare frames.

    Args:
        frames: in all.
        energies: frames with an energy.
        without_forces: frames with no force at all.
        part_of_forces: frames with forces of some atoms only.
        close: frames with atoms closer than `CLOSE`.
        closest: smallest distance in Å, and where.
        unbalanced: frames whose net force is above `NET_FORCE`.
        worst_balance: largest net force as a share of the RMS, and where.
        elements: atoms of each atomic number.
        prints: (k, 2) fingerprints of each block.
        places: name and rows of each block.
        sample: frames for checks that compare them with each other.
    """

    frames: int = 0
    energies: int = 0
    without_forces: int = 0
    part_of_forces: int = 0
    close: int = 0
    closest: tuple[float, str] = (np.inf, "")
    unbalanced: int = 0
    worst_balance: tuple[float, str] = (0.0, "")
    elements: Counter[int] = field(default_factory=Counter)
    prints: list[np.ndarray] = field(default_factory=list)
    places: list[tuple[str, np.ndarray]] = field(default_factory=list)
    sample: list[Group] = field(default_factory=list)

    def where(self, frame: int) -> str:
        """Name and row of a frame.

        Args:
            frame: its number, counted over the part.

        Raises:
            IndexError: there is no such frame.
        """
        for name, rows in self.places:
            if frame < len(rows):
                return f"{name}, row {rows[frame]}"
            frame -= len(rows)
        raise IndexError(frame)

    def findings(self) -> list[Finding]:
        """What is wrong with the part by itself."""
        found = [*self._missing_labels(), *self._close_atoms(), *self._net_forces(), *self._repeats()]
        symbols = ", ".join(f"{chemical_symbols[z]} {n:,}" for z, n in sorted(self.elements.items()))
        found.append(Finding("element coverage", "note", f"Atoms of each element: {symbols}."))
        return found

    def _missing_labels(self) -> Iterator[Finding]:
        known = self.frames - self.without_forces
        if self.energies < self.frames or self.without_forces or self.part_of_forces:
            none = not self.energies and not known
            yield Finding(
                "missing labels",
                "error" if none else "note",
                f"Of {self.frames:,} frames {self.energies:,} have an energy, {known:,} have forces, "
                f"{self.part_of_forces:,} forces of some atoms only; what is missing is left out of "
                "the loss.",
            )

    def _close_atoms(self) -> Iterator[Finding]:
        if self.close:
            yield Finding(
                "close atoms",
                "warning",
                f"{self.close:,} frames have atoms within {CLOSE} Å of each other; closest "
                f"{self.closest[0]:.3f} Å in {self.closest[1]}. Remove them, or check the unit of lengths.",
            )

    def _net_forces(self) -> Iterator[Finding]:
        if self.unbalanced:
            yield Finding(
                "net force",
                "warning",
                f"In {self.unbalanced:,} of {self.frames:,} frames forces do not add up to zero (more than "
                f"{NET_FORCE:.0%} of their RMS an atom); worst {self.worst_balance[0]:.0%} in "
                f"{self.worst_balance[1]}. A conservative potential cannot learn a net force.",
            )

    def _repeats(self) -> Iterator[Finding]:
        copies = self._duplicates()
        if copies:
            first, second = copies[0]
            yield Finding(
                "duplicates",
                "warning",
                f"{len(copies):,} frames repeat an earlier geometry (turned, moved or reordered copies "
                f"counted), for example {self.where(second)} repeats {self.where(first)}.",
            )

    def _duplicates(self) -> list[tuple[int, int]]:
        """Pairs of an earlier frame and one that repeats it."""
        seen: list[dict[int, int]] = [{}, {}]
        copies = []
        for frame, pair in enumerate(np.concatenate(self.prints) if self.prints else ()):
            earlier = next((s[int(p)] for s, p in zip(seen, pair, strict=True) if int(p) in s), None)
            if earlier is not None:
                copies.append((earlier, frame))
            for table, value in zip(seen, pair, strict=True):
                table.setdefault(int(value), frame)
        return copies

    def leakage_into(self, other: Counted, name: str) -> list[Finding]:
        """Findings about frames of another part whose geometry is in this one.

        Args:
            other: counts of that part.
            name: of that part.
        """
        if not self.prints or not other.prints:
            return []
        mine, theirs = np.concatenate(self.prints), np.concatenate(other.prints)
        shared = np.isin(theirs[:, 0], mine[:, 0]) | np.isin(theirs[:, 1], mine[:, 1])
        if not shared.any():
            return []
        return [
            Finding(
                "leakage",
                "error",
                f"{int(shared.sum()):,} of {len(theirs):,} frames of the {name} part are copies of "
                "training frames (turned, moved or reordered ones counted), for example "
                f"{other.where(int(np.argmax(shared)))}. Errors on them are not errors on unseen data: "
                "remove them, or split by molecule.",
            )
        ]


def count(blocks: Iterator[Block], sample: int, seed: int) -> Counted:
    """Count over a part and draw a sample, in one pass.

    The sample keeps frames of one composition together, so that there are neighbours among them.

    Args:
        blocks: of the part.
        sample: number of frames to draw.
        seed: of the draw.
    """
    counted = Counted()
    random = np.random.default_rng(seed)
    groups: dict[bytes, list[tuple[float, Block, int]]] = {}
    held = 0
    for block in blocks:
        _count_block(counted, block)
        key = bytes(block.numbers)
        kept = groups.setdefault(key, [])
        for index, draw in enumerate(random.random(len(block))):
            kept.append((float(draw), block, index))
            held += 1
        if len(kept) > sample:
            held -= len(kept)
            kept.sort(key=lambda item: item[0])
            del kept[sample:]
            held += len(kept)
        if held > 8 * sample and len(groups) > 1:
            held = _thin(groups, 4 * sample)
    counted.sample = _gather(groups, sample)
    return counted


def _thin(groups: dict[bytes, list[tuple[float, Block, int]]], limit: int) -> int:
    """Drop the smallest groups, which hold the fewest neighbours, down to a number of frames; returns it."""
    for key in sorted(groups, key=lambda k: len(groups[k])):
        if sum(map(len, groups.values())) <= limit or len(groups) == 1:
            break
        del groups[key]
    return sum(map(len, groups.values()))


def _gather(groups: dict[bytes, list[tuple[float, Block, int]]], sample: int) -> list[Group]:
    """The drawn frames, largest compositions first."""
    chosen: list[Group] = []
    left = sample
    for kept in sorted(groups.values(), key=len, reverse=True):
        members = sorted(kept, key=lambda item: item[0])[:left]
        if not members:
            break
        left -= len(members)
        chosen.append(
            Group(
                name=members[0][1].name,
                numbers=members[0][1].numbers,
                positions=np.stack([b.positions[i] for _, b, i in members]),
                energies=np.array([b.energies[i] for _, b, i in members]),
                forces=np.stack([b.forces[i] for _, b, i in members]),
                rows=np.array([b.rows[i] for _, b, i in members]),
                periodic=any(b.pbc is not None and b.pbc[i].any() for _, b, i in members),
            )
        )
    return chosen


def _count_block(counted: Counted, block: Block) -> None:
    """Add a block to the counts."""
    k, n = block.positions.shape[:2]
    counted.frames += k
    counted.energies += int(np.isfinite(block.energies).sum())
    known = np.isfinite(block.forces).all(axis=2)
    counted.without_forces += int((~known).all(axis=1).sum())
    counted.part_of_forces += int((known.any(axis=1) & ~known.all(axis=1)).sum())
    for z, number in zip(*np.unique(block.numbers, return_counts=True), strict=True):
        counted.elements[int(z)] += int(number) * k
    counted.prints.append(_prints(block))
    counted.places.append((block.name, block.rows))
    if n > 1:
        closest = distances(block.positions)[0].min(axis=1)
        counted.close += int((closest < CLOSE).sum())
        at = int(np.argmin(closest))
        counted.closest = min(counted.closest, (float(closest[at]), f"{block.name}, row {block.rows[at]}"))
    whole = known.all(axis=1)
    if whole.any():
        forces = block.forces[whole]
        rms = np.sqrt(np.square(forces).mean(axis=(1, 2)))
        net = np.linalg.norm(forces.mean(axis=1), axis=1) / np.maximum(rms, 0.05)
        counted.unbalanced += int((net > NET_FORCE).sum())
        at = int(np.argmax(net))
        place = f"{block.name}, row {block.rows[whole][at]}"
        counted.worst_balance = max(counted.worst_balance, (float(net[at]), place))


def _prints(block: Block) -> np.ndarray:
    """Fingerprints of the frames of a block, (k, 2)."""
    prints = fingerprints(block.numbers, block.positions)
    if block.cells is not None:
        # Two crystals of one content in different cells are different.
        with np.errstate(over="ignore"):
            metric = np.einsum("kij,klj->kil", block.cells, block.cells)[:, *np.triu_indices(3)]
            steps = np.round(metric * 1e2).astype(np.int64).astype(np.uint64)
            prints = prints + (steps * PRIMES).sum(1, dtype=np.uint64)[:, None]
    return prints
