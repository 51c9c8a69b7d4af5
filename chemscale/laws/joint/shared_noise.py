"""Noise that runs share: its variance beside each run's own, and how little a few groups tell of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LARGEST = 9.0
"""Logarithm of the largest ratio of variances that is considered."""
DECAY = 0.35
"""Power of the prior's fall with the ratio of a group's mean variance to that of independent runs."""
VALUES = {1: 90, 2: 24}
"""Ratios on the grid of each, by how many kinds of groups there are."""


@dataclass(frozen=True)
class Components:
    """Variances of one run about its groups and of each kind of group, as far as the residuals tell them."""

    own: float
    """Posterior median of a run's own."""
    shared: np.ndarray
    """(k,) of each kind of group."""
    own_draws: np.ndarray  # (S,)
    shared_draws: np.ndarray  # (S, k)


def indicators(groups: np.ndarray) -> np.ndarray:
    """(n, G) which group each run is of, from numbers (n,)."""
    return np.eye(int(groups.max()) + 1)[groups]


def components(
    jacobian: np.ndarray,
    residual: np.ndarray,
    kinds: Sequence[np.ndarray],
    count: int,
    random: np.random.Generator,
) -> Components:
    """Draw variances from their posterior given the residuals (restricted likelihood, REML).

    Only what the law cannot follow is looked at: the part of the residuals outside the span of its
    derivatives. The prior is flat in log σ²; in the logarithm of 1 + m·τ²/σ², a group's mean variance over
    that of independent runs, it falls with DECAY (flat, intervals hold 98 to 99 % in simulated ladders). Five
    trunks leave about two degrees of freedom between them: an estimate alone would be 0 in a third of all
    sweeps, and its interval too narrow.

    Args:
        jacobian: (p, n) derivatives of log loss by the parameters that were fitted.
        residual: (n,) of log loss.
        kinds: of groups, each numbers (n,).
        count: draws.
        random: of the draws.
    """
    u, sizes, _ = np.linalg.svd(jacobian.T, full_matrices=True)
    rank = int((sizes > 1e-9 * sizes.max()).sum())
    outside = u[:, rank:]
    left = outside.T @ residual
    freedom = len(left)
    shapes, steps, grids = [], [], []
    for groups in kinds:
        half = outside.T @ indicators(groups)
        shape = half @ half.T
        values = np.linalg.eigvalsh(shape)
        mean = float(values[values > 0.1 * values.max()].mean())
        log_ratio = np.linspace(0.0, LARGEST, VALUES[len(kinds)])
        shapes.append(shape)
        steps.append(log_ratio[1])
        grids.append((log_ratio, mean))
    places = np.stack([g.ravel() for g in np.meshgrid(*(range(len(g[0])) for g in grids), indexing="ij")], 1)
    ratios = np.stack([np.expm1(g[0][places[:, k]]) / g[1] for k, g in enumerate(grids)], 1)
    logs, quadratic = _restricted(shapes, left, ratios)
    prior = -DECAY * sum(g[0][places[:, k]] for k, g in enumerate(grids))
    height = prior - 0.5 * logs - 0.5 * freedom * np.log(np.maximum(quadratic, 1e-300))
    chance = np.exp(height - height.max())
    chosen = random.choice(len(places), count, p=chance / chance.sum())
    own = quadratic[chosen] / random.chisquare(freedom, count)
    within = random.uniform(-0.5, 0.5, (count, len(kinds)))
    shared = np.empty((count, len(kinds)))
    for k, (log_ratio, mean) in enumerate(grids):
        at = log_ratio[places[chosen, k]] + steps[k] * within[:, k]
        shared[:, k] = own * np.expm1(np.maximum(at, 0.0)) / mean
    return Components(float(np.median(own)), np.median(shared, axis=0), own, shared)


def _restricted(
    shapes: Sequence[np.ndarray], left: np.ndarray, ratios: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(G,) log determinants of V = 1 + Σ ratio·shape and (G,) e'V⁻¹e, at (G, k) ratios."""
    if len(shapes) == 1:
        values, vectors = np.linalg.eigh(shapes[0])
        scale = 1 + ratios * values.clip(0)
        return np.log(scale).sum(1), ((vectors.T @ left) ** 2 / scale).sum(1)
    logs, quadratic = np.empty(len(ratios)), np.empty(len(ratios))
    for place, row in enumerate(ratios):
        v = np.eye(len(left)) + sum(r * shape for r, shape in zip(row, shapes, strict=True))
        lower = np.linalg.cholesky(v)
        logs[place] = 2 * np.log(np.diag(lower)).sum()
        quadratic[place] = float(np.sum(np.linalg.solve(lower, left) ** 2))
    return logs, quadratic
