"""Work of the forces between neighbouring frames, beside the change of energy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from ase.data import covalent_radii

from chemscale.structures.lint.evidence.geometry import nearest_frames, pairs_of, superposition
from chemscale.structures.lint.evidence.lattices import Lattices, completed
from chemscale.structures.lint.evidence.sampling import Group

NEIGHBOURS = 8
"""Nearest frames that each frame is compared with; of these pairs one is chosen."""

MAX_ATOMS = 40
"""Molecules beyond are compared in Cartesian coordinates, superposed: the equations grow with the cube."""

NEAR = 0.30
"""Å: root mean square displacement of an atom up to which Cartesian coordinates are trusted."""

SPREAD = 3.0
"""eV: least bracket of a pair over its squared step in inverse distances. Thermal motion stretches bonds, and
has 5 to 40; relaxed conformers have hardly any force though their energies differ, and tell nothing."""

CARTESIAN_SPREAD = 0.5
"""eV/Å²: the same in Cartesian coordinates."""

BUDGET = 40_000_000
"""Numbers in the arrays of coordinates that are compared: larger systems are compared in fewer frames."""


@dataclass(frozen=True)
class Work:
    """Pairs of neighbouring frames, each frame in one pair at most: m pairs.

    Args:
        work: (m,) eV that the mean force does on the way from one to the other.
        bracket: (m,) eV by which the two forces alone would differ from it, half their disagreement: in a
            smooth potential the change of energy is within a part of it.
        change: (m,) eV, of the energy.
    """

    work: np.ndarray
    bracket: np.ndarray
    change: np.ndarray

    def __len__(self) -> int:
        return len(self.work)


def neighbour_work(sample: list[Group]) -> Work:
    """Compare neighbouring frames of every group.

    Molecules are compared in inverse distances between atoms, which follow rotations and torsions; forces are
    turned into forces along these by least squares. Crystals are compared in Cartesian coordinates with the
    same cell, by nearest images.

    Args:
        sample: groups of one composition in one order each.
    """
    pieces = [piece for group in sample for piece in _pieces(group)]
    columns = list(zip(*pieces, strict=True)) or [[], [], []]
    return Work(*(np.concatenate([[], *column]) for column in columns))


def _pieces(group: Group) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    n = len(group.numbers)
    whole = np.isfinite(group.energies) & np.isfinite(group.forces).all(axis=(1, 2))
    whole &= (group.forces != 0).any(axis=(1, 2))  # zeros are no forces
    if whole.sum() < 2 or n < 2:
        return
    group = group.select(whole)
    width = n * (n - 1) // 2 if not group.periodic else 6 * n
    group = group.select(np.arange(len(group)) < max(2, BUDGET // max(width, 1)))
    for members in _same_cell(group):
        if len(members) < 2:
            continue
        part = group.select(members)
        if part.periodic:
            compared = _crystals(part)
        else:
            compared = _molecules(part) if n <= MAX_ATOMS else _large_molecules(part)
        a, b, work, bracket = compared
        chosen = _disjoint(a, b, bracket)
        change = part.energies[b] - part.energies[a]
        yield work[chosen], bracket[chosen], change[chosen]


def _same_cell(group: Group) -> list[np.ndarray]:
    if group.cells is None or group.pbc is None:
        return [np.arange(len(group))]
    rows = np.concatenate([np.round(group.cells.reshape(-1, 9), 6), group.pbc], axis=1)
    kind = np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1)
    order = np.argsort(kind, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(kind[order])) + 1)


def _disjoint(a: np.ndarray, b: np.ndarray, bracket: np.ndarray) -> np.ndarray:
    """Pairs that share no frame, the least uncertain ones first."""
    used: set[int] = set()
    chosen = []
    for pair in np.argsort(bracket, kind="stable"):
        first, second = int(a[pair]), int(b[pair])
        if first not in used and second not in used:
            used |= {first, second}
            chosen.append(int(pair))
    return np.array(chosen, int)


Compared = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def _molecules(group: Group) -> Compared:
    number = len(pairs_of(len(group.numbers))[0])
    q, f = np.empty((len(group), number)), np.empty((len(group), number))
    step = max(1, BUDGET // 8 // (9 * len(group.numbers) ** 2))
    for start in range(0, len(group), step):
        at = slice(start, start + step)
        q[at], f[at] = _inverse_distances(group.numbers, group.positions[at], group.forces[at])
    a, b = nearest_frames(q, NEIGHBOURS)
    moved = q[b] - q[a]
    work = 0.5 * ((f[a] + f[b]) * moved).sum(1)
    bracket = np.abs(0.5 * ((f[b] - f[a]) * moved).sum(1))
    size = np.square(moved).sum(axis=1)
    kept = (size > 1e-12) & (bracket > SPREAD * size)
    return a[kept], b[kept], -work[kept], bracket[kept]


def _inverse_distances(
    numbers: np.ndarray, positions: np.ndarray, forces: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Inverse distances of all pairs in units of their bond lengths, (k, P), and the forces along them in eV.

    Of all forces along pairs that make up the atoms' forces those of least norm are taken.
    """
    k, n = positions.shape[:2]
    i, j = pairs_of(n)
    vectors = positions[:, i] - positions[:, j]
    d = np.maximum(np.linalg.norm(vectors, axis=2), 0.05)
    q = (covalent_radii[numbers[i]] + covalent_radii[numbers[j]]) / d
    slope = (-q / np.square(d))[:, :, None] * vectors  # ∂q/∂x of the first atom
    outer = slope[:, :, :, None] * slope[:, :, None, :]
    by_atom = np.zeros((k, n, n, 3, 3))
    by_atom[:, i, j] = by_atom[:, j, i] = -outer
    own = np.arange(n)
    by_atom[:, own, own] = -by_atom.sum(axis=2)
    metric = by_atom.transpose(0, 1, 3, 2, 4).reshape(k, 3 * n, 3 * n)
    diagonal = np.arange(3 * n)
    metric[:, diagonal, diagonal] += 1e-9 * np.trace(metric, axis1=1, axis2=2)[:, None]
    held = forces - forces.mean(axis=1, keepdims=True)
    y = np.linalg.solve(metric, held.reshape(k, 3 * n, 1)).reshape(k, n, 3)
    return q, (slope * (y[:, i] - y[:, j])).sum(axis=2)


