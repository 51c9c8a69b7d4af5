"""From rung to rung: what runs show later regressed on what they showed before and on their settings.

Runs are chosen by what they have shown, and a regression of the later on the earlier is blind to such a
choice (selection on a regressor; Little and Rubin 2019, section 1.3): promoted runs alone calibrate it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from chemscale.laws.early_stopping.rungs import RungTable

TAIL = 4.0
"""Degrees of freedom of the residuals' Student distribution, which gives outliers their small weight."""
ITERATIONS = 40
SLOPE, SLOPE_SPREAD = 1.0, 0.3
"""A transition that nobody has seen keeps differences of log losses, by and large."""
EFFECT_SPREAD = 0.1
"""Effect on the log loss of a decade of a setting that nobody has seen, as a standard deviation."""
LEAST_SPREADS = (0.08, 0.02)
"""What sweeps may differ by in slope and effect, however alike the few known ones are."""
LEAST_NOISE_SPREADS = (0.5, 0.4)
"""The same of the log of the noise: between sweeps, and from one transition to the next."""
LEAST_NOISE = 1e-3
"""No run's end is known better than to a thousandth of its loss, however well a few of them line up."""
FIRM = 0.9
"""Standard error above which a sweep says nothing of a coefficient."""


@dataclass(frozen=True)
class Normal:
    """A coefficient: its mean and variance."""

    mean: float
    variance: float


