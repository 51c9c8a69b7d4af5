"""Single runs that lie far off the law through the others: diverged ones, wrong cells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from chemscale.laws import stats
from chemscale.laws.axis.broken import solve
from chemscale.laws.axis.fit import MIN_SIZES, Fit, FitError, fit_form
from chemscale.laws.axis.forms import FORMS
from chemscale.laws.joint.fit import SurfaceFit, fit_surface, warm_starts

SIGNIFICANT = 1e-4
"""Of a run's residual from the law through the others, times the number of runs."""
MIN_TIMES = 8.0
"""Times the scatter of the others: a form that bends otherwise than the runs misses its ends by less."""
MIN_MISS = 0.03
"""Of log loss: less is nothing that a person calls diverged."""
MAX_SHARE = 0.2
"""Of the runs, that are called outliers one after the other."""
DRAWS = 200

Refit = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, int]]
"""(n,) which runs are fitted → (n,) log law at all, (n,) residuals, and the parameters fitted."""


@dataclass(frozen=True)
class Outlier:
    """One run that the law through the others misses.

    Args:
        place: of the run among those fitted.
        miss: log loss less the log law through the others.
        scatter: standard deviation of the others' residuals.
    """

    place: int
    miss: float
    scatter: float

    @property
    def words(self) -> str:
        """How far off it is."""
        far = f"{np.expm1(self.miss):+.0%}" if self.miss < 2.3 else f"{np.exp(self.miss):.3g} times"
        times = abs(self.miss) / self.scatter if self.scatter > 0 else np.inf
        scatter = (
            f"{times:.0f} times their scatter" if times < 1e4 else "more than 10,000 times their scatter"
        )
        return f"its loss is {far} off the law through the other runs ({scatter})"


def outliers(log_loss: np.ndarray, refit: Refit) -> list[Outlier]:
    """Runs that lie off the law through the others, worst first, each found without those before it.

    The run whose leaving takes most of the squared residuals is tested by its deleted residual against the
    scatter of the others (Student's t, for the worst of n). Several diverged runs are found one after the
    other, at most a fifth of the runs.

    Args:
        log_loss: (n,).
        refit: of the law to some of the runs.
    """
    keep = np.ones(len(log_loss), dtype=bool)
    found: list[Outlier] = []
    for _ in range(max(1, int(MAX_SHARE * len(log_loss)))):
        best = _worst(log_loss, keep, refit)
        if best is None:
            break
        found.append(best)
        keep[best.place] = False
    return found


def _worst(log_loss: np.ndarray, keep: np.ndarray, refit: Refit) -> Outlier | None:
    """The run that the law through the others misses most, where it does so significantly."""
    _, residuals, parameters = refit(keep)
    inside = np.flatnonzero(keep)
    freedom = len(inside) - 1 - parameters
    if freedom < 2:
        return None
    # Few have the greatest residuals of the fit to all; a lever may hide behind them at the ends.
    order = inside[np.argsort(-np.abs(residuals[inside]))]
    tried = []
    for place in dict.fromkeys([*order[:4], inside[0], inside[-1]]):
        without = keep.copy()
        without[place] = False
        try:
            law, rest, _ = refit(without)
        except FitError:
            continue
        scatter = float(np.sqrt(np.sum(rest[without] ** 2) / freedom))
        tried.append((scatter, Outlier(int(place), float(log_loss[place] - law[place]), scatter)))
    if not tried:
        return None
    scatter, worst = min(tried, key=lambda pair: pair[0])
    times = abs(worst.miss) / max(scatter, 1e-12)
    significant = 2 * stats.t.sf(times, freedom) * len(inside) < SIGNIFICANT
    return worst if significant and times > MIN_TIMES and abs(worst.miss) > MIN_MISS else None


def axis_outliers(x: np.ndarray, y: np.ndarray) -> tuple[list[Outlier], Fit | None, Fit | None]:
    """Runs off a law of one axis, with a floor where there are sizes enough for one.

    Args:
        x: (n,) sizes.
        y: (n,) losses.

    Returns:
        The runs, and the law with and without them where there are any.
    """
    log_loss = np.log(y)
    name = "offset" if len(np.unique(x)) > MIN_SIZES["offset"] else "power"

    def law(keep: np.ndarray, draws: int) -> Fit:
        return fit_form(x[keep], y[keep], name, bootstrap=draws)

    def refit(keep: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
        with np.errstate(divide="ignore"):  # a floor of 0 has no logarithm
            theta, _, _ = solve(FORMS[name], x[keep], y[keep])
        fitted = np.log(FORMS[name].value(x, theta))
        return fitted, log_loss - fitted, len(theta)

    everything = np.ones(len(x), dtype=bool)
    if len(np.unique(x)) < MIN_SIZES["power"]:
        return [], None, None
    try:
        found = outliers(log_loss, refit)
        if not found:
            return [], None, None
        rest = ~np.isin(np.arange(len(x)), [each.place for each in found])
        return found, law(everything, DRAWS), law(rest, DRAWS)
    except FitError:
        return [], None, None


def surface_outliers(fit: SurfaceFit) -> tuple[list[Outlier], SurfaceFit | None]:
    """Runs off a joint law, and the law without them.

    Args:
        fit: the law.
    """
    y = np.log(fit.loss)
    warm = warm_starts(fit)

    def without(keep: np.ndarray, draws: int) -> SurfaceFit:
        groups = None if fit.groups is None else fit.groups[keep]
        return fit_surface(
            fit.surface, fit.inputs[keep], fit.loss[keep], delta=fit.delta, warm=warm, fixed=fit.fixed,
            groups=groups, bootstrap=draws,
        )  # fmt: skip

    def refit(keep: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
        law = np.log((fit if keep.all() else without(keep, 2)).predict(*fit.inputs.T))
        return law, y - law, len(fit.free)

    # Huber's loss has outliers already at arm's length: their residuals are as without them.
    middle = np.median(np.abs(fit.residuals)) / 0.6745
    if np.abs(fit.residuals).max() < max(6 * middle, MIN_MISS):
        return [], None
    found = outliers(y, refit)
    if not found:
        return [], None
    return found, without(~np.isin(np.arange(len(y)), [each.place for each in found]), DRAWS)
