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

WIDEST = 0.1
"""Uncertainty of the work of stresses at most, as a share of its bracket: answers to strain are linear."""

MIN_PRESSURE = 0.3 * units.GPa
"""eV/Å³: a constant pressure below it is what anharmonicity looks like."""

CLOSE = 5.0
"""Logarithms by which explanations must differ to be told apart."""

OTHERS = np.concatenate([np.geomspace(1e-7, 0.4, 30), np.geomspace(2.5, 1e5, 22)])
"""Factors without a name."""


@dataclass(frozen=True)
class StressOdds:
    """Logarithms of how much better an explanation does than sound stresses; negative: sound ones do better.

    Args:
        pairs: of frames.
        values: kind of explanation ("compression", "unit", "virial", "order", "pressure", "unrelated") to its
            odds.
        best: the kind that does best.
        also: other kinds within `CLOSE` of it.
        factor: what makes the stresses right, of the best unit.
        unit: what the best unit is; empty for a factor without a name.
        virial: sign of the virial that does best: −1 for −V·σ.
        pressure: eV/Å³ that stresses lack in every frame, of the best such explanation.
    """

    pairs: int
    values: dict[str, float]
    best: str
    also: tuple[str, ...]
    factor: float
    unit: str
    virial: int
    pressure: float


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
    others = [sign * other for sign in (1, -1) for other in OTHERS]
    scores += [_best(pairs, [other * ones]) - NAMED / max(len(pairs), 1) for other in others]
    at = int(np.argmax([s.sum() for s in scores]))
    factors = [factor for _, factor in named] + others
    # V·σ where σ should be, of either sign; and σ/V.
    virials = {sign: _best(pairs, [sign / volume, sign * volume]) for sign in (-1, 1)}
    virial = max(virials, key=lambda sign: virials[sign].sum())
    lacking = _constant_pressure(pairs)
    values = {
        "compression": _best(pairs, [-f * ones for f in SOUND]),
        "unit": scores[at],
        "virial": virials[virial],
        "order": _best(pairs, [ones, -ones], reordered=True),
        "pressure": _best(pairs, [ones], offset=lacking) if abs(lacking) > MIN_PRESSURE else sound - CAP,
        "unrelated": _unrelated(pairs),
    }
    sums = {name: float(v.sum()) for name, v in values.items()}
    best = max(sums, key=lambda name: sums[name])
    return StressOdds(
        len(pairs),
        {name: float(np.clip(v - sound, -CAP, CAP).sum()) for name, v in values.items()},
        best,
        tuple(name for name in sums if name != best and sums[name] > sums[best] - CLOSE),
        float(factors[at]),
        named[at][0] if at < len(named) else "",
        virial,
        lacking,
    )


def _constant_pressure(pairs: StrainWork) -> float:
    """Pressure whose work is what stresses and forces leave of the changes of energy: a weighted median."""
    weights = np.abs(pairs.dilation)
    if not weights.sum():
        return 0.0
    at = weights > 1e-9 * weights.max()
    values = ((pairs.change - pairs.of_forces - pairs.work)[at]) / pairs.dilation[at]
    order = np.argsort(values)
    half = np.searchsorted(np.cumsum(weights[at][order]), weights[at].sum() / 2)
    return float(values[order][min(int(half), len(order) - 1)])


def _best(
    pairs: StrainWork, ratios: list[np.ndarray], reordered: bool = False, offset: float = 0.0
) -> np.ndarray:
    """Log-likelihood of each pair under the best of some ratios, widths and signs of the forces, (m,)."""
    ratio = np.stack(ratios)[:, None, None, None]  # (ratios, 1, 1, 1, m)
    work = ratio * (pairs.reordered if reordered else pairs.work)
    bracket = np.abs(ratio) * (pairs.reordered_bracket if reordered else pairs.bracket)
    signs = np.array([1.0, -1.0])[:, None, None, None]
    widths = WIDTHS[:, None, None]
    scale = np.minimum(widths, WIDEST) * bracket + widths * pairs.forces_bracket + FLOORS[:, None]
    rest = (pairs.change - signs * pairs.of_forces - work - offset * pairs.dilation) / scale
    values = -np.log(np.broadcast_to(scale, rest.shape)) - np.log1p(np.square(rest))
    totals = values.sum(axis=-1)
    return values[np.unravel_index(int(totals.argmax()), totals.shape)]


def _unrelated(pairs: StrainWork) -> np.ndarray:
    """Log-likelihood of each pair if stresses explain nothing beyond their average over frames."""
    best = np.full(len(pairs), -np.inf)
    for sign, average in ((1.0, 0.0), (-1.0, 0.0), (1.0, 1.0), (1.0, -1.0)):
        rest = pairs.change - sign * pairs.of_forces - average * pairs.average
        typical = np.median(np.abs(rest)) if len(pairs) else 1.0
        scale = typical * np.geomspace(0.2, 5, 12)[:, None] + FLOORS[0]
        values = -np.log(scale) - np.log1p(np.square(rest / scale))
        found = values[int(values.sum(axis=1).argmax())]
        best = found if found.sum() > best.sum() or not len(pairs) else best
    return best
