"""How forces answer to the stretch of bonds: their sign and unit where no energies can be compared."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import binom

from chemscale.structures.lint.evidence.geometry import bonds
from chemscale.structures.lint.evidence.sampling import Group

COVALENT = (1, 5, 6, 7, 8, 9, 14, 15, 16, 17, 34, 35, 53)
"""Elements between which bonds are stiff: 15 (Br-Br) to 150 eV/Å² (N≡N); metals have 1 and less."""

SOUND = 0.9
"""Share of frames, at least, in which forces of sound data pull stretched bonds back."""

LEVEL = 1.1e-5
"""Probability that sound data are so far from `SOUND` by chance; five frames of five reach it."""

FEW = 5
"""Frames of a composition from which on each bond has a rest length of its own."""


@dataclass(frozen=True)
class Stretches:
    """What bonds show.

    Args:
        pulls: (f,) one a frame: by how many eV/Å² forces pull its stretched bonds back, mean over bonds.
    """

    pulls: np.ndarray

    @property
    def median(self) -> float:
        """Median of the pulls in eV/Å²."""
        return float(np.median(self.pulls)) if len(self.pulls) else 0.0

    @property
    def sound(self) -> bool:
        """Whether forces pull stretched bonds back, surely more often than by chance."""
        back = int((self.pulls > 0).sum())
        return bool(binom.sf(back - 1, len(self.pulls), 0.5) < 1e-3)

    @property
    def push(self) -> bool:
        """Whether forces push stretched bonds further apart."""
        return self.wrong and int((self.pulls > 0).sum()) <= 0.2 * len(self.pulls)

    @property
    def wrong(self) -> bool:
        """Whether these cannot be sound forces."""
        return less_often(int((self.pulls > 0).sum()), len(self.pulls))

    def outside(self, low: float, high: float) -> bool:
        """Whether the size of the pull surely lies below or above two limits in eV/Å².

        Args:
            low: lower limit.
            high: upper limit.
        """
        inside = (np.abs(self.pulls) >= low) & (np.abs(self.pulls) <= high)
        return less_often(int(inside.sum()), len(self.pulls))


def less_often(times: int, of: int) -> bool:
    """Whether something that holds in `SOUND` of frames was seen too seldom for that to be chance.

    Args:
        times: that it was seen.
        of: frames.
    """
    return bool(binom.cdf(times, of, SOUND) < LEVEL)


def stretches(sample: list[Group]) -> Stretches:
    """Compare forces along bonds with their stretch.

    Frames of one composition share the rest length of each bond; where there are few of them, bonds of the
    same two elements do.

    Args:
        sample: groups of molecules.
    """
    kinds: dict[tuple[int, int, int], list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = {}
    frame = 0
    for number, group in enumerate(sample):
        whole = np.isfinite(group.forces).all(axis=(1, 2)) & (group.forces != 0).any(axis=(1, 2))
        if not whole.any() or len(group.numbers) < 2:
            continue
        positions, forces = group.positions[whole], group.forces[whole]
        i, j = bonds(group.numbers, positions)
        covalent = np.isin(group.numbers[i], COVALENT) & np.isin(group.numbers[j], COVALENT)
        i, j = i[covalent], j[covalent]
        vectors = positions[:, i] - positions[:, j]
        lengths = np.linalg.norm(vectors, axis=2)
        along = ((forces[:, i] - forces[:, j]) * vectors).sum(2) / np.maximum(lengths, 1e-3)
        frames = frame + np.arange(len(positions))
        frame += len(positions)
        for bond, (a, b) in enumerate(zip(i, j, strict=True)):
            low, high = sorted((int(group.numbers[a]), int(group.numbers[b])))
            if len(positions) < FEW and low > 1:
                continue  # C-C alone is 1.2 to 1.55 Å long
            key = (number, bond, 0) if len(positions) >= FEW else (-1, low, high)
            kinds.setdefault(key, []).append((frames, lengths[:, bond], along[:, bond]))
    xy, xx, least = np.zeros((3, frame))
    for key, pieces in kinds.items():
        frames, x, y = (np.concatenate(column) for column in zip(*pieces, strict=True))
        if len(x) < FEW or len(np.unique(frames)) < FEW:
            continue
        x, y = x - np.median(x), y - np.median(y)
        np.add.at(xy, frames, x * y)
        np.add.at(xx, frames, x * x)
        np.add.at(least, frames, 1e-6 if key[0] >= 0 else 1e-3)
    seen = xx > least
    return Stretches(-0.5 * xy[seen] / xx[seen])
