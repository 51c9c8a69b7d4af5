"""Comparing geometries: distances, fingerprints, superposition, bonds."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from ase.data import covalent_radii

from chemscale.structures.lint.evidence.lattices import Lattices

RESOLUTION = {2: 1e-6, 3: 1e-4}
"""Å: distances that agree to this are taken as equal, by number of atoms; 10⁻³ Å from four atoms on.

Two frames of a diatomic agree to 10⁻³ Å by chance as soon as there are some hundred of them."""

CHUNK = 2_000_000
"""Distances that are held at once."""


@lru_cache(maxsize=32)
def pairs_of(atoms: int) -> tuple[np.ndarray, np.ndarray]:
    """Both indices of every pair of atoms, (P,) each."""
    return np.triu_indices(atoms, 1)


def chunks(frames: int, pairs: int) -> Iterator[slice]:
    """Slices of frames that have at most `CHUNK` distances."""
    step = max(1, CHUNK // max(pairs, 1))
    for start in range(0, frames, step):
        yield slice(start, min(frames, start + step))


def distances(positions: np.ndarray, lattices: Lattices | None = None, at: slice = slice(None)) -> np.ndarray:
    """Distances of every pair of atoms of k frames in Å, (k, P); of nearest images in crystals.

    Args:
        positions: (k, n, 3) Å.
        lattices: of all frames, or None for molecules.
        at: which of the frames `positions` holds.
    """
    i, j = pairs_of(positions.shape[1])
    vectors = positions[:, i] - positions[:, j]
    if lattices is not None:
        vectors = lattices.shortest(vectors, at)
    return np.sqrt(np.einsum("kpi,kpi->kp", vectors, vectors))


def fingerprints_and_nearest(
    numbers: np.ndarray, positions: np.ndarray, lattices: Lattices | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Two hashes of each geometry, (k, 2), and the smallest distance in each frame in Å, (k,).

    Hashes are the same under rotation, translation, reflection and reordering, and in crystals under wrapping
    and another choice of cell vectors: sums over pairs of a hash of both elements and the rounded distance.
    The two columns round with an offset of half a step: noise below the resolution changes hardly ever both.

    Args:
        numbers: (n,) atomic numbers.
        positions: (k, n, 3) Å.
        lattices: of the frames, or None for molecules.
    """
    k, n = positions.shape[:2]
    prints = np.zeros((k, 2), np.uint64)
    nearest = np.full(k, np.inf)
    z = numbers.astype(np.uint64)
    prints += _mix(np.array([z.sum()], np.uint64))
    resolution = RESOLUTION.get(n, 1e-3)
    i, j = pairs_of(n)
    low, high = np.minimum(z[i], z[j]), np.maximum(z[i], z[j])
    kind = (low * np.uint64(128) + high) << np.uint64(40)
    for at in chunks(k, len(i)) if n > 1 else ():
        d = distances(positions[at], lattices, at)
        nearest[at] = d.min(axis=1)
        prints[at] += _hashes(d / resolution, kind)
    if lattices is not None:
        lengths = lattices.lengths
        nearest = np.minimum(nearest, lengths[:, 0])
        prints += _hashes(lengths / 1e-3, np.arange(1, 8, dtype=np.uint64) << np.uint64(56))
    return prints, nearest


def fingerprints(numbers: np.ndarray, positions: np.ndarray, lattices: Lattices | None = None) -> np.ndarray:
    """The hashes of `fingerprints_and_nearest`, (k, 2)."""
    return fingerprints_and_nearest(numbers, positions, lattices)[0]


def _hashes(steps: np.ndarray, kind: np.ndarray) -> np.ndarray:
    columns = []
    for offset in (0.137, 0.637):  # off the round numbers that lengths like to be
        whole = np.floor(steps + offset).astype(np.uint64)
        with np.errstate(over="ignore"):
            columns.append(_mix(kind + whole).sum(axis=1, dtype=np.uint64))
    return np.stack(columns, axis=1)


def _mix(x: np.ndarray) -> np.ndarray:
    # The finaliser of SplitMix64: sums of mixed values collide no more often than random numbers.
    with np.errstate(over="ignore"):
        x = (x + np.uint64(0x9E3779B97F4A7C15)).astype(np.uint64)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def array_hashes(arrays: np.ndarray) -> np.ndarray:
    """Hash of each array's exact values, (k,); 0 where all are zero or one is not finite.

    Args:
        arrays: (k, …).
    """
    flat = arrays.reshape(len(arrays), -1) + 0.0  # −0 becomes 0
    bits = np.ascontiguousarray(flat).view(np.uint64)
    with np.errstate(over="ignore"):
        place = _mix(np.arange(bits.shape[1], dtype=np.uint64))
        hashes = _mix(bits ^ place).sum(axis=1, dtype=np.uint64)
    hashes[~np.isfinite(flat).all(axis=1) | ~flat.any(axis=1)] = 0
    return hashes


def nearest_frames(features: np.ndarray, neighbours: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of a frame and one of its nearest others, each pair once: (m,), (m,).

    Args:
        features: (k, f), whose differences measure how far frames are apart.
        neighbours: how many of each frame.
    """
    k = len(features)
    neighbours = min(neighbours, k - 1)
    features = features - features.mean(axis=0)
    norms = np.square(features).sum(axis=1)
    chosen = np.empty((k, neighbours), np.int64)
    for start in range(0, k, 512):
        rows = slice(start, min(k, start + 512))
        far = norms[rows, None] + norms - 2 * features[rows] @ features.T
        far[np.arange(rows.stop - start), np.arange(start, rows.stop)] = np.inf
        chosen[rows] = np.argpartition(far, neighbours - 1, axis=1)[:, :neighbours]
    a, b = np.repeat(np.arange(k), neighbours), chosen.ravel()
    once = np.unique(np.minimum(a, b) * k + np.maximum(a, b))
    return once // k, once % k


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
    i, j = pairs_of(positions.shape[1])
    limit = 1.25 * (covalent_radii[numbers[i]] + covalent_radii[numbers[j]])
    near = np.zeros(len(i))
    for at in chunks(len(positions), len(i)):
        near += (distances(positions[at]) < limit).sum(axis=0)
    chosen = near > 0.9 * len(positions)
    return i[chosen], j[chosen]
