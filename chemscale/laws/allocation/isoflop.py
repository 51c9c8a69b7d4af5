"""Approach 2: at each budget of FLOPs the best model size among runs that spent it, then N* against C.

Each budget's minimum is that of a parabola of loss in log N (Hoffmann et al. 2022) or of an Akima curve of
log loss in log N (Porian et al. 2024). N* ∝ C^a is a line through the minima in log-log, each weighted by its
own uncertainty.

The parabola is not the shape of the loss. On exact data of E + A·N^−α + B·D^−β with α ≠ β its minimum lies
aside, the more the wider the grid: the exponent is nearly right, N* itself off by 5 to 20 % where sizes reach
16 times to each side (arXiv 2603.22339). Hence the width of the grid is reported, and ``bias_of_isoflop``
measures the error on a law whose optimum is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chemscale.laws import stats
from chemscale.laws.allocation.budgets import (
    MIN_SIZES,
    SAME,
    budgets_of,
    group_budgets,
    minimum,
    pooled_noise,
)
from chemscale.laws.allocation.compute import SIX_ND, Flops, data_for
from chemscale.laws.allocation.isoflop_intervals import IsoflopIntervals
from chemscale.laws.allocation.optimum import Allocation, Interval, Optimum, optimum_target
from chemscale.laws.axis.fit import LEVEL, FitError
from chemscale.laws.joint.surfaces import Surface

__all__ = [
    "MIN_SIZES", "SAME", "Line", "Minima", "allocate_isoflop", "bias_of_isoflop", "group_budgets",
    "isoflop_minima", "weighted_line",
]  # fmt: skip


@dataclass(frozen=True)
class Minima:
    """Minima of K budgets. Standard deviations are of logarithms."""

    flops: np.ndarray  # (K,)
    n: np.ndarray  # (K,)
    n_std: np.ndarray  # (K,)
    d: np.ndarray  # (K,)
    d_std: np.ndarray  # (K,)
    loss: np.ndarray  # (K,)
    width: np.ndarray
    """(K,) half the span of sizes at each budget as a factor: 16 means about N*/16 to 16·N*."""
    noise: float
    """Spread of one run's log loss."""
    notes: list[str]


@dataclass(frozen=True)
class Line:
    """A power law log y = intercept + slope·(log x − centre), of independent intercept and slope."""

    slope: float
    intercept: float
    centre: float
    slope_error: float
    intercept_error: float
    freedom: int
    reach: float
    """Standard errors to each side of an interval at LEVEL."""

    @property
    def slope_interval(self) -> Interval:
        """Of the slope, at LEVEL."""
        return self.slope - self.reach * self.slope_error, self.slope + self.reach * self.slope_error

    @property
    def coefficient(self) -> float:
        """The value y at x = 1."""
        return float(np.exp(self.intercept - self.slope * self.centre))

    def at(self, x: float) -> tuple[float, Interval]:
        """The value y at x, and its interval."""
        away = np.log(x) - self.centre
        log_y = self.intercept + self.slope * away
        reach = self.reach * float(np.hypot(self.intercept_error, self.slope_error * away))
        low, high = np.exp([log_y - reach, log_y + reach])
        return float(np.exp(log_y)), (float(low), float(high))


def weighted_line(x: np.ndarray, y: np.ndarray, std: np.ndarray) -> Line:
    """Fit a power law to points whose log y have known standard deviations.

    An interval is the wider of two: what `std` implies (normal), and what the scatter of the points about the
    line implies (Student's t). Points without a finite deviation are left out.

    Args:
        x: (K,) positive.
        y: (K,) positive.
        std: (K,) standard deviations of log y.

    Raises:
        FitError: fewer than 3 points, or all at one x.
    """
    x, y, std = (np.asarray(v, dtype=float) for v in (x, y, std))
    good = np.isfinite(x) & np.isfinite(y) & np.isfinite(std) & (x > 0) & (y > 0) & (std > 0)
    log_x, log_y, weight = np.log(x[good]), np.log(y[good]), std[good] ** -2.0
    if len(log_x) < 3 or np.ptp(log_x) < 1e-9:
        raise FitError(
            f"N* ∝ C^a is not fitted: {len(log_x)} budget{'' if len(log_x) == 1 else 's'} with a minimum, at "
            "least 3 different ones needed. "
            "Add IsoFLOP budgets whose sizes reach to both sides of the minimum."
        )
    centre = float(np.average(log_x, weights=weight))
    away = log_x - centre
    precision = float(np.sum(weight * away**2))
    slope = float(np.sum(weight * away * log_y)) / precision
    intercept = float(np.average(log_y, weights=weight))
    freedom = len(log_x) - 2
    scatter = float(np.sum(weight * (log_y - intercept - slope * away) ** 2)) / freedom
    normal = float(stats.norm.ppf(0.5 + LEVEL / 2))
    reach = max(normal, float(stats.t.ppf(0.5 + LEVEL / 2, freedom) * np.sqrt(scatter)))
    errors = float(precision**-0.5), float(weight.sum() ** -0.5)
    return Line(slope, intercept, centre, *errors, freedom, reach)


