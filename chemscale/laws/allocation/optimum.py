"""Compute-optimal allocation: how large a model N* and how much data D* a budget of FLOPs is best spent on.

Three approaches (Hoffmann et al. 2022) answer from different evidence, and each gives an ``Allocation``, so
that they can stand side by side: the envelope of training curves (``envelope``), the minima of runs of equal
compute (``isoflop``), and the minimum of a fitted surface (here). Where they disagree, the runs
are not enough.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import interpolate

from chemscale.laws.allocation.compute import SIX_ND, Flops, PowerCompute, data_for
from chemscale.laws.axis.fit import LEVEL, FitError
from chemscale.laws.joint.drift import Drift, Reading
from chemscale.laws.joint.fit import SurfaceFit, Target
from chemscale.laws.joint.surfaces import Surface

Interval = tuple[float, float]


@dataclass(frozen=True)
class Optimum:
    """Where a budget is best spent. Intervals are at LEVEL and of the law, not of one new run."""

    flops: float
    n: float
    n_interval: Interval
    d: float
    d_interval: Interval
    loss: float
    loss_interval: Interval


@dataclass(frozen=True)
class Allocation:
    """The power laws N* = coefficient_n·C^exponent_n and D* = coefficient_d·C^exponent_d, by one approach.

    Where the count of FLOPs is no power of N and D, the exponents are the local slopes at the compute that
    `notes` name, and ``at`` is exact all the same.

    Args:
        approach: of Hoffmann et al. 2022, in words.
        compute: how FLOPs were counted, in words.
        exponent_n: of N*.
        exponent_d: of D*.
        coefficient_n: of N*.
        coefficient_d: of D*.
        intervals: of these four, by these names.
        locate: optimum of a budget; see ``at``.
        notes: what a reader must know.
    """

    approach: str
    compute: str
    exponent_n: float
    exponent_d: float
    coefficient_n: float
    coefficient_d: float
    intervals: dict[str, Interval]
    locate: Callable[[float], Optimum] = field(repr=False, compare=False)
    notes: list[str] = field(default_factory=list)

    def at(self, flops: float) -> Optimum:
        """The optimum of a budget of `flops`; beyond the runs it is only as good as the approach.

        Raises:
            FitError: the budget is not positive, or has no optimum.
        """
        if not (np.isfinite(flops) and flops > 0):
            raise FitError(f"A budget of {flops} FLOPs has no optimum: give a positive number.")
        return self.locate(float(flops))

    def to_dict(self) -> dict[str, Any]:
        """For ``law.json``."""
        values = {name: getattr(self, name) for name in NAMES}
        return {
            "approach": self.approach,
            "compute": self.compute,
            **values,
            "intervals": {name: list(pair) for name, pair in self.intervals.items()},
            "level": LEVEL,
            "notes": self.notes,
        }


STEP = 0.05
"""In log N, of derivatives along a curve of equal FLOPs."""
NAMES = ("exponent_n", "exponent_d", "coefficient_n", "coefficient_d")
"""Of the four numbers of an allocation, and of their intervals."""


def allocate_surface(fit: SurfaceFit, flops: Flops = SIX_ND, *, at: float | None = None) -> Allocation:
    """Allocate by Approach 3: minimise E + A·N^−α + B·D^−β under a budget.

    With C = k·N^p·D^q the minimum is a power law with a = β/(αq + βp) and b = α/(αq + βp), for C = 6ND
    Hoffmann's a = β/(α + β) (their Eq. 4). With any other count it is found numerically.

    Args:
        fit: of the form ``additive``.
        flops: ``PowerCompute`` (see ``fit_compute``), or a function of arrays N and D that grows with both.
        at: compute where the exponents of a count that is no power are taken; None for the largest run's.

    Raises:
        FitError: another form, or α or β not above 0 (then more of one axis never helps).
    """
    _check_form(fit)
    reference = at or float(np.max(np.asarray(flops(fit.inputs[:, 0], fit.inputs[:, 1]))))
    target = _laws_target(flops, reference)

    def locate(budget: float) -> Optimum:
        target = optimum_target(fit.surface, flops, budget)
        best, (low, high) = np.exp(target(fit.phi[None])[0]), np.exp(fit.interval(target))
        if not np.isfinite(best).all():
            raise FitError(f"A budget of {budget:.3g} FLOPs has no optimum between 1 and its cheapest model.")
        pairs = [(float(lo), float(hi)) for lo, hi in zip(low, high, strict=True)]
        n, d, loss = map(float, best)
        return Optimum(budget, n, pairs[0], d, pairs[1], loss, pairs[2])

    best, ends = target(fit.phi[None])[0], np.stack(fit.interval(target))
    best[2:], ends[:, 2:] = np.exp(best[2:]), np.exp(ends[:, 2:])
    intervals = {name: (float(ends[0, k]), float(ends[1, k])) for k, name in enumerate(NAMES)}
    notes, power = list(fit.notes), isinstance(flops, PowerCompute)
    if not power:
        notes.append(f"Exponents are the local slopes at C = {reference:.3g}; this count is no power law.")
    lost = float(np.mean(~np.isfinite(target(fit.draws.phi)[:, 0])))
    if lost > 0:
        notes.append(f"{lost:.1%} of the bootstrap draws have no optimum (an exponent at or below 0).")
    a, b, at_one_n, at_one_d = map(float, best)
    count = str(flops) if power else "counted"
    return Allocation("3 (parametric surface)", count, a, b, at_one_n, at_one_d, intervals, locate, notes)


def _laws_target(flops: Flops, reference: float) -> Target:
    """(S, p) coordinates of an additive surface → (S, 4) exponents and log coefficients of N* and D*."""

    def target(phi: np.ndarray) -> np.ndarray:
        if isinstance(flops, PowerCompute):
            a, b = _exponents(phi, flops)
            log_n, log_d = _closed(phi, flops, reference)
        else:
            step = 0.05
            below, above = (_numerical(phi, flops, reference * np.exp(s)) for s in (-step, step))
            log_n, log_d = _numerical(phi, flops, reference)
            a, b = ((above[k] - below[k]) / (2 * step) for k in (0, 1))
        log_c = np.log(reference)
        return np.stack([a, b, log_n - a * log_c, log_d - b * log_c], 1)

    return target


def optimum_target(surface: Surface, flops: Flops, budget: float) -> BestOf:
    """The optimum of a budget as a function of a law.

    Args:
        surface: of the form additive.
        flops: of N and D.
        budget: FLOPs.

    Returns:
        A function of (S, p) coordinates: (S, 3) log N*, log D* and log L*.

    Raises:
        FitError: another form.
    """
    _check_surface(surface)
    return BestOf(surface, flops, budget)


@dataclass(frozen=True)
class BestOf(Reading):
    """(S, 3) log N*, log D* and log L* of a budget."""

    surface: Surface
    flops: Flops
    budget: float

    def __call__(self, phi: np.ndarray) -> np.ndarray:
        if isinstance(self.flops, PowerCompute):
            log_n, log_d = _closed(phi, self.flops, self.budget)
        else:
            log_n, log_d = _numerical(phi, self.flops, self.budget)
        terms = [phi[:, 0] - phi[:, 3] * log_n, phi[:, 1] - phi[:, 4] * log_d, phi[:, 2]]
        with np.errstate(invalid="ignore"):  # no optimum is NaN
            return np.stack([log_n, log_d, np.logaddexp.reduce(terms)], 1)

    def by_drift(self, phi: np.ndarray, drift: Drift) -> np.ndarray:
        """The optimum moves by −(∂²l/∂γ∂n)/(∂²l/∂n²) along the curve of equal FLOPs, the loss by ∂l/∂γ."""
        log_n = self(phi[None])[0, 0]
        if not np.isfinite(log_n):
            return np.full((3, drift.steps), np.nan)
        places = log_n + STEP * np.array([-1.0, 0.0, 1.0])
        z = np.stack([places, np.log(data_for(self.flops, self.budget, np.exp(places)))], 1)
        loss = self.surface.log_loss(phi[None], z)[0][0]
        rows = drift.rows(self.surface, phi, z)
        bend = (loss[0] - 2 * loss[1] + loss[2]) / STEP**2
        of_n = -(rows[2] - rows[0]) / (2 * STEP) / bend
        return np.stack([of_n, of_n * (z[2, 1] - z[0, 1]) / (2 * STEP), rows[1]])


def _exponents(phi: np.ndarray, flops: PowerCompute) -> tuple[np.ndarray, np.ndarray]:
    alpha, beta = np.where(phi[:, 3:] > 0, phi[:, 3:], np.nan).T
    total = alpha * flops.q + beta * flops.p
    return beta / total, alpha / total


def _closed(phi: np.ndarray, flops: PowerCompute, budget: float) -> tuple[np.ndarray, np.ndarray]:
    """log N*, log D*: where αA·N^−α/p = βB·D^−β/q on C = k·N^p·D^q."""
    alpha, beta = np.where(phi[:, 3:] > 0, phi[:, 3:], np.nan).T
    ratio = np.log(alpha * flops.q / (beta * flops.p)) + phi[:, 0] - phi[:, 1]
    log_c = np.log(budget / flops.k)
    log_n = (flops.q * ratio + beta * log_c) / (alpha * flops.q + beta * flops.p)
    return log_n, (log_c - flops.p * log_n) / flops.q


def _numerical(phi: np.ndarray, flops: Flops, budget: float) -> tuple[np.ndarray, np.ndarray]:
    """log N*, log D* on the curve of equal FLOPs, where the loss stops falling along it.

    The curve log D(log N) is one spline for all φ; the root of the derivative is bisected for each.
    """
    grid = np.linspace(0.0, 60.0, 1201)
    log_d = np.log(data_for(flops, budget, np.exp(grid)))
    known = np.isfinite(log_d)
    missing = np.full(len(phi), np.nan)
    if known.sum() < 8:
        return missing, missing
    curve = interpolate.CubicSpline(grid[known], log_d[known])
    slope = curve.derivative()
    alpha, beta = np.where(phi[:, 3:] > 0, phi[:, 3:], np.nan).T

    def gain(log_n: np.ndarray) -> np.ndarray:
        """Above 0 while a larger model with less data still lowers the loss."""
        steepness = np.log(np.maximum(-slope(log_n), 1e-300))
        of_n = np.log(alpha) + phi[:, 0] - alpha * log_n
        return of_n - (np.log(beta) + phi[:, 1] - beta * curve(log_n) + steepness)

    low, high = (np.full(len(phi), end) for end in (grid[known][0], grid[known][-1]))
    inside = (gain(low) > 0) & (gain(high) < 0)
    for _ in range(70):
        middle = (low + high) / 2
        larger = gain(middle) > 0
        low, high = np.where(larger, middle, low), np.where(larger, high, middle)
    best = np.where(inside, (low + high) / 2, np.nan)
    return best, curve(best)


def _check_surface(surface: Surface) -> None:
    if surface.name != "additive":
        raise FitError(
            f"Approach 3 needs the form additive, E + A·N^(−α) + B·D^(−β), and this law is {surface.name}: "
            "fit that form beside it."
        )


def _check_form(fit: SurfaceFit) -> None:
    _check_surface(fit.surface)
    if fit.values["alpha"] <= 0 or fit.values["beta"] <= 0:
        raise FitError(
            f"This law has no optimum: α = {fit.values['alpha']:.3g}, β = {fit.values['beta']:.3g}, and both "
            "must be above 0. Add runs that vary the axis whose exponent is not."
        )
