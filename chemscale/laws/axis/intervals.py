"""The scatter of points around a law, between seeds of one size and between sizes: what intervals rest on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from chemscale.laws import stats
from chemscale.laws.axis.forms import FitError
from chemscale.laws.data.points import MAX_VALUE, MIN_VALUE

LEVEL = 0.95
"""Of every interval."""
MAX_BETA = 5.0
"""Largest exponent that is looked for."""
ROUNDING = 1e-9
"""Spread of log losses below which they are equal."""
POOL = 0.25
"""A lack-of-fit test above this p takes the scatter of sizes and of seeds for one (Bancroft 1964)."""
RESAMPLING = ("auto", "residuals", "seeds", "sizes")


@dataclass(frozen=True)
class SeedSpread:
    """Standard deviation of log loss between seeds of one size (pure error), with its interval at LEVEL."""

    deviation: float
    low: float
    high: float
    freedom: int

    def text(self) -> str:
        """The spread as a note of a report."""
        return (
            f"Seeds of one size differ by {self.deviation:.2%} [{self.low:.2%}, {self.high:.2%}] "
            f"(standard deviation, {self.freedom} degree{'s' if self.freedom > 1 else ''} of freedom)."
        )


@dataclass(frozen=True)
class Scatter:
    """The variance that the intervals of a fit rest on, and how a bootstrap draws it.

    `resampling` is ``residuals`` (a point a size: residuals are drawn), ``seeds`` (each size keeps its number
    of seeds and draws their deviations around the law) or ``sizes`` (a size is drawn with all its seeds,
    since sizes scatter around the law by more than their seeds explain).
    """

    resampling: str
    variance: float
    freedom: int
    size: np.ndarray
    """(n,) the number of the distinct size of each point."""
    residuals: np.ndarray
    lack_of_fit: float | None = None
    """p of the F test that the sizes' means miss the law by no more than their seeds explain."""

    @property
    def reason(self) -> str:
        """What the noise is measured by, and why, as a note of a report."""
        if self.resampling == "residuals":
            return "The noise is measured by residuals: there are no seeds, or they are not told apart."
        p = "" if self.lack_of_fit is None else f" (lack of fit, p = {self.lack_of_fit:.2g} against {POOL:g})"
        if self.resampling == "seeds":
            return f"The noise is measured by seeds: their scatter explains how the sizes miss the law{p}."
        return f"The noise is measured by sizes: sizes miss the law by more than seeds explain{p}."


def refuse_absurd(sizes: np.ndarray, losses: np.ndarray) -> None:
    """Refuse positive sizes and losses that no run has, whose powers leave what a number holds.

    Args:
        sizes: (n,) above 0.
        losses: (n,) above 0.

    Raises:
        FitError: one is outside MIN_VALUE to MAX_VALUE.
    """
    for what, values in (("size", sizes), ("loss", losses)):
        absurd = values[(values < MIN_VALUE) | (values > MAX_VALUE)]
        if len(absurd):
            raise FitError(
                f"A {what} of {absurd[0]:g} is outside {MIN_VALUE:g} to {MAX_VALUE:g}: no law is fitted."
            )


def refuse_equal(losses: np.ndarray) -> None:
    """Refuse losses that do not differ.

    Raises:
        FitError: all are equal to rounding.
    """
    if np.ptp(np.log(losses)) < ROUNDING:
        raise FitError(
            f"All {len(losses)} losses are equal ({losses[0]:g}): nothing depends on size, and no law is "
            "fitted. Look whether the right column or unit was read."
        )


def seed_spread(x: np.ndarray, y: np.ndarray) -> SeedSpread | None:
    """Pure error of log loss where several points share a size (x and y (n,)); None where none do."""
    _, size = np.unique(x, return_inverse=True)
    pure, freedom = _pure_error(np.log(y), size)
    if freedom < 1:
        return None
    tail = (1 - LEVEL) / 2
    low, high = (math.sqrt(pure / stats.chi2.ppf(q, freedom)) for q in (1 - tail, tail))
    return SeedSpread(math.sqrt(pure / freedom), low, high, freedom)


def scatter(x: np.ndarray, residuals: np.ndarray, parameters: int, resampling: str = "auto") -> Scatter:
    """The scatter of residuals around a law.

    Args:
        x: (n,) sizes.
        residuals: (n,) of log loss.
        parameters: of the law.
        resampling: one of ``RESAMPLING``.

    Raises:
        FitError: a resampling that is not known, or one over seeds where no two points share a size.
    """
    if resampling not in RESAMPLING:
        raise FitError(f"resampling={resampling!r} is not known; there are {', '.join(RESAMPLING)}.")
    _, size = np.unique(x, return_inverse=True)
    sizes, n = int(size.max()) + 1, len(x)
    pure, pure_freedom = _pure_error(residuals, size)
    total = float(residuals @ residuals)
    if pure_freedom < 1:
        if resampling in ("seeds", "sizes"):
            raise FitError(f"resampling={resampling!r} needs seeds, but every size has one point.")
        return Scatter("residuals", total / (n - parameters), n - parameters, size, residuals)
    if resampling == "residuals":
        return Scatter("residuals", total / (n - parameters), n - parameters, size, residuals)
    lack, lack_freedom = max(total - pure, 0.0), sizes - parameters
    ratio = math.inf if pure <= 0 else (lack / lack_freedom) / (pure / pure_freedom)
    p = float(stats.f.sf(ratio, lack_freedom, pure_freedom))
    if resampling == "seeds" or (resampling == "auto" and p >= POOL):
        return Scatter("seeds", total / (n - parameters), n - parameters, size, residuals, p)
    return Scatter("sizes", lack / lack_freedom, lack_freedom, size, residuals, p)


def _pure_error(values: np.ndarray, size: np.ndarray) -> tuple[float, int]:
    """Sum of squares around the mean of each size, and its degrees of freedom."""
    counts = np.bincount(size)
    means = np.bincount(size, values) / counts
    return float(np.sum((values - means[size]) ** 2)), len(values) - len(counts)
