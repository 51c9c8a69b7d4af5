"""Where runs of a sweep will end, as joint draws: from the rung that each has reached, rung by rung."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from chemscale.laws.axis.intervals import LEVEL
from chemscale.laws.early_stopping.rungs import RungTable
from chemscale.laws.early_stopping.transitions import Population, Regression, design_of, pairs, regress

DRAWS = 2000
LEAST_FREEDOM = 1.0
CALIBRATES = 4
"""Runs beyond a transition from which on its noise tells how noisy the whole sweep is."""


@dataclass(frozen=True)
class Forecast:
    """Draws (n, draws) of the log of every run's final loss; infinite where nothing can be said of a run.

    A run that has ended is its own forecast. Runs share the coefficients of a draw, not its noise.
    """

    ends: np.ndarray
    open: np.ndarray
    """(n,) whether a run has not ended, and may."""

    @property
    def best(self) -> float:
        """Lowest log loss of the runs that have ended; infinite where none has."""
        ended = self.ends[~self.open, 0]
        return float(ended.min()) if len(ended) else math.inf

    def wins(self, tolerance: float) -> np.ndarray:
        """(n, draws) whether an open run ends lowest, below the best that has ended by the tolerance.

        Args:
            tolerance: share of the loss by which an end has to be better, to count.
        """
        ends = np.where(self.open[:, None], self.ends, np.inf)
        lowest = ends.min(axis=0)
        found = np.zeros(ends.shape, bool)
        found[ends.argmin(axis=0), np.arange(ends.shape[1])] = lowest < self.best + math.log1p(-tolerance)
        return found

    def interval(self, n: int) -> tuple[float, float, float]:
        """Median and ends of the interval of a run's final loss; NaN where nothing can be said."""
        if not np.isfinite(self.ends[n]).all():
            return math.nan, math.nan, math.nan
        tail = 50 * (1 - LEVEL)
        low, middle, high = np.exp(np.percentile(self.ends[n], [tail, 50, 100 - tail]))
        return float(middle), float(low), float(high)


def forecast(table: RungTable, population: Population, *, draws: int = DRAWS, seed: int = 0) -> Forecast:
    """Draw the ends of all runs. The same table gives the same draws.

    Before a run is known beyond a transition, only differences between runs mean anything: they decide.

    Args:
        table: of the sweep, up to what each run has reached.
        population: of sweeps like it.
        draws: how many.
        seed: of the draws.
    """
    random = np.random.default_rng(seed)
    reached, last = table.reached, table.levels.shape[1] - 1
    alive = (reached >= 0) & np.isfinite(table.levels[np.arange(len(reached)), reached])
    ends = np.full((len(reached), draws), np.inf)
    noise_level = NoiseLevel(0.0, population.sweep_spread**2)
    for k in range(last + 1):
        at = alive & (reached == k)
        ends[at] = table.levels[at, k][:, None]
        if k == last:
            break
        fitted = _fit(table, k, population, noise_level)
        noise_level.walk(population.walk)
        moving = alive & (reached <= k)
        if moving.any():
            coefficients, noise = fitted.draws(random, draws)
            axes = np.array([column[moving] for column in table.axes.values()])
            axes = axes.reshape(len(table.axes), int(moving.sum()))
            ends[moving] = (
                coefficients[0]
                + coefficients[1] * (ends[moving] - fitted.centre)
                + axes.T @ coefficients[2:]
                + noise * random.standard_normal((int(moving.sum()), draws))
            )
    return Forecast(ends, alive & (reached < last))


@dataclass
class NoiseLevel:
    """How noisy the sweep at hand is against others, in logs, as its transitions tell one after the other.

    A random walk that is filtered (Kalman 1960): what neighbours say counts more than what the warm-up said.
    """

    mean: float
    variance: float

    def walk(self, spread: float) -> None:
        """On to the next transition."""
        self.variance += spread**2

    def learn(self, value: float, variance: float) -> None:
        """Take in what runs beyond a transition show."""
        gain = self.variance / (self.variance + variance)
        self.mean += gain * (value - self.mean)
        self.variance *= 1 - gain


def _fit(table: RungTable, k: int, population: Population, level: NoiseLevel) -> Regression:
    """A transition from the runs beyond it; `level` learns how noisy this sweep is against others."""
    expected = population.transitions[k]
    rows = pairs(table, k)
    x, y = table.levels[rows, k], table.levels[rows, k + 1]
    reached = table.on_course[:, k]
    centre = float(x.mean()) if len(x) else float(table.levels[reached, k].mean()) if reached.any() else 0.0
    mean, variance = expected.of(list(table.axes))
    design = design_of(table, x, rows, centre)
    found = regress(
        design,
        y,
        mean=mean,
        variance=variance,
        noise=math.exp(2 * (expected.log_spread + level.mean)),
        # The log of a standard deviation with f degrees of freedom has a variance of about 1 / 2f.
        freedom=max(LEAST_FREEDOM, 1 / (2 * level.variance)),
        centre=centre,
    )
    if len(x) >= CALIBRATES:
        residual = y - design @ found.mean
        spread2 = float(np.sum(found.weights * residual**2)) / (len(x) - 2)
        level.learn(0.5 * math.log(max(spread2, 1e-12)) - expected.log_spread, 1 / (2 * (len(x) - 2)))
    return found
