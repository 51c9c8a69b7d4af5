"""Toy frames of another level of theory: energies shifted by element; and with another element."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import write

from tests.helpers.structures import springs, toy_blocks

ACETYLENE = (np.array([6, 6, 1, 1]), np.array([[0.0, 0, 0], [1.2, 0, 0], [-1.06, 0, 0], [2.26, 0, 0]]))
AMMONIA = (
    np.array([7, 1, 1, 1]),
    np.array([[0.0, 0, 0.1], [0.94, 0, -0.27], [-0.47, 0.81, -0.27], [-0.47, -0.81, -0.27]]),
)
NITROGEN = -1480.0
"""eV of the toy's nitrogen atom."""


def toy_frames(
    frames: int = 12, *, offsets: Mapping[int, float] | None = None, ammonia: bool = False, seed: int = 3
) -> list[Atoms]:
    """Distorted water, methanol and acetylene (compositions determine H, C and O), with labels.

    Args:
        frames: of each molecule.
        offsets: eV by atomic number that are added to the energies.
        ammonia: whether there is ammonia as well.
        seed: of the distortions.
    """
    random = np.random.default_rng(seed)
    found = []
    for block in toy_blocks(frames, seed=seed):
        for positions, energy, forces in zip(block.positions, block.energies, block.forces, strict=True):
            found.append(labelled(block.numbers, positions, float(energy), forces))
    more = [(ACETYLENE, 2 * -1036.0 + 2 * -13.6)] + [(AMMONIA, NITROGEN + 3 * -13.6)] * ammonia
    for (numbers, rest), base in more:
        for positions in rest + random.normal(0, 0.08, (frames, *rest.shape)):
            energy, forces = springs(rest, positions)
            found.append(labelled(numbers, positions, energy + base, forces))
    for atoms in found:
        atoms.info["REF_energy"] += sum((offsets or {}).get(int(z), 0.0) for z in atoms.numbers)
    return found


def labelled(numbers: np.ndarray, positions: np.ndarray, energy: float, forces: np.ndarray) -> Atoms:
    """Atoms with labels as ``REF_energy`` and ``REF_forces``."""
    atoms = Atoms(numbers, positions, info={"REF_energy": energy})
    atoms.arrays["REF_forces"] = forces
    return atoms


def toy_file(path: Path, *given: int, **options: object) -> Path:
    """Write ``toy_frames`` as extended XYZ."""
    write(path, toy_frames(*given, **options), format="extxyz")  # type: ignore[arg-type]
    return path
