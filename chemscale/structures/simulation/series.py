"""Means and slopes of correlated series, with errors that say how correlated they are.

Blocking (Flyvbjerg and Petersen 1989): neighbouring values are averaged in pairs, again and again, until what
is left is uncorrelated; the error of its mean is that of the series. Where that is reached is decided by
Jonsson's test (2018): the lag-one correlations of all further levels together are no larger than chance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2, t

LEVEL = 0.95
"""Of intervals."""
SIGNIFICANCE = 0.05
"""Of the test for correlation that is left at a level."""
BEYOND = 2
"""Levels above the first at which no correlation shows: some too weak for the test is left there."""
LEAST_BLOCKS = 8
"""Blocks of the last level that is looked at."""
SETTLED_BLOCKS = 16
"""Blocks without which an error is called a lower bound: coverage falls below 90 % with fewer."""


@dataclass(frozen=True)
class Estimate:
    """A number from a series.

    Args:
        value: of the mean or the slope.
        error: its standard error; NaN where the series is too short for one.
        half_width: of the interval of 95 %, by Student's t with the blocks that are left.
        blocks: uncorrelated ones; 0 where there are none.
        settled: whether correlations died out within the series. If not, the error is a lower bound.
    """

    value: float
    error: float
    half_width: float
    blocks: int
    settled: bool

    def text(self, unit: str, digits: int = 3) -> str:
        """The number with its standard error, a lower bound said so.

        Args:
            unit: printed behind it.
            digits: that count.
        """
        if not math.isfinite(self.value):
            return "not known"
        if not math.isfinite(self.error):
            return f"{self.value:.{digits}g} {unit} (too short for an error)"
        sign = "±" if self.settled else "± at least"
        return f"{self.value:.{digits}g} {sign} {self.error:.2g} {unit}"


def mean(values: np.ndarray) -> Estimate:
    """Mean of a stationary series.

    Args:
        values: (n,) at equal intervals.
    """
    values = np.asarray(values, dtype=np.float64)
    if not len(values) or not np.isfinite(values).all():
        return Estimate(math.nan, math.nan, math.nan, 0, False)
    return _estimate(float(values.mean()), values, 1.0, parameters=1)


def slope(times: np.ndarray, values: np.ndarray) -> Estimate:
    """Slope of a straight line through a series whose residuals are stationary.

    The variance of the slope is that of the mean of the residuals, by blocking, over the variance of the
    times: what least squares has for white residuals, with the correlated ones' long-run variance in place.

    Args:
        times: (n,) at equal intervals.
        values: (n,).
    """
    times, values = np.asarray(times, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if len(values) < 3 or not np.isfinite(values).all():
        return Estimate(math.nan, math.nan, math.nan, 0, False)
    centred = times - times.mean()
    level = values.mean()
    steepness = float(centred @ (values - level) / (centred @ centred))
    residuals = values - level - steepness * centred
    return _estimate(steepness, residuals, 1 / float(centred.std()), parameters=2)


def _estimate(value: float, series: np.ndarray, factor: float, parameters: int) -> Estimate:
    error, blocks, settled = _blocked_error(series, parameters)
    if not math.isfinite(error):
        return Estimate(value, math.nan, math.nan, 0, False)
    quantile = float(t.ppf(0.5 + LEVEL / 2, max(1, blocks - parameters)))
    return Estimate(value, error * factor, quantile * error * factor, blocks, settled)


def _blocked_error(series: np.ndarray, parameters: int) -> tuple[float, int, bool]:
    """Standard error of the mean, the blocks it rests on, and whether they are uncorrelated."""
    levels = []
    while len(series) >= LEAST_BLOCKS:
        n = len(series)
        deviations = series - series.mean()
        variance = float(deviations @ deviations) / n
        lagged = float(deviations[:-1] @ deviations[1:]) / n
        levels.append((n, variance, lagged))
        series = series[n % 2 :].reshape(-1, 2).mean(axis=1)
    if not levels:
        return math.nan, 0, False
    statistics = [  # Jonsson's M_j, of one degree of freedom each
        n * ((n - 1) * v / n**2 + g) ** 2 / v**2 if v > 0 else 0.0 for n, v, g in levels
    ]
    last = len(levels) - 1
    passed = (
        k for k in range(len(levels)) if sum(statistics[k:]) < chi2.ppf(1 - SIGNIFICANCE, len(levels) - k)
    )
    first = next(passed, None)
    n, variance, _ = levels[last if first is None else min(first + BEYOND, last)]
    return math.sqrt(variance / (n - parameters)), n, first is not None and n >= SETTLED_BLOCKS
