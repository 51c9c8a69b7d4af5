"""Training performance estimation (TPE, Frey et al. 2023): the regression of final losses on scores."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from chemscale.laws import stats
from chemscale.laws.axis.intervals import LEVEL

MIN_RUNS = 4
"""Finished runs below which no regression is made: a line through three has one residual to judge it by."""


@dataclass(frozen=True)
class Calibration:
    """final = a·score + b by least squares (Frey et al. 2023), with its prediction interval.

    Args:
        slope: a.
        intercept: b.
        spread: standard deviation of the residuals, n − 2 degrees of freedom.
        count: of the finished runs.
        centre: mean of the scores.
        square: sum of their squared deviations.
    """

    slope: float
    intercept: float
    spread: float
    count: int
    centre: float
    square: float

    @classmethod
    def fit(cls, scores: np.ndarray, finals: np.ndarray) -> Calibration | None:
        """Fit the line; None where too few finished runs, or runs of one score, allow none."""
        good = np.isfinite(scores) & np.isfinite(finals)
        x, y = scores[good], finals[good]
        square = float(np.sum((x - x.mean()) ** 2)) if len(x) else 0.0
        if len(x) < MIN_RUNS or square <= 1e-20 * max(1.0, float(np.mean(x)) ** 2):
            return None
        slope = float(np.sum((x - x.mean()) * (y - y.mean())) / square)
        intercept = float(y.mean() - slope * x.mean())
        residual = y - slope * x - intercept
        spread = math.sqrt(float(np.sum(residual**2)) / (len(x) - 2))
        return cls(slope, intercept, spread, len(x), float(x.mean()), square)

    def predict(self, scores: np.ndarray) -> np.ndarray:
        """(n,) predicted final losses."""
        return self.slope * scores + self.intercept

    def errors(self, scores: np.ndarray) -> np.ndarray:
        """(n,) standard errors of a new run's final loss at these scores."""
        return self.spread * np.sqrt(1 + 1 / self.count + (scores - self.centre) ** 2 / self.square)

    def interval(self, scores: np.ndarray, level: float = LEVEL) -> tuple[np.ndarray, np.ndarray]:
        """(n,) ends of the prediction interval."""
        reach = stats.t.ppf(0.5 + level / 2, self.count - 2) * self.errors(scores)
        return self.predict(scores) - reach, self.predict(scores) + reach

    def chance_below(self, scores: np.ndarray, loss: float) -> np.ndarray:
        """(n,) chance that a run of this score ends below `loss`."""
        with np.errstate(divide="ignore", invalid="ignore"):
            chance = stats.t.cdf((loss - self.predict(scores)) / self.errors(scores), self.count - 2)
        return np.where(np.isfinite(scores), chance, 0.0)


@dataclass(frozen=True)
class Assessment:
    """How well one estimator predicts the ends of finished runs.

    Intervals are of a bootstrap over runs, but for ρ (Fisher's z) and the coverage (Clopper and Pearson).

    ``r2`` and ``mae`` are of the regression on the runs that it was made from, as the paper reports them;
    ``loo_*`` predict each run without it. ``coverage`` is how often the interval, made without a run, holds
    it. ``direct_mae`` takes the score itself for the final loss, where it claims to be one.
    """

    name: str
    title: str
    runs: int
    rho: float
    rho_interval: tuple[float, float]
    r2: float
    r2_interval: tuple[float, float]
    mae: float
    mae_interval: tuple[float, float]
    loo_r2: float
    loo_r2_interval: tuple[float, float]
    loo_mae: float
    loo_mae_interval: tuple[float, float]
    coverage: float
    coverage_interval: tuple[float, float]
    direct_mae: float | None
    direct_mae_interval: tuple[float, float] | None


