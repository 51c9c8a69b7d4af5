"""Which explanation of the stresses of neighbouring crystals their energies favour, by likelihood."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import units

from chemscale.structures.lint.evidence.hypotheses import CAP, FLOORS, NAMED, SOUND, WIDTHS
from chemscale.structures.lint.evidence.strains import StrainWork
from chemscale.structures.units import PRESSURE

UNITS = {
    **{f"{name} read as eV/Å³": value for name, value in PRESSURE.items() if name != "eV/Angstrom^3"},
    "eV/Å³ that were converted from GPa once too often": 1 / units.GPa,
    "eV/Å³ that were converted from kbar once too often": 1 / PRESSURE["kbar"],
}
"""What stresses may be instead of eV/Å³, and the factor that makes them so."""

OTHERS = np.concatenate([np.geomspace(1e-7, 0.4, 30), np.geomspace(2.5, 1e5, 22)])
"""Factors without a name."""


@dataclass(frozen=True)
class StressOdds:
    """Logarithms of how much better an explanation does than sound stresses; negative: sound ones do better.

    Args:
        pairs: of frames.
        values: kind of explanation ("compression", "unit", "virial", "order", "unrelated") to its odds.
        best: the kind that does best.
        factor: what makes the stresses right, of the best unit.
        unit: what the best unit is; empty for a factor without a name.
        virial: sign of the virial that does best: −1 for −V·σ.
    """

    pairs: int
    values: dict[str, float]
    best: str
    factor: float
    unit: str
    virial: int


def stress_odds(pairs: StrainWork) -> StressOdds:
    """Compare explanations of the changes of energy between crystals in different cells.

    What the forces do not explain of a change of energy is the work of the stress times a factor, give or
    take a share of the brackets; stresses of other frames explain nothing of it. Distributions are Cauchy's.
    Either sign of the forces is allowed: theirs is checked elsewhere.

    Args:
        pairs: of neighbouring crystals.
    """
    ones, volume = np.ones(len(pairs)), pairs.volume
    sound = _best(pairs, [f * ones for f in SOUND])
    named = [(name, sign * value) for name, value in UNITS.items() for sign in (1, -1)]
    scores = [_best(pairs, [factor * ones]) for _, factor in named]
    scores += [
        _best(pairs, [sign * other * ones]) - NAMED / max(len(pairs), 1)
        for sign in (1, -1)
        for other in OTHERS
    ]
    totals = np.array([s.sum() for s in scores])
    at = int(totals.argmax())
    factors = [factor for _, factor in named] + [sign * other for sign in (1, -1) for other in OTHERS]
    # V·σ where σ should be, of either sign; and σ/V.
    virials = {sign: _best(pairs, [sign / volume, sign * volume]) for sign in (-1, 1)}
    virial = max(virials, key=lambda sign: virials[sign].sum())
    values = {
        "compression": _best(pairs, [-f * ones for f in SOUND]),
        "unit": scores[at],
        "virial": virials[virial],
        "order": _best(pairs, [ones, -ones], reordered=True),
        "unrelated": _unrelated(pairs),
    }
    return StressOdds(
        len(pairs),
        {name: float(np.clip(v - sound, -CAP, CAP).sum()) for name, v in values.items()},
        max(values, key=lambda name: values[name].sum()),
        float(factors[at]),
        named[at][0] if at < len(named) else "",
        virial,
    )


def _best(pairs: StrainWork, ratios: list[np.ndarray], reordered: bool = False) -> np.ndarray:
    """Log-likelihood of each pair under the best of some ratios, widths and signs of the forces, (m,)."""
    ratio = np.stack(ratios)[:, None, None, None]  # (ratios, 1, 1, 1, m)
    work = ratio * (pairs.reordered if reordered else pairs.work)
    bracket = np.abs(ratio) * (pairs.reordered_bracket if reordered else pairs.bracket)
    signs = np.array([1.0, -1.0])[:, None, None, None]
    widths = WIDTHS[:, None, None]
    scale = widths * (bracket + pairs.forces_bracket) + FLOORS[:, None]
    rest = (pairs.change - signs * pairs.of_forces - work) / scale
    values = -np.log(np.broadcast_to(scale, rest.shape)) - np.log1p(np.square(rest))
    totals = values.sum(axis=-1)
    return values[np.unravel_index(int(totals.argmax()), totals.shape)]


def _unrelated(pairs: StrainWork) -> np.ndarray:
    """Log-likelihood of each pair if the stress explains nothing."""
    best = np.full(len(pairs), -np.inf)
    for sign in (1.0, -1.0):
        rest = pairs.change - sign * pairs.of_forces
        typical = np.median(np.abs(rest)) if len(pairs) else 1.0
        scale = typical * np.geomspace(0.2, 5, 12)[:, None] + FLOORS[0]
        values = -np.log(scale) - np.log1p(np.square(rest / scale))
        found = values[int(values.sum(axis=1).argmax())]
        best = found if found.sum() > best.sum() or not len(pairs) else best
    return best
