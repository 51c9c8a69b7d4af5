"""The checks that see every frame, in one pass over a part."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from ase.data import chemical_symbols

from chemscale.structures.blocks import Block
from chemscale.structures.lint.evidence.geometry import array_hashes, fingerprints_and_nearest
from chemscale.structures.lint.evidence.lattices import Lattices
from chemscale.structures.lint.evidence.sampling import Group, Sampler, states_of
from chemscale.structures.lint.findings import Finding, not_checked
from chemscale.structures.lint.frames import Frames
from chemscale.structures.lint.stresses import StressCounts
from chemscale.structures.lint.zero_forces import ZeroForces

CLOSE = 0.4
"""Å: nearer than any two nuclei of stable matter; hydrogen molecules have 0.74 Å."""

SAME_PLACE = 0.01
"""Å: within this two atoms stand on the same place."""

NET_FORCE = 0.05
"""Share of the force RMS that the mean force of an atom may be: DFT grids leave about 0.001."""


@dataclass
class Counted:
    """Counts of one pass over a part, and the sample for checks that compare frames.

    Args:
        energies: frames with an energy.
        without_forces: frames with no force at all.
        part_of_forces: frames with forces of some atoms only.
        close: frames with atoms closer than `CLOSE`.
        same_place: frames with atoms closer than `SAME_PLACE`.
        closest: smallest distance in Å, and where.
        balanced: frames with a force on every one of two atoms or more.
        unbalanced: frames whose net force is above `NET_FORCE`.
        worst_balance: largest net force as a share of the RMS, and where.
        elements: atoms of each atomic number.
        frames: what is kept of every frame.
        zeros: forces that are exactly zero.
        stresses: how many there are, and which of them are placeholders.
        sample: frames for checks that compare them with each other.
    """

    energies: int = 0
    without_forces: int = 0
    part_of_forces: int = 0
    close: int = 0
    same_place: int = 0
    closest: tuple[float, str] = (np.inf, "")
    balanced: int = 0
    unbalanced: int = 0
    worst_balance: tuple[float, str] = (0.0, "")
    elements: Counter[int] = field(default_factory=Counter)
    frames: Frames = field(default_factory=Frames)
    zeros: ZeroForces = field(default_factory=ZeroForces)
    stresses: StressCounts = field(default_factory=StressCounts)
    sample: list[Group] = field(default_factory=list)

    def findings(self) -> list[Finding]:
        """What is wrong with the part by itself."""
        found = [*self._missing_labels(), *self._close_atoms(), *self._net_forces(), *self.zeros.findings()]
        found += [*self.frames.findings(), *self.stresses.findings()]
        symbols = ", ".join(f"{chemical_symbols[z]} {n:,}" for z, n in sorted(self.elements.items()))
        found.append(Finding("element coverage", "note", f"Atoms of each element: {symbols}."))
        return found

    def _missing_labels(self) -> Iterator[Finding]:
        frames = len(self.frames)
        known = frames - self.without_forces
        if self.energies < frames or self.without_forces or self.part_of_forces:
            none = not self.energies and not known
            yield Finding(
                "missing labels",
                "error" if none else "note",
                f"Of {frames:,} frames {self.energies:,} have an energy, {known:,} have forces, "
                f"{self.part_of_forces:,} forces of some atoms only; what is missing is left out of "
                "the loss.",
            )

    def _close_atoms(self) -> Iterator[Finding]:
        if self.same_place:
            yield Finding(
                "close atoms",
                "error",
                f"In {self.same_place:,} frames two atoms stand on the same place (images in crystals "
                f"counted); for example {self.closest[1]}. Remove these frames: no energy belongs to them.",
            )
        if self.close > self.same_place:
            yield Finding(
                "close atoms",
                "warning",
                f"{self.close:,} frames have atoms within {CLOSE} Å of each other (images in crystals "
                f"counted); closest {self.closest[0]:.3f} Å in {self.closest[1]}. Remove them, or check the "
                "unit of lengths.",
            )

    def _net_forces(self) -> Iterator[Finding]:
        if not self.balanced:
            yield not_checked("net force", "no frame of two atoms or more has a force on each")
        if self.unbalanced:
            yield Finding(
                "net force",
                "warning",
                f"In {self.unbalanced:,} of {self.balanced:,} frames forces do not add up to zero (more than "
                f"{NET_FORCE:.0%} of their RMS an atom); worst {self.worst_balance[0]:.0%} in "
                f"{self.worst_balance[1]}. A conservative potential cannot learn a net force.",
            )


def count(blocks: Iterator[Block], sample: int, seed: int) -> Counted:
    """Count over a part and draw a sample, in one pass.

    Args:
        blocks: of the part.
        sample: number of frames to draw.
        seed: of the draw.
    """
    counted = Counted()
    sampler = Sampler(sample, seed)
    for block in blocks:
        if block.positions.size:
            states = states_of(block)
            _count_block(counted, block, states)
            sampler.add(block, states)
    counted.sample = sampler.sample()
    return counted


def _count_block(counted: Counted, block: Block, states: dict[bytes, np.ndarray]) -> None:
    """Add a block to the counts."""
    k, n = block.positions.shape[:2]
    counted.energies += int(np.isfinite(block.energies).sum())
    known = np.isfinite(block.forces).all(axis=2)
    counted.without_forces += int((~known).all(axis=1).sum())
    counted.part_of_forces += int((known.any(axis=1) & ~known.all(axis=1)).sum())
    for z, number in zip(*np.unique(block.numbers, return_counts=True), strict=True):
        counted.elements[int(z)] += int(number) * k
    lattices = None
    if block.cells is not None and block.pbc is not None and block.pbc.any():
        lattices = Lattices(block.cells, block.pbc)
    prints, nearest = fingerprints_and_nearest(block.numbers, block.positions, lattices)
    counted.frames.add(block, states, prints, array_hashes(block.forces))
    counted.zeros.add(block, states, lattices)
    counted.stresses.add(block)
    counted.close += int((nearest < CLOSE).sum())
    counted.same_place += int((nearest < SAME_PLACE).sum())
    at = int(np.argmin(nearest))
    counted.closest = min(counted.closest, (float(nearest[at]), f"{block.name}, row {block.rows[at]}"))
    whole = known.all(axis=1) & (block.forces != 0).any(axis=(1, 2))
    if whole.any() and n > 1:
        forces = block.forces[whole]
        rms = np.sqrt(np.square(forces).mean(axis=(1, 2)))
        net = np.linalg.norm(forces.mean(axis=1), axis=1) / np.maximum(rms, 0.05)
        counted.balanced += len(forces)
        counted.unbalanced += int((net > NET_FORCE).sum())
        at = int(np.argmax(net))
        place = f"{block.name}, row {block.rows[whole][at]}"
        counted.worst_balance = max(counted.worst_balance, (float(net[at]), place))
