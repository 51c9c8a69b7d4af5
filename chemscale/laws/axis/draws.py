"""Intervals of a broken law by a bootstrap: noise of the size that its points show, refits, percentiles."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from chemscale.laws import stats
from chemscale.laws.axis.broken import box
from chemscale.laws.axis.forms import Broken
from chemscale.laws.axis.intervals import LEVEL, Scatter
from chemscale.laws.axis.region import Interval


@dataclass(frozen=True)
class Draws:
    """Refits of a bootstrap around a broken law.

    Args:
        form: of the law.
        x: (n,) sizes.
        y: (n,) losses.
        theta: (draws, p) refitted parameters.
    """

    form: Broken
    x: np.ndarray
    y: np.ndarray
    theta: np.ndarray

    def interval(self, name: str) -> Interval:
        """Percentiles of a parameter; None for a side at which they reach the end of what was searched."""
        place = self.form.parameters.index(name)
        tail = 50 * (1 - LEVEL)
        with np.errstate(invalid="ignore"):
            sides = np.percentile(self.theta[:, place], [tail, 100 - tail])
        ends = [self.form.reported(end)[place] for end in box(self.form, np.log(self.x), self.y)]
        reached = np.isclose(sides, ends, rtol=1e-3, atol=0)
        if name == "a":  # no loss lies below 0: that end is known
            reached[0] = False
        low, high = (
            None if end_reached or not math.isfinite(side) else float(side)
            for side, end_reached in zip(sides, reached, strict=True)
        )
        return low, high

    def band(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Percentiles of the loss (m,) at sizes (m,)."""
        tail = 50 * (1 - LEVEL)
        with np.errstate(over="ignore", invalid="ignore"):
            curves = np.exp(self.form.log_loss(self.form.internal(self.theta), np.log(x))[0])
        return np.nanpercentile(curves, tail, axis=0), np.nanpercentile(curves, 100 - tail, axis=0)


def draw_noise(scatter: Scatter, draws: int, random: np.random.Generator) -> np.ndarray:
    """Draw noise of log loss (draws, n) with the variance of the scatter."""
    n, spread = len(scatter.residuals), math.sqrt(scatter.variance)
    counts = np.bincount(scatter.size)
    means = np.bincount(scatter.size, scatter.residuals) / counts
    if spread == 0:
        return np.zeros((draws, n))
    if scatter.resampling == "sizes":
        # The means of k seeds scatter by the variance over k; deviations around them stay with their size.
        inside = scatter.residuals - means[scatter.size]
        standard = _standard(means * np.sqrt(counts), draws, scatter.freedom, random)
        return (spread * standard / np.sqrt(counts))[:, scatter.size] + inside
    if scatter.resampling == "residuals":
        return spread * _standard(scatter.residuals, draws, scatter.freedom, random)
    # A mean over k seeds takes 1/k of the variance with it.
    stretch = np.sqrt(counts / np.maximum(counts - 1, 1))
    deviations = (scatter.residuals - means[scatter.size]) * stretch[scatter.size]
    pool = deviations[counts[scatter.size] > 1]
    noise = np.empty((draws, n))
    for number, count in enumerate(counts):
        members = scatter.size == number
        own = deviations[members] if count > 2 else pool
        noise[:, members] = random.choice(own, size=(draws, count))
    return noise * (_widened(scatter.freedom) * spread / max(math.sqrt(float(np.mean(pool**2))), 1e-300))


def _standard(values: np.ndarray, draws: int, freedom: int, random: np.random.Generator) -> np.ndarray:
    """(draws, n) values drawn anew with variance 1; few repeat themselves: a t has the tails they hide."""
    if len(values) < 10:
        return random.standard_t(freedom, size=(draws, len(values)))
    centred = values - values.mean()
    centred *= _widened(freedom) / np.sqrt(np.mean(centred**2))
    return random.choice(centred, size=(draws, len(values)))


def _widened(freedom: int) -> float:
    """By which a t interval is wider than a normal one: the variance is itself an estimate."""
    return float(stats.t.ppf((1 + LEVEL) / 2, freedom) / stats.norm.ppf((1 + LEVEL) / 2))