def assess(
    name: str,
    title: str,
    scores: np.ndarray,
    finals: np.ndarray,
    *,
    direct: bool = False,
    draws: int = 1000,
    seed: int = 0,
) -> Assessment | None:
    """Compare scores with what the runs became; None where no line can be drawn through them.

    Args:
        name: of the estimator.
        title: of the estimator.
        scores: (n,) of the runs.
        finals: (n,) their final losses.
        direct: whether a score is an estimate of the final loss itself.
        draws: of the bootstrap.
        seed: of the draws.
    """
    # Imported here: scipy.stats takes longer to import than a law to fit.
    from scipy.stats import binomtest, spearmanr

    good = np.isfinite(scores) & np.isfinite(finals)
    x, y = scores[good], finals[good]
    if Calibration.fit(x, y) is None or len(x) < MIN_RUNS + 1 or np.ptp(y) <= 1e-12 * np.abs(y).max():
        return None
    left_out = np.full(len(x), np.nan)
    held = np.zeros(len(x), bool)
    for k in range(len(x)):
        others = np.arange(len(x)) != k
        without = Calibration.fit(x[others], y[others])
        if without is not None:
            left_out[k] = without.predict(x[k : k + 1])[0]
            low, high = without.interval(x[k : k + 1])
            held[k] = low[0] <= y[k] <= high[0]
    known = np.isfinite(left_out)
    p, q = left_out[known], y[known]
    exact = binomtest(int(held.sum()), len(x)).proportion_ci(LEVEL)
    rho = float(spearmanr(x, y).statistic)
    return Assessment(
        name, title, len(x),
        rho, rank_interval(rho, len(x)),
        _r2(x, y), _resampled(_r2, x, y, draws, seed),
        _mae(x, y), _resampled(_mae, x, y, draws, seed),
        _explained(p, q), _resampled(_explained, p, q, draws, seed),
        _error(p, q), _resampled(_error, p, q, draws, seed),
        float(held.mean()), (float(exact.low), float(exact.high)),
        _error(x, y) if direct else None, _resampled(_error, x, y, draws, seed) if direct else None,
    )  # fmt: skip


def rank_interval(rho: float, count: int) -> tuple[float, float]:
    """Interval of a Spearman ρ of `count` pairs by Fisher's z (Bonett and Wright 2000).

    A bootstrap of a perfect order is always perfect: ρ = 1 is taken as half a step of the statistic below.
    """
    most = 1 - 6 / (count * (count**2 - 1))
    z = math.atanh(min(most, max(-most, rho)))
    reach = stats.norm.ppf(0.5 + LEVEL / 2) * math.sqrt((1 + rho**2 / 2) / (count - 3))
    return math.tanh(z - reach), math.tanh(z + reach)


def _explained(predicted: np.ndarray, y: np.ndarray) -> float:
    return 1 - float(np.sum((y - predicted) ** 2) / np.sum((y - y.mean()) ** 2))


def _error(predicted: np.ndarray, y: np.ndarray) -> float:
    return float(np.mean(np.abs(predicted - y)))


def _r2(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.corrcoef(x, y)[0, 1] ** 2)


def _mae(x: np.ndarray, y: np.ndarray) -> float:
    slope, intercept = np.polyfit(x, y, 1)
    return float(np.mean(np.abs(slope * x + intercept - y)))


def _resampled(
    statistic: Callable[[np.ndarray, np.ndarray], float], x: np.ndarray, y: np.ndarray, draws: int, seed: int
) -> tuple[float, float]:
    """Percentile interval over runs drawn with replacement; draws of under four runs are left out."""
    random = np.random.default_rng(seed)
    values = []
    for _ in range(draws):
        drawn = random.integers(0, len(x), len(x))
        if len(np.unique(x[drawn])) >= MIN_RUNS and len(np.unique(y[drawn])) >= MIN_RUNS:
            values.append(statistic(x[drawn], y[drawn]))
    tail = 50 * (1 - LEVEL)
    low, high = np.percentile(values, [tail, 100 - tail]) if values else (np.nan, np.nan)
    return float(low), float(high)
