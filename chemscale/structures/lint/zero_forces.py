"""Forces that are exactly zero though no symmetry makes them so: placeholders, and atoms held fixed."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from chemscale.structures.blocks import Block
from chemscale.structures.lint.evidence.lattices import Lattices
from chemscale.structures.lint.findings import Finding, not_checked

MIN_FRAMES = 3
"""Frames of one composition in which an atom never has a force, from which on that is no chance."""

REACH = 6.0
"""Å: neighbours up to here decide whether a force vanishes by symmetry."""

SAMPLE = 512
"""Frames without a force, at most, whose symmetry is looked at; the rest is taken to be like them."""


@dataclass
class _State:
    frames: int
    moved: np.ndarray
    lopsided: np.ndarray
    place: str


@dataclass
class ZeroForces:
    """Counts of forces that are exactly zero.

    Args:
        frames: with a force on every atom, two atoms or more.
        empty: of them those whose forces are all exactly zero.
        suspect: of the empty ones that were looked at, those in which symmetry demands no such thing.
        looked: empty ones that were looked at.
        example: where a suspect one stands.
        states: what is known of each composition and state.
    """

    frames: int = 0
    empty: int = 0
    suspect: int = 0
    looked: int = 0
    example: str = ""
    states: dict[bytes, _State] = field(default_factory=dict)

    def add(self, block: Block, states: dict[bytes, np.ndarray], lattices: Lattices | None) -> None:
        """Count over a block.

        Args:
            block: the next one.
            states: frames of each of its states.
            lattices: of its frames, or None for molecules.
        """
        n = len(block.numbers)
        whole = np.isfinite(block.forces).all(axis=(1, 2))
        if n < 2 and lattices is None:
            return
        zero = (block.forces == 0).all(axis=2) & whole[:, None]
        empty = zero.all(axis=1)
        self.frames += int(whole.sum())
        self.empty += int(empty.sum())
        for at in np.flatnonzero(empty)[: SAMPLE - self.looked]:
            self.looked += 1
            if _lopsided(block, int(at), lattices).any():
                self.suspect += 1
                self.example = self.example or f"{block.name}, row {block.rows[at]}"
        for key, members in states.items():
            members = members[whole[members] & ~empty[members]]
            if not len(members):
                continue
            still = zero[members].all(axis=0)
            known = self.states.get(key)
            if known is None:
                known = _State(0, ~still, np.zeros(n, bool), f"{block.name}, row {block.rows[members[0]]}")
                self.states[key] = known
            known.frames += len(members)
            known.moved |= ~still
            if known.frames >= MIN_FRAMES and not (known.moved | known.lopsided).all():
                known.lopsided |= _lopsided(block, int(members[0]), lattices)

    def findings(self) -> list[Finding]:
        """What is wrong with zeros."""
        if not self.frames:
            return [not_checked("zero forces", "no forces")]
        found = []
        share = self.suspect / self.looked if self.looked else 0.0
        empty = round(self.empty * share)
        if empty:
            many = empty == self.frames or (empty >= 2 and empty > 0.01 * self.frames)
            found.append(
                Finding(
                    "zero forces",
                    "error" if many else "warning",
                    f"In {empty:,} of {self.frames:,} frames every force is exactly zero, for example in "
                    f"{self.example}, although no symmetry of the geometry makes it so: these are "
                    "placeholders. Remove the array or set it to NaN there: missing forces weigh nothing.",
                )
            )
        fixed = [
            (s, ~s.moved & s.lopsided)
            for s in self.states.values()
            if s.frames >= MIN_FRAMES and (~s.moved & s.lopsided).any()
        ]
        if fixed:
            state, atoms = fixed[0]
            listed = ", ".join(str(int(a)) for a in np.flatnonzero(atoms)[:5])
            found.append(
                Finding(
                    "zero forces",
                    "error",
                    f"In {sum(s.frames for s, _ in fixed):,} frames of {len(fixed):,} compositions some "
                    f"atoms never have a force, for example of {state.place} those with the numbers {listed} "
                    f"(from 0; {int(atoms.sum())} of {len(atoms)}): they were held fixed. Ask for the forces "
                    "without constraints, or set them to NaN.",
                )
            )
        return found


def _lopsided(block: Block, at: int, lattices: Lattices | None) -> np.ndarray:
    """Atoms whose surroundings single out a direction, (n,): symmetry does not make their force vanish."""
    positions = block.positions[at]
    vectors = positions[None] - positions[:, None]
    weight = np.sqrt(block.numbers.astype(float))[None, :]
    pull = np.zeros_like(positions)
    shifts = np.zeros((1, 3))
    if lattices is not None:
        chosen = slice(at, at + 1)
        vectors = lattices.shortest(vectors.reshape(1, -1, 3), chosen).reshape(vectors.shape)
        shifts = lattices.images(at, REACH)
    for shift in shifts:
        moved = vectors + shift
        d = np.linalg.norm(moved, axis=2)
        strength = np.where(d > 1e-6, weight * np.exp(-np.square(d / 2.0)) / np.maximum(d, 1e-6), 0.0)
        pull += (strength[:, :, None] * moved).sum(axis=1)
    return np.linalg.norm(pull, axis=1) > 1e-3