def _large_molecules(group: Group) -> Compared:
    positions = group.positions - group.positions.mean(axis=1, keepdims=True)
    i, j = pairs_of(len(group.numbers))
    chosen = np.random.default_rng(0).permutation(len(i))[:2000]
    far = np.linalg.norm(positions[:, i[chosen]] - positions[:, j[chosen]], axis=2)
    a, b = nearest_frames(far, NEIGHBOURS)
    turn = superposition(positions[b], positions[a])
    return _cartesian(a, b, positions[b] @ turn - positions[a], group.forces[a], group.forces[b] @ turn)


def _crystals(group: Group) -> Compared:
    assert group.cells is not None
    assert group.pbc is not None
    cell = completed(group.cells[:1], group.pbc[:1])[0]  # of all frames
    angles = 2 * np.pi * (group.positions @ np.linalg.inv(cell)) * group.pbc[:, None]
    lengths = np.linalg.norm(cell, axis=1) / (2 * np.pi) * group.pbc[0]
    features = np.concatenate(
        [np.cos(angles) * lengths, np.sin(angles) * lengths, group.positions * ~group.pbc[:, None]], axis=2
    )
    a, b = nearest_frames(features.reshape(len(group), -1), NEIGHBOURS)
    step = Lattices(group.cells, group.pbc).shortest(group.positions[b] - group.positions[a], b)
    step -= step.mean(axis=1, keepdims=True)
    return _cartesian(a, b, step, group.forces[a], group.forces[b])


def _cartesian(a: np.ndarray, b: np.ndarray, step: np.ndarray, one: np.ndarray, two: np.ndarray) -> Compared:
    size = np.square(step).sum((1, 2))
    work = 0.5 * ((one + two) * step).sum((1, 2))
    bracket = np.abs(0.5 * ((two - one) * step).sum((1, 2)))
    near = (size < step.shape[1] * NEAR**2) & (size > 1e-12) & (bracket > CARTESIAN_SPREAD * size)
    return a[near], b[near], -work[near], bracket[near]
