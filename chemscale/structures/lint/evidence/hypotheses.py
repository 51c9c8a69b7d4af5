"""Which of a few explanations the labels of neighbouring frames favour, by likelihood."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chemscale.structures.lint.evidence.neighbours import Work

WIDTHS = np.geomspace(1e-3, 0.5, 10)
"""Uncertainty of the work as a share of its bracket: 0.05 to 0.2 in molecular dynamics; tried in turn."""

SOUND = np.array([0.8, 0.9, 1.0, 1.1, 1.25])
"""Ratios of ΔE to work that curvature alone brings about."""

FLOORS = np.array([1e-4, 1e-3, 1e-2])
"""eV: noise of energies, tried in turn; tiny steps of a trajectory drown in it."""

CAP = 4.0
"""Natural logarithms that one pair of frames may add to an odds ratio: no frame decides alone."""


NAMED = 10.0
"""Logarithms by which a ratio without a name must do better than one that two units make."""


@dataclass(frozen=True)
class Odds:
    """Logarithms of how much better an explanation does than sound labels; negative: sound labels do better.

    Args:
        pairs: of frames.
        unrelated: that energies and forces belong to different frames.
        gradients: that forces are gradients, in whatever unit.
        scaled: that energies and forces are in different units.
        ratio: ΔE over work, of the best scaled explanation.
        best: which of the three does best: its name.
    """

    pairs: int
    unrelated: float
    gradients: float
    scaled: float
    ratio: float
    best: str


def odds(pairs: Work, named: np.ndarray, others: np.ndarray) -> Odds:
    """Compare explanations of the changes of energy of neighbouring frames.

    A change of energy is the work times the ratio that the explanation states, give or take a share of the
    bracket; where labels belong to other frames it is around zero, whatever the work. Distributions are
    Cauchy's, so that a few wild frames count little; shares and spreads are those that fit best.

    Args:
        pairs: of neighbouring frames.
        named: ratios of two units that may have been mixed up.
        others: ratios of no such units.
    """
    sound = _best(pairs, SOUND)
    scores = [_best(pairs, np.array([f])) for f in (*named, *others)]
    totals = np.array([s.sum() for s in scores])
    totals[len(named) :] -= NAMED
    scaled = int(np.argmax(totals))
    values = {
        "unrelated": _unrelated(pairs),
        "gradients": _best(pairs, np.concatenate([-SOUND, -named])),
        "scaled": scores[scaled],
    }
    capped = {name: float(np.clip(v - sound, -CAP, CAP).sum()) for name, v in values.items()}
    best = max(values, key=lambda name: values[name].sum())
    return Odds(len(pairs), **capped, ratio=float((*named, *others)[scaled]), best=best)


def _best(pairs: Work, ratios: np.ndarray) -> np.ndarray:
    """Log-likelihood of each pair under the best of some ratios and widths, (m,)."""
    bracket = np.abs(ratios)[:, None, None, None] * WIDTHS[:, None, None] * pairs.bracket
    scale = bracket + FLOORS[:, None]  # (ratios, widths, floors, m)
    rest = (pairs.change - ratios[:, None] * pairs.work)[:, None, None] / scale
    values = -np.log(scale) - np.log1p(np.square(rest))
    totals = values.sum(axis=3)
    return values[np.unravel_index(int(totals.argmax()), totals.shape)]


def _unrelated(pairs: Work) -> np.ndarray:
    typical = np.median(np.abs(pairs.change)) if len(pairs) else 1.0
    scale = typical * np.geomspace(0.2, 5, 12)[:, None] + FLOORS[0]
    values = -np.log(scale) - np.log1p(np.square(pairs.change / scale))
    return values[int(values.sum(axis=1).argmax())]