@dataclass(frozen=True)
class Regression:
    """Posterior of y = a + b (x − centre) + Σ effect · setting + noise.

    Args:
        mean: (p,) of the coefficients.
        precision: (p, p) of them.
        variance: of the noise.
        freedom: degrees of freedom of that variance.
        centre: of x.
        weights: (m,) of the runs: what their Student residuals leave them.
        anchored: whether a run is known that fixes a; else only differences mean anything.
    """

    mean: np.ndarray
    precision: np.ndarray
    variance: float
    freedom: float
    centre: float
    weights: np.ndarray
    anchored: bool

    def draws(self, random: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw coefficients (p, count) and standard deviations of the noise (count,)."""
        scale = np.sqrt(self.freedom / random.chisquare(self.freedom, count))
        wide = np.minimum(scale, 20.0)
        root = np.linalg.cholesky(self.precision).T
        errors = np.linalg.solve(root, random.standard_normal((len(self.mean), count)))
        chosen = self.mean[:, None] + errors * wide
        if not self.anchored:
            chosen[0] = 0.0
        return chosen, math.sqrt(self.variance) * wide


@dataclass(frozen=True)
class Expectation:
    """What earlier sweeps say of a transition before the sweep at hand has any run beyond it.

    Args:
        slope: b.
        effects: of settings, by name; a name that is not there has none that is known.
        log_spread: mean over sweeps of the log of the noise's standard deviation.
    """

    slope: Normal
    effects: Mapping[str, Normal]
    log_spread: float

    def of(self, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Means and variances (1 + names,) of the slope and of the effects."""
        unknown = Normal(0.0, EFFECT_SPREAD**2)
        terms = [self.slope, *(self.effects.get(name, unknown) for name in names)]
        return np.array([term.mean for term in terms]), np.array([term.variance for term in terms])


@dataclass(frozen=True)
class Population:
    """Sweeps like the one at hand.

    Args:
        transitions: a transition each, the last one to the end.
        sweep_spread: standard deviation over sweeps of the log of the noise, against that of other sweeps.
        walk: standard deviation of what that changes by from one transition to the next.
        sweeps: how many are pooled.
    """

    transitions: tuple[Expectation, ...]
    sweep_spread: float
    walk: float
    sweeps: int


def regress(
    design: np.ndarray,
    y: np.ndarray,
    *,
    mean: np.ndarray,
    variance: np.ndarray,
    noise: float,
    freedom: float,
    centre: float = 0.0,
) -> Regression:
    """Bayesian linear regression with Student residuals, by reweighting (Lange, Little and Taylor 1989).

    Args:
        design: (m, p), a column of ones first.
        y: (m,).
        mean: (p − 1,) prior of the coefficients but the intercept, which has none.
        variance: (p − 1,) of it.
        noise: prior of the noise's variance.
        freedom: degrees of freedom of that prior.
        centre: of x, kept with the result.
    """
    m = len(y)
    prior = np.diag(np.concatenate([[1e-6], 1 / variance]))
    start = np.concatenate([[y.mean() if m else 0.0], mean])
    found, precision, weights, sigma2, left = start, prior, np.ones(m), noise, 0.0
    for _ in range(ITERATIONS if m else 0):
        weighted = design * weights[:, None]
        precision = weighted.T @ design / sigma2 + prior
        found = np.linalg.solve(precision, weighted.T @ y / sigma2 + prior @ start)
        residual = y - design @ found
        weights = (TAIL + 1) / (TAIL + residual**2 / sigma2)
        # What the coefficients take of the runs' degrees of freedom, their prior allowed for.
        left = m - float(np.trace(np.linalg.solve(precision, weighted.T @ design / sigma2)))
        sigma2 = (freedom * noise + float(np.sum(weights * residual**2))) / (freedom + left)
        sigma2 = max(sigma2, LEAST_NOISE**2)
    return Regression(found, precision, sigma2, freedom + left, centre, weights, m > 0)


def pairs(table: RungTable, k: int) -> np.ndarray:
    """(n,) which runs are known on both sides of the k-th transition, each only once.

    A setting that changes nothing gives the same run again, which is no second witness.
    """
    found = table.on_course[:, k] & table.on_course[:, k + 1]
    rows = np.flatnonzero(found)
    _, first = np.unique(table.levels[rows][:, k : k + 2], axis=0, return_index=True)
    found[np.delete(rows, first)] = False
    return found


def design_of(table: RungTable, x: np.ndarray, rows: np.ndarray, centre: float) -> np.ndarray:
    """(m, 2 + settings) columns of ones, x less its centre, and settings."""
    axes = [column[rows] for column in table.axes.values()]
    return np.stack([np.ones(len(x)), x - centre, *axes], axis=1)


def pool(tables: Sequence[RungTable]) -> Population:
    """What finished sweeps have in common: a random effect of the sweep on every coefficient.

    Args:
        tables: of sweeps whose runs were trained to their ends, at the same rungs.

    Raises:
        ValueError: no sweep.
    """
    if not tables:
        raise ValueError("no sweep to learn from.")
    steps = tables[0].levels.shape[1] - 1
    fitted = [[_fit_freely(table, k) for k in range(steps)] for table in tables]
    spreads = np.array([[each.spread for each in sweep] for sweep in fitted])
    logs = np.log(spreads)
    usual = np.nanmean(logs, axis=0)
    offsets = logs - usual
    return Population(
        transitions=tuple(
            Expectation(
                slope=_pooled([sweep[k].slope for sweep in fitted], SLOPE, SLOPE_SPREAD, LEAST_SPREADS[0]),
                effects={
                    name: _pooled(
                        [sweep[k].effects[name] for sweep in fitted if name in sweep[k].effects],
                        0.0,
                        EFFECT_SPREAD,
                        LEAST_SPREADS[1],
                    )
                    for name in sorted({name for sweep in fitted for name in sweep[k].effects})
                },
                log_spread=float(usual[k]),
            )
            for k in range(steps)
        ),
        sweep_spread=_spread(offsets, LEAST_NOISE_SPREADS[0]),
        walk=_spread(np.diff(offsets, axis=1), LEAST_NOISE_SPREADS[1]),
        sweeps=len(tables),
    )


def _spread(offsets: np.ndarray, least: float) -> float:
    """Root of the mean square over sweeps, whose mean is 0 by construction."""
    sweeps = len(offsets)
    if sweeps < 2 or not np.isfinite(offsets).any():
        return 2 * least
    return max(least, math.sqrt(float(np.nanmean(offsets**2)) * sweeps / (sweeps - 1)))


@dataclass(frozen=True)
class _Fitted:
    slope: Normal
    effects: dict[str, Normal]
    spread: float


def _fit_freely(table: RungTable, k: int) -> _Fitted:
    """One transition of a finished sweep by itself, with next to no prior."""
    rows = pairs(table, k)
    x, y = table.levels[rows, k], table.levels[rows, k + 1]
    names = [name for name, column in table.axes.items() if np.ptp(column[rows]) > 0] if len(x) else []
    if len(x) < len(names) + 4:
        return _Fitted(Normal(SLOPE, np.inf), {}, np.nan)
    kept = RungTable(table.rungs, table.levels, {name: table.axes[name] for name in names})
    centre = float(x.mean())
    count = len(names)
    rough = max(float(np.median(np.abs(y - np.median(y)))) ** 2 * 0.3, 1e-12)
    found = regress(
        design_of(kept, x, rows, centre),
        y,
        mean=np.array([0.9, *np.zeros(count)]),
        variance=np.array([1e4, *np.full(count, 1e2)]),
        noise=rough,
        freedom=0.01,
        centre=centre,
    )
    errors = np.diag(np.linalg.inv(found.precision))
    terms = [Normal(float(found.mean[1 + j]), float(errors[1 + j])) for j in range(1 + count)]
    spread = math.sqrt(found.variance * (len(x) - 1) / (len(x) - 2 - count))
    return _Fitted(terms[0], dict(zip(names, terms[1:], strict=True)), spread)


def _pooled(known: Sequence[Normal], centre: float, spread: float, least: float) -> Normal:
    """Random-effects mean of a coefficient and the variance of a new sweep's (DerSimonian and Laird 1986).

    A sweep that knows nothing of it stands beside the known ones, at `centre` with its `spread`.
    """
    firm = [each for each in known if each.variance < FIRM**2]
    values = np.array([*(each.mean for each in firm), centre])
    errors = np.array([*(each.variance for each in firm), spread**2])
    if not firm:
        return Normal(centre, spread**2 + least**2)
    between = max(float(np.var(values, ddof=1) - np.mean(errors)), least**2)
    weights = 1 / (between + errors)
    return Normal(float(np.sum(weights * values) / np.sum(weights)), between + 1 / float(np.sum(weights)))
