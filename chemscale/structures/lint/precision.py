"""Labels of few digits: rounded, or written as 16-bit numbers; and force arrays that hold positions."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from ase import units

from chemscale.structures.lint.evidence.sampling import Group
from chemscale.structures.lint.findings import Finding, not_checked

MIN_FRAMES = 20
"""Frames of a composition from which on equal values show a rounding."""

COARSE = 0.2
"""Share of the spread of a composition's energies from which on a rounding step makes them useless."""

STEP = 1e-3
"""eV/atom: finer steps of energies do not matter."""

SCALES = {
    "eV": 1.0, "Hartree": units.Hartree, "kcal/mol": units.kcal / units.mol, "kJ/mol": units.kJ / units.mol,
    "Hartree/Bohr": units.Hartree / units.Bohr, "eV/Bohr": 1 / units.Bohr, "Ry": units.Rydberg,
}  # fmt: skip
"""Units in which a file may have held what are eV or eV/Å here."""


def precision_findings(sample: list[Group]) -> list[Finding]:
    """Find rounded labels, 16-bit numbers and positions in the place of forces."""
    found = [*_positions_as_forces(sample), *_rounded_energies(sample), *_half_precision(sample)]
    values = sum(int(np.isfinite(g.energies).sum()) for g in sample)
    if not found and values < MIN_FRAMES:
        found.append(not_checked("precision", f"fewer than {MIN_FRAMES} energies"))
    return found


def _positions_as_forces(sample: list[Group]) -> Iterator[Finding]:
    ratios, seen = [], 0
    for group in sample:
        if len(group.numbers) < 3:
            continue
        k = len(group)
        f = group.forces.reshape(k, -1)
        known = np.isfinite(f).all(axis=1) & f.any(axis=1)
        seen += int(known.sum())
        for centred in (False, True):
            x = group.positions - group.positions.mean(axis=1, keepdims=True) * centred
            x = x.reshape(k, -1)[known]
            c = (f[known] * x).sum(1) / np.maximum(np.square(x).sum(1), 1e-12)
            rest = np.linalg.norm(f[known] - c[:, None] * x, axis=1) / np.linalg.norm(f[known], axis=1)
            if len(rest) and (rest < 1e-5).any():
                ratios.append(c[rest < 1e-5])
                break
    hits = np.concatenate([[], *ratios])
    # A breathing molecule has such forces as well, each frame with a factor of its own.
    many = len(hits) > max(1, 0.1 * seen) or (len(hits) == 1 and np.isclose(hits[0], 1.0))
    if many and np.ptp(hits) <= 1e-4 * np.abs(hits).max():
        yield Finding(
            "constant labels",
            "error",
            f"In {len(hits):,} of {seen:,} sampled frames the force array holds the positions (times "
            f"{hits[0]:.4g}): another array was read, name the right one.",
        )


def _rounded_energies(sample: list[Group]) -> Iterator[Finding]:
    for group in sample:
        energies = np.sort(np.unique(group.energies[np.isfinite(group.energies)]))
        number = int(np.isfinite(group.energies).sum())
        if number < MIN_FRAMES or len(energies) < 2 or len(energies) > 0.5 * number:
            continue
        step, spread = (
            float(np.diff(energies).min()),
            float(group.energies[np.isfinite(group.energies)].std()),
        )
        if step > COARSE * spread or step > STEP * len(group.numbers):
            yield Finding(
                "precision",
                "error" if step > COARSE * spread else "warning",
                f"{number:,} sampled energies of {group.name} take only {len(energies):,} values, {step:.3g} "
                f"eV apart (they spread by {spread:.3g} eV): they were rounded. Write them with more "
                "digits, in 64 bits.",
            )
            return


def _half_precision(sample: list[Group]) -> Iterator[Finding]:
    energies = np.concatenate([[], *(g.energies for g in sample)])
    forces = np.concatenate([[], *(g.forces.ravel()[:20_000] for g in sample)])[:100_000]
    spread = float(
        np.median([np.nanstd(g.energies) for g in sample if np.isfinite(g.energies).sum() > 2] or [0])
    )
    for name, values in (("energies", energies), ("forces", forces)):
        values = values[np.isfinite(values) & (values != 0)]
        values = np.unique(values)
        if len(values) < MIN_FRAMES:
            continue
        for unit, factor in SCALES.items():
            if _halves(values / factor):
                step = float(np.spacing(np.float16(np.abs(values / factor).max())) * factor)
                coarse = name == "energies" and step > COARSE * spread
                yield Finding(
                    "precision",
                    "error" if coarse else "warning",
                    f"All sampled {name} are 16-bit numbers in {unit}: steps of up to {step:.2g} eV"
                    f"{'' if name == 'energies' else '/Å'}. Write labels in 64 bits.",
                )
                break


def _halves(values: np.ndarray) -> bool:
    """Whether all values are 16-bit numbers, and use the digits of such."""
    with np.errstate(over="ignore"):
        half = values.astype(np.float16).astype(float)
    equal = np.isclose(half, values, rtol=1e-6, atol=0)
    return bool(
        equal.mean() > 0.98 and np.mean(np.isclose(_truncated(values), values, rtol=1e-6, atol=0)) < 0.9
    )


def _truncated(values: np.ndarray) -> np.ndarray:
    """Values with six binary digits: whole numbers and quarters have no more."""
    mantissa, exponent = np.frexp(values)
    return np.ldexp(np.round(mantissa * 64) / 64, exponent)
