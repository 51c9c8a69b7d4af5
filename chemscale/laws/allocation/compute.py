"""What a run costs: training FLOPs as a function of model size N and data D.

Compute is what was counted (matrix products, attention, head), and 6ND stands beside it: at small width the
two differ several times, by a factor that itself depends on N, which moves the exponents of an allocation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from chemscale.laws.axis.fit import FitError

Flops = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Sizes N and data D of one shape → FLOPs, growing with both."""


@dataclass(frozen=True)
class PowerCompute:
    """FLOPs as C = k·N^p·D^q, callable like any ``Flops``; with it Approach 3 has a closed form.

    Args:
        k: coefficient.
        p: exponent of N.
        q: exponent of D.
        misfit: the largest relative error over the runs that it was fitted to.
    """

    k: float
    p: float
    q: float
    misfit: float = 0.0

    def __call__(self, n: np.ndarray, d: np.ndarray) -> np.ndarray:
        return self.k * np.asarray(n, dtype=float) ** self.p * np.asarray(d, dtype=float) ** self.q

    def __str__(self) -> str:
        if self == SIX_ND:
            return "C = 6ND"
        return f"C = {self.k:.4g}·N^{self.p:.3f}·D^{self.q:.3f} (within {self.misfit:.1%} of the counts)"


SIX_ND = PowerCompute(6.0, 1.0, 1.0)
"""Kaplan et al. 2020: two FLOPs a parameter forward, four backward; no attention, no head."""


def fit_compute(n: np.ndarray, d: np.ndarray, flops: np.ndarray) -> PowerCompute:
    """Fit C = k·N^p·D^q to counted FLOPs of runs, by least squares of log C.

    Args:
        n: (m,) parameters of each run.
        d: (m,) its data.
        flops: (m,) what it cost, as counted.

    Raises:
        FitError: fewer than 3 runs, or N and D that do not vary apart from each other.
    """
    n, d, flops = (np.asarray(x, dtype=float) for x in (n, d, flops))
    if not (n.shape == d.shape == flops.shape) or n.ndim != 1 or len(n) < 3:
        raise FitError(f"C = k·N^p·D^q needs N, D and C of at least 3 runs, got {len(np.atleast_1d(n))}.")
    values = np.concatenate([n, d, flops])
    if not (np.isfinite(values).all() and (values > 0).all()):
        raise FitError("N, D and C must be positive and finite.")
    z = np.stack([np.ones(len(n)), np.log(n), np.log(d)], 1)
    centred = z[:, 1:] - z[:, 1:].mean(0)
    if np.linalg.svd(centred, compute_uv=False)[-1] < 1e-6 * max(1.0, float(np.abs(centred).max())):
        raise FitError(
            "C = k·N^p·D^q is not fitted: N and D grow together or one stands still in these runs. "
            "Give runs that vary each, or the count itself as a function of N and D."
        )
    log_k, p, q = np.linalg.lstsq(z, np.log(flops), rcond=None)[0]
    relation = PowerCompute(float(np.exp(log_k)), float(p), float(q))
    misfit = float(np.max(np.abs(relation(n, d) / flops - 1)))
    return PowerCompute(relation.k, relation.p, relation.q, misfit)


def data_for(flops: Flops, budget: float, n: np.ndarray) -> np.ndarray:
    """Data at which models have spent a budget, by bisection in log D; NaN where even one token costs more.

    Args:
        flops: of N and D.
        budget: FLOPs.
        n: (m,) sizes.

    Returns:
        (m,) data.
    """
    n = np.asarray(n, dtype=float)
    if isinstance(flops, PowerCompute):
        return (budget / flops.k / n**flops.p) ** (1 / flops.q)
    low, high = np.zeros(n.shape), np.full(n.shape, 90.0)
    with np.errstate(over="ignore"):
        for _ in range(70):
            middle = (low + high) / 2
            over = np.asarray(flops(n, np.exp(middle))) > budget
            low, high = np.where(over, low, middle), np.where(over, middle, high)
        return np.where(np.asarray(flops(n, np.ones(n.shape))) > budget, np.nan, np.exp((low + high) / 2))
