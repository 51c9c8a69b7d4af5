"""Comparing geometries: fingerprints, superposition, bonds."""

from __future__ import annotations

import numpy as np
from ase.data import covalent_radii
from scipy.spatial import cKDTree

RESOLUTION = 1e-3
"""Å: distances that agree to this are taken as equal."""


def distances(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distances of every pair of atoms of k frames in Å, (k, P), and both indices of the pairs, (P,) each.

    Args:
        positions: (k, n, 3) Å.
    """
    i, j = np.triu_indices(positions.shape[1], 1)
    return np.linalg.norm(positions[:, i] - positions[:, j], axis=2), i, j


def fingerprints(numbers: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Two hashes of each geometry, the same under rotation, translation, reflection and reordering: (k, 2).

    Sums over pairs of a hash of both elements and the rounded distance. The two columns round with an offset
    of half a step: noise below the resolution changes hardly ever both.
    """
    z = numbers.astype(np.uint64)
    if positions.shape[1] < 2:
        single = _mix(np.full((len(positions), 1), z.sum(), np.uint64))
        return np.repeat(single, 2, axis=1)
    d, i, j = distances(positions)
    low, high = np.minimum(z[i], z[j]), np.maximum(z[i], z[j])
    kind = (low * np.uint64(128) + high) << np.uint64(40)
    columns = []
    for offset in (0.0, 0.5):
        steps = np.floor(d / RESOLUTION + offset).astype(np.uint64)
        with np.errstate(over="ignore"):
            columns.append(_mix(kind + steps).sum(axis=1, dtype=np.uint64))
    return np.stack(columns, axis=1)


def _mix(x: np.ndarray) -> np.ndarray:
    # The finaliser of SplitMix64: sums of mixed values collide no more often than random numbers.
    with np.errstate(over="ignore"):
        x = (x + np.uint64(0x9E3779B97F4A7C15)).astype(np.uint64)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def nearest_frames(positions: np.ndarray) -> np.ndarray:
    """For each frame the other one whose distances between atoms are most alike, (k,).

    Args:
        positions: (k, n, 3) Å.
    """
    d, _, _ = distances(positions)
    _, index = cKDTree(d).query(d, k=2)
    own = np.arange(len(positions))
    return np.where(index[:, 1] == own, index[:, 0], index[:, 1])


def superposition(moving: np.ndarray, fixed: np.ndarray) -> np.ndarray:
    """Rotations Q, (k, 3, 3), with moving @ Q nearest to fixed (Kabsch 1976).

    Args:
        moving: (k, n, 3), centred.
        fixed: (k, n, 3), centred.
    """
    u, _, vt = np.linalg.svd(np.einsum("kni,knj->kij", moving, fixed))
    sign = np.sign(np.linalg.det(u @ vt))
    u[:, :, 2] *= sign[:, None]
    return u @ vt


def bonds(numbers: np.ndarray, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of atoms that are bonded in most of k frames: within 1.25 times the sum of covalent radii.

    Args:
        numbers: (n,) atomic numbers.
        positions: (k, n, 3) Å.

    Returns:
        Both indices of each pair.
    """
    d, i, j = distances(positions)
    near = d < 1.25 * (covalent_radii[numbers[i]] + covalent_radii[numbers[j]])
    chosen = near.mean(0) > 0.9
    return i[chosen], j[chosen]
