"""Approach 1: the lower envelope of training curves, and the model sizes that lie on it.

At each compute the run whose curve is lowest shows which size and how much data were best (Hoffmann et al.
2022, Approach 1). It takes losses in the middle of a run for those of a run that ended there: right for a
constant learning rate, wrong (too high) under a schedule that decays over the whole run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chemscale.common.listening import work
from chemscale.laws.allocation.optimum import NAMES, Allocation, Optimum
from chemscale.laws.axis.fit import LEVEL, Fit, FitError
from chemscale.laws.axis.law import fit_axis

COMPUTES = 400
"""Points of the grid of compute on which curves are compared."""
MIN_SIZES = 3
"""Sizes that must win between the smallest and the largest."""
FRONT = 32
"""Runs of an order among which the first that was drawn nearly always is."""
MIN_DRAWS = 0.5
"""Share of the resampled sets of runs that must have an envelope."""


@dataclass(frozen=True)
class Curve:
    """One run's training or validation curve.

    Args:
        n: size of the model.
        d: (m,) data seen so far, in order.
        flops: (m,) FLOPs spent so far.
        loss: (m,) loss then.
    """

    n: float
    d: np.ndarray
    flops: np.ndarray
    loss: np.ndarray


def allocate_envelope(
    curves: Sequence[Curve], *, compute: str = "counted", bootstrap: int = 1000, seed: int = 0
) -> Allocation:
    """Allocate by Approach 1, with intervals from resampling runs.

    Sizes are compared where at least two of them have a curve. Where the smallest or the largest of those
    wins, the best may lie outside, and that compute is not used.

    Args:
        curves: of single runs, of at least 5 sizes.
        compute: how FLOPs were counted, in words.
        bootstrap: draws.
        seed: of the draws.

    Raises:
        FitError: too few sizes, curves that do not overlap in compute, or fewer than 3 sizes inside.
    """
    curves = list(curves)
    _check(curves)
    grid = _grid(curves)
    table = np.stack([_on_grid(curve, grid) for curve in curves])  # (runs, 2, grid): log loss, log D
    if not (np.isfinite(table[:, 0]).sum(0) >= 2).any():
        raise FitError("Approach 1: the curves do not overlap in compute.")
    sizes = np.log([curve.n for curve in curves])
    ranks = _Ranks(sizes, table)
    found = _lines(sizes, table, np.ones(len(curves)), grid, ranks)
    if found is None:
        raise FitError(
            f"Approach 1: fewer than {MIN_SIZES} sizes win between the smallest and the largest. Add "
            "sizes between them, or train the large ones longer, so that curves cross."
        )
    lines, winners, used = found
    draws = _resampled(sizes, table, grid, ranks, bootstrap, seed)
    law, bears_interval = _loss_law(table, winners, used, grid)
    lowest = float(np.log(grid[0]))

    def locate(budget: float) -> Optimum:
        x, c = np.array([1.0, np.log(budget) - lowest]), np.array([budget])
        n, d = (float(np.exp(lines[k : k + 2] @ x)) for k in (0, 2))
        n_ends, d_ends = (np.exp(_percentiles(draws[:, k : k + 2] @ x)) for k in (0, 2))
        low, high = (float(end[0]) for end in law.band(c)) if bears_interval else (0.0, np.inf)
        return Optimum(
            budget, n, (float(n_ends[0]), float(n_ends[1])), d, (float(d_ends[0]), float(d_ends[1])),
            float(law.predict(c)[0]), (low, high),
        )  # fmt: skip

    a, b = float(lines[1]), float(lines[3])
    at_one = [float(np.exp(lines[k] - lines[k + 1] * lowest)) for k in (0, 2)]
    drawn = [draws[:, 1], draws[:, 3], *(np.exp(draws[:, k] - draws[:, k + 1] * lowest) for k in (0, 2))]
    intervals = {name: _percentiles(values) for name, values in zip(NAMES, drawn, strict=True)}
    notes = [
        f"{len(np.unique(sizes[winners[used]]))} sizes on the envelope, C from {grid[used].min():.3g} to "
        f"{grid[used].max():.3g}.",
        "Takes losses in the middle of a run for final ones: right only where the learning rate stays.",
    ]
    if not bears_interval:
        notes.append("Too few sizes are on the envelope for an interval of its loss: that may have a floor.")
    if len(draws) < bootstrap:
        notes.append(f"{1 - len(draws) / bootstrap:.1%} of the resampled sets of runs had no envelope.")
    return Allocation("1 (envelope)", compute, a, b, at_one[0], at_one[1], intervals, locate, notes)


def _resampled(
    sizes: np.ndarray, table: np.ndarray, grid: np.ndarray, ranks: _Ranks, bootstrap: int, seed: int
) -> np.ndarray:
    """(draws, 4) lines as ``_lines`` gives them, of runs drawn with replacement."""
    random, runs = np.random.default_rng(seed), len(sizes)
    again = []
    with work(bootstrap, "draws") as done:
        for _ in range(bootstrap):
            times = np.bincount(random.integers(0, runs, runs), minlength=runs) * 1.0
            again.append(_lines(sizes, table, times, grid, ranks))
            done(1)
    draws = np.array([each[0] for each in again if each is not None])
    if len(draws) < MIN_DRAWS * bootstrap:
        raise FitError(
            f"Approach 1 gives no interval: {1 - len(draws) / bootstrap:.0%} of the resampled sets of runs "
            "have no envelope of 3 sizes. Add model sizes."
        )
    return draws


def _check(curves: Sequence[Curve]) -> None:
    for curve in curves:
        arrays = [np.asarray(a, dtype=float) for a in (curve.d, curve.flops, curve.loss)]
        together = np.concatenate([[curve.n], *arrays])
        if len({len(a) for a in arrays}) != 1 or len(arrays[0]) < 2:
            raise FitError("A curve needs data, FLOPs and loss of the same two or more moments.")
        if not (np.isfinite(together).all() and (together > 0).all()):
            raise FitError("Sizes, data, FLOPs and losses of a curve must be positive and finite.")
        if (np.diff(arrays[1]) <= 0).any():
            raise FitError("The FLOPs of a curve must grow from one moment to the next.")
    sizes = len({curve.n for curve in curves})
    if sizes < MIN_SIZES + 2:
        raise FitError(
            f"Approach 1 is not fitted: {sizes} sizes, at least {MIN_SIZES + 2} needed (the smallest and "
            "the largest only bound the envelope)."
        )


def _grid(curves: Sequence[Curve]) -> np.ndarray:
    starts = np.sort([curve.flops[0] for curve in curves])
    ends = np.sort([curve.flops[-1] for curve in curves])
    return np.geomspace(starts[1], ends[-2], COMPUTES)


def _on_grid(curve: Curve, grid: np.ndarray) -> np.ndarray:
    """(2, grid) log of the best loss so far and of the data at it; NaN outside the run."""
    x = np.log(curve.flops)
    best = np.minimum.accumulate(np.log(curve.loss))
    return np.stack([np.interp(np.log(grid), x, y, np.nan, np.nan) for y in (best, np.log(curve.d))])


class _Ranks:
    """Runs in order at each compute, so that who wins among some of them need not compare them all."""

    def __init__(self, sizes: np.ndarray, table: np.ndarray):
        loss = np.where(np.isfinite(table[:, 0]), table[:, 0], np.inf)
        self.present = np.isfinite(loss)
        self.by_loss = np.argsort(loss, axis=0, kind="stable")
        sized = np.where(self.present, sizes[:, None], np.inf)
        self.smallest = np.argsort(sized, axis=0, kind="stable")
        self.largest = np.argsort(np.where(self.present, -sizes[:, None], np.inf), axis=0, kind="stable")

    def first(self, order: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """(grid,) the first of the chosen runs (runs,) in an order (runs, grid)."""
        for few in (order[:FRONT], order):
            hit = chosen[few]
            if hit.any(0).all():
                break
        return few[hit.argmax(0), np.arange(few.shape[1])]


def _lines(
    sizes: np.ndarray, table: np.ndarray, times: np.ndarray, grid: np.ndarray, ranks: _Ranks
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Lines through the envelope of runs that count so many `times` (runs,): None where too few sizes win.

    Returns:
        (4,) intercept and slope of log N* and of log D* against log C less the grid's first, the winning run
        at each compute, and where it counts.
    """
    some = times @ ranks.present >= 2
    if not some.any():
        return None
    chosen = times > 0
    winners, smallest, largest = (
        ranks.first(order, chosen) for order in (ranks.by_loss, ranks.smallest, ranks.largest)
    )
    best = sizes[winners]
    used = some & (best > sizes[smallest]) & (best < sizes[largest])
    if len(np.unique(best[used])) < MIN_SIZES:
        return None
    at = np.flatnonzero(used)
    x = np.log(grid[at] / grid[0])
    lines = [np.polyfit(x, y, 1)[::-1] for y in (best[at], table[winners[at], 1, at])]
    return np.concatenate(lines), winners, used


def _loss_law(table: np.ndarray, winners: np.ndarray, used: np.ndarray, grid: np.ndarray) -> tuple[Fit, bool]:
    """A law of the envelope's loss against C, from the middle of each run's stretch.

    Returns:
        The law, and whether its interval holds: that of a power law would not where there is a floor.
    """
    at = []
    for run in np.unique(winners[used]):
        stretch = np.flatnonzero(used & (winners == run))
        at.append(stretch[len(stretch) // 2])
    where = np.sort(np.array(at))
    losses = np.exp(table[winners[where], 0, where])
    law = fit_axis(grid[where], losses, forms=("power", "offset"))
    if not law.fits:
        raise FitError(f"The envelope's loss has no law: {' '.join(law.refused)}")
    named = law.chosen or law.fits[-1]
    return named, law.chosen is not None and named.form.name == "offset"


def _percentiles(values: np.ndarray) -> tuple[float, float]:
    tail = 50 * (1 - LEVEL)
    low, high = np.percentile(values, [tail, 100 - tail])
    return float(low), float(high)
