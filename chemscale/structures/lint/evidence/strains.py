"""Work of the stress between neighbouring crystals in different cells, beside the change of energy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np

from chemscale.structures.lint.evidence.geometry import nearest_frames
from chemscale.structures.lint.evidence.neighbours import NEAR, NEIGHBOURS
from chemscale.structures.lint.evidence.sampling import Group

MAX_STRAIN, MIN_STRAIN = 0.2, 1e-5
"""Largest component of the strain between two frames that are compared."""

STILL = 1e-3
"""Å: root mean square displacement within the cell up to which no forces are needed."""


@dataclass(frozen=True)
class StrainWork:
    """Pairs of neighbouring crystals, each frame in one pair at most: m pairs.

    Of every quantity half the sum over both frames is taken, and half the difference is its bracket: in a
    smooth potential the integral between the frames is within a part of it.

    Args:
        work: (m,) eV, V σ:ε.
        bracket: (m,) eV, of the work.
        reordered: (m,) eV, the work if the last three numbers of each stress stood in the order xy, yz, xz.
        reordered_bracket: (m,) eV.
        average: (m,) eV, the work of the median pressure of all frames: what stresses of other rows have.
        dilation: (m,) Å³, the work of a unit of pressure under tension.
        change: (m,) eV, of the energy.
        of_forces: (m,) eV by which the forces change the energy when atoms move within the cell.
        forces_bracket: (m,) eV.
        volume: (m,) Å³, mean of both cells.
    """

    work: np.ndarray
    bracket: np.ndarray
    reordered: np.ndarray
    reordered_bracket: np.ndarray
    average: np.ndarray
    dilation: np.ndarray
    change: np.ndarray
    of_forces: np.ndarray
    forces_bracket: np.ndarray
    volume: np.ndarray

    def __len__(self) -> int:
        return len(self.work)


def strain_work(sample: list[Group]) -> StrainWork:
    """Compare neighbouring crystals of every group whose cells differ by a small strain.

    On the straight path between two frames, in cells h (rows) and fractional coordinates s, the energy
    changes by dE = V σ : h⁻¹ dh − Σ f·(ds h) (Nielsen and Martin 1985).

    Args:
        sample: groups of one composition in one order each.
    """
    pieces = [piece for group in sample for piece in _pieces(group)]
    names = [f.name for f in fields(StrainWork)]
    return StrainWork(**{name: np.concatenate([[], *(p[name] for p in pieces)]) for name in names})


def _pieces(group: Group) -> Iterator[dict[str, np.ndarray]]:
    if group.stresses is None or group.cells is None or group.pbc is None:
        return
    whole = np.isfinite(group.energies) & np.isfinite(group.stresses).all(axis=(1, 2))
    whole &= group.pbc.all(axis=1) & (np.abs(np.linalg.det(group.cells)) > 1e-6)
    whole &= (group.stresses != 0).any(axis=(1, 2))  # zeros are no stresses
    if whole.sum() < 2:
        return
    group = group.select(whole)
    assert group.cells is not None
    scaled = group.positions @ np.linalg.inv(group.cells)
    lengths = np.linalg.norm(group.cells.mean(axis=0), axis=1) / (2 * np.pi)
    turned = [np.cos(2 * np.pi * scaled) * lengths, np.sin(2 * np.pi * scaled) * lengths]
    # Atoms within the cell, and the cell itself as its edges would move atoms on average.
    shape = group.cells.reshape(len(group), 9) * np.sqrt(len(group.numbers) / 3)
    features = np.concatenate([t.reshape(len(group), -1) for t in turned] + [shape], axis=1)
    a, b = nearest_frames(features, NEIGHBOURS)
    found = _compare(group, scaled, a, b)
    strained = (found["strain"] < MAX_STRAIN) & (found["strain"] > MIN_STRAIN)
    kept = np.flatnonzero(strained & (found["moved"] < NEAR) & np.isfinite(found["of_forces"]))
    uncertain = (found["bracket"] + found["forces_bracket"]) / (np.abs(found["work"]) + 1e-12)
    chosen = kept[_disjoint(a[kept], b[kept], uncertain[kept])]
    yield {key: values[chosen] for key, values in found.items() if key not in ("strain", "moved")}


def _compare(group: Group, scaled: np.ndarray, a: np.ndarray, b: np.ndarray) -> dict[str, np.ndarray]:
    """Everything about pairs of frames, the second one turned into the directions of the first."""
    assert group.cells is not None
    assert group.stresses is not None
    one, two = group.cells[a], group.cells[b]
    left, _, right = np.linalg.svd(np.linalg.solve(one, two))
    turn = left @ right  # two = one S R: R of the polar decomposition
    back = np.swapaxes(turn, 1, 2)
    two = two @ back
    first, second = np.linalg.solve(one, two - one), np.linalg.solve(two, two - one)
    volumes = np.abs(np.linalg.det(one)), np.abs(np.linalg.det(two))
    found: dict[str, np.ndarray] = {}
    for name, stresses in (("work", group.stresses), ("reordered", _reordered(group.stresses))):
        start = volumes[0] * np.einsum("kij,kij->k", stresses[a], first)
        end = volumes[1] * np.einsum("kij,kij->k", turn @ stresses[b] @ back, second)
        found[name] = (start + end) / 2
        found["bracket" if name == "work" else "reordered_bracket"] = np.abs(end - start) / 2
    dilation = sum(v * np.einsum("kii->k", e) for v, e in zip(volumes, (first, second), strict=True)) / 2
    found["dilation"] = dilation
    found["average"] = dilation * np.median(np.einsum("kii->k", group.stresses) / 3)
    step = scaled[b] - scaled[a]
    step -= np.rint(step)
    step -= step.mean(axis=1, keepdims=True)
    step -= np.rint(step)
    moved = np.sqrt(np.square(step @ one).sum(axis=2).mean(axis=1))
    start = -(group.forces[a] * (step @ one)).sum(axis=(1, 2))
    end = -((group.forces[b] @ back) * (step @ two)).sum(axis=(1, 2))
    still = moved < STILL
    found["of_forces"] = np.where(still & ~np.isfinite(start + end), 0.0, (start + end) / 2)
    found["forces_bracket"] = np.where(still & ~np.isfinite(start + end), 0.0, np.abs(end - start) / 2)
    found["strain"] = np.abs((first + np.swapaxes(first, 1, 2)) / 2).max(axis=(1, 2))
    found["moved"] = moved
    found["change"] = group.energies[b] - group.energies[a]
    found["volume"] = (volumes[0] + volumes[1]) / 2
    return found


def _reordered(stresses: np.ndarray) -> np.ndarray:
    """Stresses whose numbers yz, xz, xy were really xy, yz, xz, as VASP prints them."""
    found = stresses.copy()
    for (i, j), (p, q) in {(0, 1): (1, 2), (1, 2): (0, 2), (0, 2): (0, 1)}.items():
        found[:, i, j] = found[:, j, i] = stresses[:, p, q]
    return found


def _disjoint(a: np.ndarray, b: np.ndarray, uncertain: np.ndarray) -> np.ndarray:
    """Pairs that share no frame, those first whose work is known best."""
    used: set[int] = set()
    chosen = []
    for pair in np.argsort(uncertain, kind="stable"):
        first, second = int(a[pair]), int(b[pair])
        if first not in used and second not in used:
            used |= {first, second}
            chosen.append(int(pair))
    return np.array(chosen, int)
