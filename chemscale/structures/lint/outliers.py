"""Frames whose labels stand far from all others."""

from __future__ import annotations

import numpy as np

from chemscale.structures.lint.evidence.sampling import Group
from chemscale.structures.lint.findings import Finding, not_checked

DEVIATIONS = 12.0
"""Robust standard deviations (1.4826 MAD) of the energy an atom, after reference energies are fitted."""

MIN_FRAMES = 20
"""Labels below which nothing is an outlier."""

LARGE_ENERGY, LARGE_FORCE = 0.3, 60.0
"""eV an atom, eV/Å: below these nothing is an outlier, however narrow the rest is."""


def outlier_findings(sample: list[Group]) -> list[Finding]:
    """Find energies far from the fit of reference energies, and forces far beyond those of other frames."""
    energies = sum(int(np.isfinite(g.energies).sum()) for g in sample)
    forces = sum(int(np.isfinite(g.forces).all(axis=(1, 2)).sum()) for g in sample)
    if max(energies, forces) < MIN_FRAMES:
        return [not_checked("outliers", f"fewer than {MIN_FRAMES} frames with labels")]
    return [*_energies([g for g in sample if g.periodic or len(g.numbers) > 1]), *_forces(sample)]


def _energies(sample: list[Group]) -> list[Finding]:
    elements = sorted({int(z) for group in sample for z in group.numbers})
    counts, energies, places = [], [], []
    for group in sample:
        row = [int((group.numbers == z).sum()) for z in elements]
        for energy, number in zip(group.energies, group.rows, strict=True):
            if np.isfinite(energy):
                counts.append(row)
                energies.append(energy)
                places.append(f"{group.name}, row {number}")
    if len(energies) < MIN_FRAMES:
        return []
    x, y = np.array(counts, dtype=float), np.array(energies)
    keep = np.ones(len(y), bool)
    for _ in range(3):  # an outlier must not pull the fit towards itself
        solution = np.linalg.lstsq(x[keep], y[keep], rcond=1e-9)[0]
        residual = (y - x @ solution) / x.sum(1)
        centre = np.median(residual)
        spread = 1.4826 * np.median(np.abs(residual - centre)) + 1e-9
        keep = np.abs(residual - centre) < 5 * spread
        if not keep.any():
            return []
    far = np.abs(residual - centre)
    wild = (far > DEVIATIONS * spread) & (far > LARGE_ENERGY)
    if not wild.any():
        return []
    worst = int(np.argmax(far))
    return [
        Finding(
            "outliers",
            "warning",
            f"{int(wild.sum()):,} of {len(y):,} sampled energies are more than {DEVIATIONS:g} robust "
            f"deviations from the fit of reference energies; worst {residual[worst] - centre:+.2f} eV/atom: "
            f"{places[worst]}. Look at it: a calculation that did not converge, or a broken molecule.",
        )
    ]


def _forces(sample: list[Group]) -> list[Finding]:
    largest, places = [], []
    for group in sample:
        norms = np.linalg.norm(group.forces, axis=2).max(axis=1)
        for value, number in zip(norms, group.rows, strict=True):
            if np.isfinite(value):
                largest.append(value)
                places.append(f"{group.name}, row {number}")
    if len(largest) < MIN_FRAMES:
        return []
    values = np.array(largest)
    wild = (values > 20 * np.median(values)) & (values > LARGE_FORCE)
    if not wild.any():
        return []
    worst = int(np.argmax(values))
    return [
        Finding(
            "outliers",
            "warning",
            f"{int(wild.sum()):,} of {len(values):,} sampled frames have forces 20 times the usual; worst "
            f"{values[worst]:.0f} eV/Å: {places[worst]}. Remove them or clip their loss (loss.kind=huber).",
        )
    ]