def isoflop_minima(
    n: np.ndarray,
    d: np.ndarray,
    flops: np.ndarray,
    loss: np.ndarray,
    *,
    method: str = "parabola",
    noise: float | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> Minima:
    """The minimum of each budget and how well it is known.

    Deviations come from redrawing every run's log loss with normal noise and taking the minimum again.

    Args:
        n: (m,) parameters of each run.
        d: (m,) its data.
        flops: (m,) what it cost.
        loss: (m,) where it ended.
        method: ``parabola`` of loss, or ``akima`` curve of log loss, both in log N.
        noise: spread of log loss between seeds; None for that of the residuals of the parabolas, all budgets
            pooled (an Akima curve goes through its points and has none).
        draws: of the noise.
        seed: of the draws.

    Raises:
        FitError: bad values, an unknown method, or no budget with a minimum inside its sizes.
    """
    n, d, flops, loss = (np.asarray(v, dtype=float) for v in (n, d, flops, loss))
    _check(n, d, flops, loss, method)
    (enough, few), notes = budgets_of(n, flops), []
    if few:
        budgets = "1 budget has" if few == 1 else f"{few} budgets have"
        notes.append(f"{budgets} fewer than {MIN_SIZES} sizes: left out.")
    spread = pooled_noise(enough, n, loss)[0] if noise is None else noise
    random = np.random.default_rng(seed)
    rows = []
    for part in enough:
        row, note = _budget(n[part], d[part], flops[part], loss[part], method, spread, draws, random)
        rows += [row] if row else []
        notes += [note] if note else []
    if not rows:
        raise FitError(
            "No budget has a minimum: each needs runs of at least 4 sizes at nearly the same FLOPs, reaching "
            "to both sides of the best. " + " ".join(notes)
        )
    flops_k, n_k, n_std, d_k, d_std, loss_k, widths = np.array(rows).T
    return Minima(flops_k, n_k, n_std, d_k, d_std, loss_k, widths, float(spread), notes)


def allocate_isoflop(
    n: np.ndarray,
    d: np.ndarray,
    flops: np.ndarray,
    loss: np.ndarray,
    *,
    method: str = "parabola",
    noise: float | None = None,
    compute: str = "counted",
    seed: int = 0,
) -> Allocation:
    """Allocate by Approach 2, with intervals (see ``IsoflopIntervals``).

    Args:
        n: (m,) parameters of each run.
        d: (m,) its data.
        flops: (m,) what it cost; runs of one budget are found by it.
        loss: (m,) where it ended.
        method: ``parabola`` of loss, or ``akima`` curve of log loss.
        noise: spread of log loss between seeds; None for that of the residuals.
        compute: how `flops` were counted, in words.
        seed: of the draws.

    Raises:
        FitError: fewer than 3 budgets with a minimum inside their sizes.
    """
    n, d, flops, loss = (np.asarray(v, dtype=float) for v in (n, d, flops, loss))
    minima = isoflop_minima(n, d, flops, loss, method=method, noise=noise, seed=seed)
    of_n = weighted_line(minima.flops, minima.n, minima.n_std)
    of_d = weighted_line(minima.flops, minima.d, minima.d_std)
    known = IsoflopIntervals.of(
        n, d, flops, loss, (minima.n_std, minima.d_std), method=method, noise=noise, seed=seed
    )

    def locate(budget: float) -> Optimum:
        best = [of_n.at(budget)[0], of_d.at(budget)[0], known.law.predict(budget)]
        ends = known.at(budget, best)
        return Optimum(budget, best[0], ends[0], best[1], ends[1], best[2], ends[2])

    width = float(np.median(minima.width))
    shape = "parabola" if method == "parabola" else "Akima curve"
    notes = [
        *minima.notes,
        f"{len(minima.n)} budgets, sizes ×{width:.3g} to each side of the middle; {shape}; "
        f"noise of log loss {minima.noise:.2g}.",
        *known.notes,
    ]
    of_one = known.at(1.0, [of_n.coefficient, of_d.coefficient])
    slopes = known.slopes((of_n.slope, of_d.slope))
    return Allocation(
        f"2 (IsoFLOP, {shape})", compute, of_n.slope, of_d.slope, of_n.coefficient, of_d.coefficient,
        intervals={
            "exponent_n": slopes[0], "exponent_d": slopes[1],
            "coefficient_n": of_one[0], "coefficient_d": of_one[1],
        },
        locate=locate, notes=notes,
    )  # fmt: skip


def bias_of_isoflop(
    surface: Surface,
    theta: np.ndarray,
    budgets: Sequence[float],
    width: float,
    *,
    sizes: int = 9,
    flops: Flops = SIX_ND,
    method: str = "parabola",
) -> float:
    """Relative error of Approach 2's N* at the largest budget on a noise-free additive surface.

    Args:
        surface: of the form additive.
        theta: (5,) E, A, B, α, β.
        budgets: (K,) FLOPs.
        width: sizes run from N*/width to width·N* at each budget.
        sizes: how many.
        flops: of N and D.
        method: ``parabola`` or ``akima``.

    Raises:
        FitError: the law has no optimum at a budget.
    """
    phi = surface.internal(np.asarray(theta, dtype=float)[None])
    exact = [float(np.exp(optimum_target(surface, flops, c)(phi)[0, 0])) for c in budgets]
    if not np.isfinite(exact).all():
        raise FitError("This law has no optimum at these budgets: α and β must be above 0.")
    n = np.concatenate([np.geomspace(best / width, best * width, sizes) for best in exact])
    c = np.repeat(np.asarray(budgets, dtype=float), sizes)
    d = np.concatenate(
        [data_for(flops, at, part) for at, part in zip(budgets, np.split(n, len(exact)), strict=True)]
    )
    minima = isoflop_minima(n, d, c, surface.value(theta, n, d), method=method, noise=0.0, draws=2)
    found, _ = weighted_line(minima.flops, minima.n, np.ones(len(minima.n))).at(max(budgets))
    return found / exact[int(np.argmax(budgets))] - 1


def _budget(
    n: np.ndarray,
    d: np.ndarray,
    flops: np.ndarray,
    loss: np.ndarray,
    method: str,
    spread: float,
    draws: int,
    random: np.random.Generator,
) -> tuple[list[float] | None, str]:
    """One budget: its row of ``Minima``, None where its minimum is at an edge, and a note on it or ``""``."""
    best = minimum(n, d, loss[None], method)[0]
    budget, note = float(np.exp(np.mean(np.log(flops)))), ""
    if not np.isfinite(best).all():
        return None, f"C = {budget:.3g}: no minimum inside the sizes that were run: left out."
    noisy = loss * np.exp(spread * random.standard_normal((draws, len(n))))
    again = minimum(n, d, noisy, method)
    lost = float(np.mean(~np.isfinite(again[:, 0])))
    if lost > 0.05:
        note = f"C = {budget:.3g}: the minimum leaves the sizes in {lost:.0%} of the redraws."
    # No noise at all still leaves rounding, and weights must be finite.
    std = np.fmax(_robust_std(again[:, :2]), 1e-9)
    width = np.sqrt(n.max() / n.min())
    return [budget, np.exp(best[0]), std[0], np.exp(best[1]), std[1], best[2], width], note


def _robust_std(values: np.ndarray) -> np.ndarray:
    """Half the central 68 % of each column: a redraw at the edge must not decide."""
    if np.isnan(values).all(0).any():
        return np.full(values.shape[1], np.inf)
    low, high = np.nanpercentile(values, [15.87, 84.13], axis=0)
    return (high - low) / 2


def _check(n: np.ndarray, d: np.ndarray, flops: np.ndarray, loss: np.ndarray, method: str) -> None:
    if method not in ("parabola", "akima"):
        raise FitError(f"method={method!r}: choose parabola or akima.")
    if not (n.ndim == 1 and n.shape == d.shape == flops.shape == loss.shape and len(n)):
        raise FitError("Sizes, data, FLOPs and losses must be four lists of one length.")
    together = np.concatenate([n, d, flops, loss])
    if not (np.isfinite(together).all() and (together > 0).all()):
        raise FitError("Sizes, data, FLOPs and losses must be positive and finite.")
