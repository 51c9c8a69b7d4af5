"""Runs of equal compute: which belong to one budget, and the minimum of each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import interpolate

SAME = 1.15
"""Runs whose FLOPs differ by at most this factor from the next belong to one budget."""
MIN_SIZES = 4
"""Distinct sizes of a budget below which its minimum is not taken: 3 points lie on any parabola."""


def group_budgets(flops: np.ndarray, same: float = SAME) -> np.ndarray:
    """Number (m,) of each run's budget: sorted by FLOPs, a gap of more than `same` starts the next."""
    flops = np.asarray(flops, dtype=float)
    order = np.argsort(flops)
    steps = np.diff(np.log(flops[order])) > np.log(same)
    group = np.empty(len(flops), int)
    group[order] = np.concatenate([[0], np.cumsum(steps)])
    return group


def minimum(n: np.ndarray, d: np.ndarray, loss: np.ndarray, method: str) -> np.ndarray:
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


def budgets_of(n: np.ndarray, flops: np.ndarray) -> tuple[list[np.ndarray], int]:
    """Places of each budget's runs by size, of budgets with enough sizes, and how many have fewer."""
    groups = group_budgets(flops)
    parts = [np.flatnonzero(groups == g) for g in range(groups.max() + 1)]
    parts = [part[np.argsort(n[part], kind="stable")] for part in parts]
    enough = [part for part in parts if len(np.unique(n[part])) >= MIN_SIZES]
    return enough, len(parts) - len(enough)


def pooled_noise(parts: Sequence[np.ndarray], n: np.ndarray, loss: np.ndarray) -> tuple[float, int]:
    """Spread of log loss about each budget's parabola, and its degrees of freedom."""
    squares, freedom = 0.0, 0
    for part in parts:
        squares += float(np.sum(np.log(loss[part] / parabola(n[part], loss[part])) ** 2))
        freedom += len(part) - 3
    return (float(np.sqrt(squares / freedom)) if freedom else 0.0), freedom


def parabola(n: np.ndarray, loss: np.ndarray) -> np.ndarray:
    """(m,) losses of the parabola in log N through losses (m,)."""
    x = np.log(n) - np.log(n).mean()
    return np.polyval(np.polyfit(x, loss, 2), x)
