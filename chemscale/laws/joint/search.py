"""Where descents of a joint law begin and which of their ends is the optimum.

A law descends from the whole grid of its form. A refit of nearly the same runs (a check of the law) begins
where the law ended and at a few starts of the grid, and takes the whole grid only where these disagree. Of a
table of many runs the starts descend on some of them, and their ends on all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from chemscale.common.listening import work
from chemscale.laws.axis.fit import FitError
from chemscale.laws.axis.least_squares import Descents
from chemscale.laws.joint.bootstrap import Sample
from chemscale.laws.joint.huber import fit_huber, polish
from chemscale.laws.joint.surfaces import Surface

NEAR = 1.01
"""A descent reached the optimum if its objective is at most this many times the least."""
OPTIMA = 8
"""Most ends of descents that are polished."""
MANY = 1000
"""Runs from which starts descend on some of them first."""
SOME = 400
"""Runs on which they do."""
ENDS = 16
"""Most ends of such descents that go on with all runs."""
FEW = 40
"""Starts of the grid beside those of a refit."""
SAME = 1e-6
"""Relative difference of objectives within which a start of the grid found no better optimum."""


def starts_of(surface: Surface, starts: np.ndarray | None, fixed: Mapping[str, float]) -> np.ndarray:
    """(S, p) starts with the fixed parameters at their values; the form's grid where none are given."""
    grid = surface.starts() if starts is None else np.asarray(starts, dtype=float)
    grid = grid.copy()
    for name, value in fixed.items():
        grid[:, surface.coordinates.index(name)] = surface.scaled(name, value)
    return np.unique(grid, axis=0) if fixed else grid


def descend(sample: Sample, starts: np.ndarray) -> Descents:
    """Descend from every start.

    With many runs only the ends of descents on some of them go on with all; a start is then said to end where
    the end that is most like its own does, with an infinite objective where its own was hopeless.

    Args:
        sample: what is fitted.
        starts: (S, p) in the coordinates of the sample.
    """
    if len(sample.y) <= MANY:
        return fit_huber(
            sample.surface, starts, sample.z, sample.y, delta=sample.delta, fixed=sample.held
        )  # fmt: skip
    rows = some_of(sample.z)
    fewer = replace(sample, z=sample.z[rows], y=sample.y[rows], groups=None)
    rough = fit_huber(fewer.surface, starts, fewer.z, fewer.y, delta=fewer.delta, fixed=fewer.held)
    order = np.argsort(rough.objective, kind="stable")
    good = order[rough.objective[order] <= 2 * rough.objective[order[0]] + 1e-20]
    ends = apart(rough.phi[good])[:ENDS]
    whole = fit_huber(sample.surface, ends, sample.z, sample.y, delta=sample.delta, fixed=sample.held)
    gaps = np.abs(rough.phi[good][:, None] - ends) / (0.1 + np.abs(ends))
    nearest = gaps.max(2).argmin(1)
    objective, phi = np.full(len(starts), np.inf), rough.phi
    converged = np.zeros(len(starts), bool)
    objective[good], phi[good] = whole.objective[nearest], whole.phi[nearest]
    converged[good] = whole.converged[nearest]
    return Descents(phi, objective, converged)


def descend_warm(sample: Sample, warm: np.ndarray, grid: np.ndarray) -> tuple[Descents, int]:
    """Descend from the optimum of a like fit and a few starts of the grid, or from all where these disagree.

    They agree where a few starts end at the optimum too and none finds a better one.

    Args:
        sample: what is fitted.
        warm: (m, p) starts near the optimum, in the coordinates of the sample.
        grid: (S, p) starts of the form.

    Returns:
        The descents, and how many starts they had.
    """
    # Every k-th of a product of axes could leave one of them where it is.
    few = grid[np.random.default_rng(0).permutation(len(grid))[:FEW]]
    starts = np.concatenate([warm, few])
    found = descend(sample, starts)
    of_warm, of_few = np.split(found.objective, [len(warm)])
    least = of_warm.min()
    no_better = of_few.min() >= least * (1 - SAME) - 1e-20
    alike = (of_few <= NEAR * least + 1e-20).any()
    if len(grid) <= FEW or (np.isfinite(least) and no_better and alike):
        return found, len(starts)
    starts = np.concatenate([warm, grid])
    return descend(sample, starts), len(starts)


def some_of(z: np.ndarray) -> np.ndarray:
    """Places of SOME of the runs: at random, with the ends of every input."""
    ends = np.concatenate([z.argmin(0), z.argmax(0)])
    return np.unique(np.concatenate([ends, np.random.default_rng(0).permutation(len(z))[:SOME]]))


def optima_of(sample: Sample, found: Descents) -> tuple[np.ndarray, float, str]:
    """(m, p) the least optimum and those as good to within ``NEAR``, with its objective and status."""
    if not np.isfinite(found.objective[int(np.argmin(found.objective))]):
        raise FitError(f"{sample.surface.formula}: no start has a finite loss.")
    candidates, polished = _candidates(found), []
    with work(len(candidates), "optima") as done:
        for one in candidates:
            polished.append(polish(sample.surface, one, sample.z, sample.y, sample.delta, sample.held))
            done(1)
    polished.sort(key=lambda end: end[1])
    _, objective, status = polished[0]
    return np.array([end[0] for end in polished if end[1] <= NEAR * objective]), objective, status


def _candidates(found: Descents) -> np.ndarray:
    """(m, p) ends of descents nearly as good as the best and apart from each other, best first.

    A surface of few residuals within δ has optima beside each other, and which is least shows only once their
    last digits are known.
    """
    order = np.argsort(found.objective, kind="stable")
    good = found.objective[order] <= 1.02 * found.objective[order[0]] + 1e-20
    return apart(found.phi[order[good]])[:OPTIMA]


def apart(phi: np.ndarray) -> np.ndarray:
    """Those that differ from all before them by more than 1 % in some coordinate."""
    kept = phi[:1]
    for one in phi[1:]:
        if (np.abs(kept - one) > 0.01 * (0.1 + np.abs(one))).any(1).all():
            kept = np.concatenate([kept, one[None]])
    return kept
