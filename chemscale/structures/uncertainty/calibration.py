"""Whether errors are as large as they are said to be: one factor, and how many lie inside 1 and 2 σ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.stats import norm, t

LEVELS = (1.0, 2.0)
"""Multiples of σ inside of which errors are counted."""


class CalibrationError(ValueError):
    """Errors and deviations that nothing can be said of."""


@dataclass(frozen=True)
class Calibration:
    """A factor of the stated deviations, and what it is worth on errors that it was not fitted to.

    Args:
        factor: α, by which stated deviations are multiplied.
        fitted_on: errors that it was fitted to.
        tested_on: errors that the fractions are of.
        inside: fraction of these inside 1 and 2 calibrated σ.
        inside_stated: likewise of σ as stated, before the factor.
        freedom: degrees of freedom of each deviation, M - 1 of a committee of M; None where it has no noise.
        correlation: Spearman's rank correlation of absolute errors and σ on the errors tested; NaN where σ is
            the same everywhere.
    """

    factor: float
    fitted_on: int
    tested_on: int
    inside: tuple[float, float]
    inside_stated: tuple[float, float]
    freedom: int | None = None
    correlation: float = math.nan

    @property
    def nominal(self) -> tuple[float, float]:
        """Fractions inside 1 and 2 σ that are right: of Student's t where σ itself is of few members."""
        one, two = (expected_inside(level, self.freedom) for level in LEVELS)
        return one, two

    def as_dict(self) -> dict[str, Any]:
        """For JSON, the nominal fractions among it."""
        return asdict(self) | {
            "nominal": list(self.nominal),
            "gaussian": [expected_inside(k) for k in LEVELS],
        }

    def describe(self, title: str) -> str:
        """One line for a person.

        Args:
            title: what was calibrated.
        """
        inside = " and ".join(f"{100 * share:.1f} %" for share in self.inside)
        stated = " and ".join(f"{100 * share:.1f} %" for share in self.inside_stated)
        gaussian = " and ".join(f"{100 * expected_inside(level):.1f} %" for level in LEVELS)
        text = f"{title}: factor {self.factor:.3g}, {inside} inside 1 and 2 σ of {self.tested_on:,}"
        text += f" (as stated {stated}; Gaussian {gaussian}"
        if self.freedom is not None:
            student = " and ".join(f"{100 * share:.1f} %" for share in self.nominal)
            text += f"; Student of {self.freedom + 1} members {student}"
        return text + f"), rank correlation {self.correlation:.2f}"


def expected_inside(level: float, freedom: int | None = None) -> float:
    """Fraction of errors inside `level` σ that a right σ has.

    Args:
        level: multiple of σ.
        freedom: degrees of freedom of σ, which then is an estimate itself: the error divided by it follows
            Student's t. None for a σ without noise: 68.3 % and 95.4 %.
    """
    distribution = norm if freedom is None else t(freedom)
    return float(2 * distribution.cdf(level) - 1)


def fit_factor(errors: np.ndarray, deviations: np.ndarray, freedom: int | None = None) -> float:
    """The α that makes errors most likely as draws of scale α·σ.

    Gaussian: α² = mean (e/σ)². Where σ is the deviation of few members, e/(α·σ) follows Student's t with
    `freedom` degrees, whose variance is infinite for two and below: its likelihood is maximised over ln α
    instead (the factor √(1 + 1/M) between the mean of a committee and a further member is part of α).

    Args:
        errors: (k,) predicted less true.
        deviations: (k,) σ as stated, above 0.
        freedom: degrees of freedom of the deviations; None where they have no noise.

    Raises:
        CalibrationError: as ``paired``.
    """
    errors, deviations = paired(errors, deviations)
    ratios = (errors / deviations) ** 2
    gaussian = math.sqrt(float(ratios.mean()))
    if freedom is None or gaussian == 0:
        return gaussian

    def cost(log_factor: float) -> float:
        inner = np.log1p(ratios * math.exp(-2 * log_factor) / freedom)
        return log_factor + 0.5 * (freedom + 1) * float(inner.mean())

    typical = math.sqrt(max(float(np.median(ratios)), 1e-12 * gaussian**2))
    low, high = math.log(typical) - 5, math.log(gaussian) + 5
    return math.exp(float(minimize_scalar(cost, bounds=(low, high), method="bounded").x))


def inside(errors: np.ndarray, deviations: np.ndarray, levels: Sequence[float] = LEVELS) -> tuple[float, ...]:
    """Fractions of the errors that lie inside multiples of σ.

    Args:
        errors: (k,) predicted less true.
        deviations: (k,) σ, above 0.
        levels: the multiples.

    Raises:
        CalibrationError: as ``paired``.
    """
    errors, deviations = paired(errors, deviations)
    return tuple(float((np.abs(errors) <= level * deviations).mean()) for level in levels)


def calibrate(
    errors: np.ndarray, deviations: np.ndarray, fitted: np.ndarray, freedom: int | None = None
) -> Calibration:
    """Fit the factor on one part of the errors and count on the other.

    Args:
        errors: (k,) predicted less true; NaN where there is no label.
        deviations: (k,) σ as stated.
        fitted: (k,) whether each error is of the part that is fitted to; components of one frame belong
            together.
        freedom: as ``fit_factor``.

    Raises:
        CalibrationError: a part has no error with a label.
    """
    errors, deviations, fitted = np.ravel(errors), np.ravel(deviations), np.ravel(fitted)
    known = np.isfinite(errors) & (deviations != 0)
    here, there = known & fitted, known & ~fitted
    if not here.any() or not there.any():
        raise CalibrationError(
            f"{int(here.sum())} labels to fit a calibration to and {int(there.sum())} to test it on: both "
            "parts need some. Give more held-out frames."
        )
    factor = fit_factor(errors[here], deviations[here], freedom)
    tested, spread = errors[there], deviations[there]
    return Calibration(
        factor=factor,
        fitted_on=int(here.sum()),
        tested_on=int(there.sum()),
        inside=inside(tested, factor * spread),  # type: ignore[arg-type]
        inside_stated=inside(tested, spread),  # type: ignore[arg-type]
        freedom=freedom,
        correlation=rank_correlation(np.abs(tested), spread),
    )


def paired(errors: np.ndarray, deviations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Errors with a label, flat, with their deviations.

    Errors whose deviation is exactly 0 (forces on lone atoms, which are 0 in every model) are left out.

    Args:
        errors: predicted less true, of any shape; NaN where there is no label.
        deviations: σ, of the same shape.

    Raises:
        CalibrationError: no error has a label, or a deviation is below 0 or no number, or all are 0.
    """
    errors, deviations = np.ravel(np.asarray(errors, float)), np.ravel(np.asarray(deviations, float))
    known = np.isfinite(errors)
    if not known.any():
        raise CalibrationError("No frame has a label to compare with.")
    if not (deviations[known] >= 0).all() or not (deviations[known] > 0).any():
        wrong = int((~(deviations[known] > 0)).sum())
        raise CalibrationError(
            f"{wrong:,} of {int(known.sum()):,} deviations are 0 or no number: the members of the committee "
            "are the same, or the file holds no deviations."
        )
    known &= deviations > 0
    return errors[known], deviations[known]


def rank_correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's correlation of the ranks of two variables; NaN where one of them is constant.

    Args:
        x: (k,)
        y: (k,)
    """
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return math.nan
    ranks = [np.argsort(np.argsort(v, kind="stable"), kind="stable").astype(float) for v in (x, y)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])
