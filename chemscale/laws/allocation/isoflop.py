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
from scipy import interpolate, stats

from chemscale.laws.allocation.compute import SIX_ND, Flops, data_for
from chemscale.laws.allocation.optimum import Allocation, Interval, Optimum, optimum_target
from chemscale.laws.axis.fit import LEVEL, Fit, FitError, fit_forms, supported
from chemscale.laws.joint.surfaces import Surface

SAME = 1.15
"""Runs whose FLOPs differ by at most this factor from the next belong to one budget."""
MIN_SIZES = 4
"""Distinct sizes of a budget below which its minimum is not taken: 3 points lie on any parabola."""


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


def group_budgets(flops: np.ndarray, same: float = SAME) -> np.ndarray:
    """Number (m,) of each run's budget: sorted by FLOPs, a gap of more than `same` starts the next."""
    flops = np.asarray(flops, dtype=float)
    order = np.argsort(flops)
    steps = np.diff(np.log(flops[order])) > np.log(same)
    group = np.empty(len(flops), int)
    group[order] = np.concatenate([[0], np.cumsum(steps)])
    return group


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
    groups, notes = group_budgets(flops), []
    parts = [np.flatnonzero(groups == g) for g in range(groups.max() + 1)]
    parts = [part[np.argsort(n[part], kind="stable")] for part in parts]
    enough = [part for part in parts if len(np.unique(n[part])) >= MIN_SIZES]
    if len(enough) < len(parts):
        few = len(parts) - len(enough)
        budgets = "1 budget has" if few == 1 else f"{few} budgets have"
        notes.append(f"{budgets} fewer than {MIN_SIZES} sizes: left out.")
    spread = _pooled_noise(enough, n, loss) if noise is None else noise
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
    """Allocate by Approach 2, with intervals.

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
    minima = isoflop_minima(n, d, flops, loss, method=method, noise=noise, seed=seed)
    of_n = weighted_line(minima.flops, minima.n, minima.n_std)
    of_d = weighted_line(minima.flops, minima.d, minima.d_std)
    width = float(np.median(minima.width))
    shape = "parabola" if method == "parabola" else "Akima curve"
    notes = [
        *minima.notes,
        f"{len(minima.n)} budgets, sizes ×{width:.3g} to each side of the middle; {shape}; "
        f"noise of log loss {minima.noise:.2g}.",
        "The intercept is biased where α ≠ β, more so on wide grids: a cross-check of Approach 3. "
        "Its intervals do not hold that bias.",
    ]
    return from_lines(f"2 (IsoFLOP, {shape})", compute, of_n, of_d, minima.flops, minima.loss, notes, seed)


def from_lines(
    approach: str,
    compute: str,
    of_n: Line,
    of_d: Line,
    flops: np.ndarray,
    loss: np.ndarray,
    notes: Sequence[str],
    seed: int = 0,
) -> Allocation:
    """An allocation from lines through optima, and a law of one axis through their losses.

    Args:
        approach: in words.
        compute: how FLOPs were counted, in words.
        of_n: log N* against log C.
        of_d: log D* against log C.
        flops: (K,) budgets.
        loss: (K,) at their optima.
        notes: what a reader must know.
        seed: of the bootstrap.
    """
    law = _loss_law(flops, loss, seed)

    def locate(budget: float) -> Optimum:
        (n, n_interval), (d, d_interval) = of_n.at(budget), of_d.at(budget)
        x = np.array([budget])
        low, high = law.band(x)
        ends = float(low[0]), float(high[0])
        return Optimum(budget, n, n_interval, d, d_interval, float(law.predict(x)[0]), ends)

    at_one = {"coefficient_n": of_n.at(1.0)[1], "coefficient_d": of_d.at(1.0)[1]}
    return Allocation(
        approach,
        compute,
        of_n.slope,
        of_d.slope,
        of_n.coefficient,
        of_d.coefficient,
        intervals={"exponent_n": of_n.slope_interval, "exponent_d": of_d.slope_interval, **at_one},
        locate=locate,
        notes=[*notes, f"Loss at the optimum: {law.form.formula} of x = C."],
    )


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
    best = _minimum(n, d, loss[None], method)[0]
    budget, note = float(np.exp(np.mean(np.log(flops)))), ""
    if not np.isfinite(best).all():
        return None, f"C = {budget:.3g}: no minimum inside the sizes that were run: left out."
    noisy = loss * np.exp(spread * random.standard_normal((draws, len(n))))
    again = _minimum(n, d, noisy, method)
    lost = float(np.mean(~np.isfinite(again[:, 0])))
    if lost > 0.05:
        note = f"C = {budget:.3g}: the minimum leaves the sizes in {lost:.0%} of the redraws."
    # No noise at all still leaves rounding, and weights must be finite.
    std = np.fmax(_robust_std(again[:, :2]), 1e-9)
    width = np.sqrt(n.max() / n.min())
    return [budget, np.exp(best[0]), std[0], np.exp(best[1]), std[1], best[2], width], note


def _minimum(n: np.ndarray, d: np.ndarray, loss: np.ndarray, method: str) -> np.ndarray:
    """(m,) sizes and data in order of size, (S, m) losses → (S, 3) log N*, log D*, loss; NaN at an edge."""
    x, data = np.log(n), np.log(d)
    if method == "parabola":
        middle = x.mean()
        c2, c1, c0 = np.polyfit(x - middle, loss.T, 2)
        with np.errstate(divide="ignore", invalid="ignore"):
            at = np.where(c2 > 0, -c1 / (2 * c2), np.nan)
        lowest, best = c0 + at * (c1 + at * c2), middle + at
    else:
        sizes, which = np.unique(x, return_inverse=True)
        seeds = np.bincount(which)
        means = np.stack([np.bincount(which, row) / seeds for row in np.log(loss)], 1)
        grid = np.linspace(sizes[0], sizes[-1], 2001)
        curves = interpolate.Akima1DInterpolator(sizes, means)(grid)
        at = np.argmin(curves, 0)
        edge = (at == 0) | (at == len(grid) - 1)
        best = np.where(edge, np.nan, grid[at])
        lowest = np.exp(curves[at, np.arange(curves.shape[1])])
    best = np.where((best > x[0]) & (best < x[-1]), best, np.nan)
    # On a curve of equal FLOPs log D is smooth in log N.
    log_d = np.polyval(np.polyfit(x - x.mean(), data, min(2, len(np.unique(x)) - 1)), best - x.mean())
    return np.stack([best, log_d, lowest], 1)


def _pooled_noise(parts: Sequence[np.ndarray], n: np.ndarray, loss: np.ndarray) -> float:
    squares, freedom = 0.0, 0
    for part in parts:
        x, y = np.log(n[part]), loss[part]
        fitted = np.polyval(np.polyfit(x - x.mean(), y, 2), x - x.mean())
        squares += float(np.sum(np.log(y / fitted) ** 2))
        freedom += len(part) - 3
    return float(np.sqrt(squares / freedom)) if freedom else 0.0


def _robust_std(values: np.ndarray) -> np.ndarray:
    """Half the central 68 % of each column: a redraw at the edge must not decide."""
    if np.isnan(values).all(0).any():
        return np.full(values.shape[1], np.inf)
    low, high = np.nanpercentile(values, [15.87, 84.13], axis=0)
    return (high - low) / 2


def _loss_law(flops: np.ndarray, loss: np.ndarray, seed: int) -> Fit:
    fits, refused = fit_forms(flops, loss, bootstrap=300, seed=seed)
    law = supported(fits)
    if law is None:
        raise FitError(f"The loss at the optima has no law: {' '.join(refused)}")
    return law


def _check(n: np.ndarray, d: np.ndarray, flops: np.ndarray, loss: np.ndarray, method: str) -> None:
    if method not in ("parabola", "akima"):
        raise FitError(f"method={method!r}: choose parabola or akima.")
    if not (n.ndim == 1 and n.shape == d.shape == flops.shape == loss.shape and len(n)):
        raise FitError("Sizes, data, FLOPs and losses must be four lists of one length.")
    together = np.concatenate([n, d, flops, loss])
    if not (np.isfinite(together).all() and (together > 0).all()):
        raise FitError("Sizes, data, FLOPs and losses must be positive and finite.")
