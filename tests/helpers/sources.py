"""Readers of data sets under test: blocks joined, forces against energies, files made on the spot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from ase import Atoms
from ase import units as ase_units
from ase.io import write

from chemscale.structures.blocks import Block, Source

KCAL = ase_units.kcal / ase_units.mol
HARTREE, BOHR = ase_units.Hartree, ase_units.Bohr


def whole(source: Source) -> Block:
    """A source of one composition, as one block."""
    blocks = list(source.blocks())
    fields = ("positions", "energies", "forces", "rows", "charges", "spins")
    joined = {key: np.concatenate([getattr(b, key) for b in blocks]) for key in fields}
    for key in ("cells", "pbc", "stresses", "weights"):
        found = [getattr(b, key) for b in blocks]
        joined |= {} if any(each is None for each in found) else {key: np.concatenate(found)}
    return Block(name=blocks[0].name, numbers=blocks[0].numbers, **joined)


def slope(block: Block, frames: int = 300) -> float:
    """Energy differences of neighbouring frames against -F·dx: 1 where forces are -dE/dx, -1 for gradients.

    Neighbours are found by interatomic distances and laid upon each other, as trajectories tumble.
    """
    x = block.positions[:frames] - block.positions[:frames].mean(axis=1, keepdims=True)
    i, j = np.triu_indices(x.shape[1], 1)
    shape = np.linalg.norm(x[:, i] - x[:, j], axis=2)
    pairs = []
    for a in range(len(x)):
        distance = np.linalg.norm(shape - shape[a], axis=1)
        distance[a] = np.inf
        b = int(distance.argmin())
        u, _, v = np.linalg.svd(x[b].T @ x[a])
        turn = u @ np.diag([1, 1, np.sign(np.linalg.det(u @ v))]) @ v
        work = -((block.forces[a] + block.forces[b] @ turn) / 2 * (x[b] @ turn - x[a])).sum()
        pairs.append((distance[b], block.energies[b] - block.energies[a], work))
    _, energy, work = np.array(sorted(pairs))[: len(x) // 2].T
    return float((energy * work).sum() / (work**2).sum())


def springs(frames: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions (k, 2, 3), energies (k,) and true forces of two atoms on a spring, in any units."""
    random = np.random.default_rng(seed)
    positions = np.zeros((frames, 2, 3))
    positions[:, 1, 0] = random.uniform(0.5, 1.5, frames)
    stretch = positions[:, 1, 0] - 1
    forces = np.zeros_like(positions)
    forces[:, 0, 0], forces[:, 1, 0] = stretch, -stretch
    return positions, stretch**2 / 2 - 1, forces


def hdf5(path: Path, groups: dict[str, dict[str, Any]]) -> Path:
    with h5py.File(path, "w") as file:
        for name, arrays in groups.items():
            for key, values in arrays.items():
                file[f"{name}/{key}"] = values
    return path


def ani1x_file(path: Path, **labels: np.ndarray) -> Path:
    positions, _, _ = springs(3)
    return hdf5(path, {"H2": {"atomic_numbers": [1, 1], "coordinates": positions, **labels}})


def extxyz(path: Path, frames: list[Atoms]) -> Path:
    write(path, frames, format="extxyz")
    return path


def molecule(x: float = 0.74, **info: Any) -> Atoms:
    atoms = Atoms("H2", [[0, 0, 0], [x, 0, 0]])
    atoms.info.update(info)
    return atoms
