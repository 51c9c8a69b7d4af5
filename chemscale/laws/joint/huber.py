"""Huber fits of log loss from many starts at once.

The objective is Σ w·Huber_δ(log L − log L̂). All starts (or all draws of a bootstrap) descend together as
one batch of damped Gauss–Newton steps whose weights turn the squares into Huber's loss (iteratively
reweighted least squares: each step minimises a quadratic that lies above the objective, so it never rises).
"""

from __future__ import annotations

import math

import numpy as np
from scipy import optimize

from chemscale.laws.axis.least_squares import Descents
from chemscale.laws.joint.surfaces import Surface

DELTA = 1e-3
"""Huber's δ on log loss, as Hoffmann et al. 2022 chose it; smaller residuals count squared."""
POLISHES = 6
"""Most restarts of the last descent, each from where the one before ended."""
NUMBERS_AT_ONCE = 1 << 18
"""Size of the derivative array of one chunk of starts: small enough for a cache."""


def huber(residual: np.ndarray, delta: float) -> np.ndarray:
    """Huber's loss of each residual: ½r² below δ, δ(|r| − ½δ) above; δ = ∞ is least squares."""
    size = np.abs(residual)
    if math.isinf(delta):
        return 0.5 * residual**2
    return np.where(size <= delta, 0.5 * residual**2, delta * (size - 0.5 * delta))


def fit_huber(
    surface: Surface,
    phi: np.ndarray,
    z: np.ndarray,
    y: np.ndarray,
    *,
    weights: np.ndarray | None = None,
    delta: float = DELTA,
    fixed: np.ndarray | None = None,
    steps: int = 200,
    tolerance: float = 1e-10,
) -> Descents:
    """Minimise Σ w·Huber_δ(log L − log L̂) from every start by damped Gauss–Newton steps.

    Args:
        surface: the form.
        phi: (S, p) starts.
        z: (n, k) log inputs.
        y: (n,) or (S, n) log losses.
        weights: (S, n) how often each run counts in each descent; None for once.
        delta: of Huber's loss; infinity is least squares.
        fixed: (p,) which coordinates stay where they start.
        steps: the most steps of a descent.
        tolerance: relative change of the objective below which a descent has ended.
    """
    count, parameters = phi.shape
    chunk = max(1, NUMBERS_AT_ONCE // (len(z) * parameters))
    free = np.ones(parameters, bool) if fixed is None else ~fixed
    parts = [
        _fit_chunk(
            surface,
            phi[at : at + chunk],
            z,
            y if y.ndim == 1 else y[at : at + chunk],
            1.0 if weights is None else weights[at : at + chunk],
            delta,
            free,
            steps,
            tolerance,
        )
        for at in range(0, count, chunk)
    ]
    return Descents(
        *(np.concatenate([getattr(part, key) for part in parts]) for key in ("phi", "objective", "converged"))
    )


def _fit_chunk(
    surface: Surface,
    phi: np.ndarray,
    z: np.ndarray,
    y: np.ndarray,
    weights: np.ndarray | float,
    delta: float,
    free: np.ndarray,
    steps: int,
    tolerance: float,
) -> Descents:
    phi = phi.copy()
    alive = np.arange(len(phi))  # rows still descending
    damping = np.full(len(phi), 1e-2)
    calm = np.zeros(len(phi), int)
    lowest = surface.lowest()

    def rows(array: np.ndarray | float, which: np.ndarray) -> np.ndarray | float:
        return array[which] if isinstance(array, np.ndarray) and array.ndim == 2 else array

    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        log, jacobian = surface.log_loss(phi, z)
        residual = log - y
        objective = (weights * huber(residual, delta)).sum(1)
        objective[~np.isfinite(objective)] = np.inf
        for _ in range(steps):
            if not len(alive):
                break
            w = np.minimum(1.0, delta / np.maximum(np.abs(residual), 1e-300)) * rows(weights, alive)
            step = np.zeros((len(alive), phi.shape[1]))
            pinned = (phi[alive] <= lowest)[:, free] if np.isfinite(lowest).any() else None
            j = jacobian if free.all() else jacobian[:, free]
            step[:, free] = _damped_step(j, residual, w, damping[alive], pinned)
            trial = np.maximum(phi[alive] + step, lowest)
            new_log, new_jacobian = surface.log_loss(trial, z)
            new_residual = new_log - rows(y, alive)
            reached = (rows(weights, alive) * huber(new_residual, delta)).sum(1)
            better = reached < objective[alive]
            gain = (objective[alive] - reached) / np.maximum(objective[alive], 1e-300)
            phi[alive[better]] = trial[better]
            residual[better] = new_residual[better]
            jacobian[better] = new_jacobian[better]
            small = np.where(better, gain < tolerance, damping[alive] > 1e8)
            calm[alive] = np.where(small, calm[alive] + 1, 0)
            objective[alive] = np.where(better, reached, objective[alive])
            damping[alive] = np.where(better, damping[alive] * 0.25, damping[alive] * 8.0).clip(1e-12, 1e12)
            stay = (calm[alive] < 3) & (objective[alive] > 1e-26)
            alive, residual, jacobian = alive[stay], residual[stay], jacobian[stay]
    ended = np.ones(len(phi), bool)
    ended[alive] = False
    return Descents(phi, objective, ended)


def _damped_step(
    jacobian: np.ndarray,
    residual: np.ndarray,
    weights: np.ndarray,
    damping: np.ndarray,
    pinned: np.ndarray | None,
) -> np.ndarray:
    """(S, p) Levenberg–Marquardt steps; a coordinate at its bound (`pinned`) that is pushed out stays."""
    p = jacobian.shape[1]
    weighted = jacobian * weights[:, None, :]
    hessian = np.matmul(weighted, jacobian.transpose(0, 2, 1))
    gradient = np.matmul(weighted, residual[..., None])[..., 0]
    if pinned is not None:
        move = ~(pinned & (gradient > 0))
        gradient = gradient * move
        hessian = hessian * move[:, :, None] * move[:, None, :]
    diagonal = np.einsum("spp->sp", hessian)
    scale = diagonal + 1e-12 * diagonal.max(1, keepdims=True) + 1e-300
    damped = hessian + np.eye(p) * (damping[:, None] * scale)[:, None, :]
    if pinned is not None:
        damped += np.eye(p) * np.where(move, 0.0, 1.0)[:, None, :]
    damped[~np.isfinite(damped).all((1, 2))] = np.eye(p)
    return -_solve(damped, np.nan_to_num(gradient)[..., None])[..., 0]


def _solve(matrices: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    try:
        return np.linalg.solve(matrices, vectors)
    except np.linalg.LinAlgError:
        return np.matmul(np.linalg.pinv(matrices), vectors)


def polish(
    surface: Surface,
    phi: np.ndarray,
    z: np.ndarray,
    y: np.ndarray,
    delta: float = DELTA,
    fixed: np.ndarray | None = None,
) -> tuple[np.ndarray, float, str]:
    """Find the last digits of one descent.

    L-BFGS with analytic gradients on an objective scaled to about 1: at its own scale of 10⁻³ and the usual
    tolerances it stops early (Besiroglu et al. 2024).

    Args:
        surface: the form.
        phi: (p,) where the descent ended.
        z: (n, k) log inputs.
        y: (n,) log losses.
        delta: of Huber's loss.
        fixed: (p,) which coordinates stay.

    Returns:
        φ (p,), the objective, and the status in words.
    """
    free = np.ones(len(phi), bool) if fixed is None else ~fixed
    start = float(huber(surface.log_loss(phi[None], z)[0][0] - y, delta).sum())
    if not free.any():
        return phi, start, "every parameter is held"
    scale = 1.0 / max(start, 1e-12)

    def whole(flat: np.ndarray) -> np.ndarray:
        full = phi.copy()
        full[free] = flat
        return full

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        log, jacobian = surface.log_loss(whole(flat)[None], z)
        residual = log[0] - y
        slope = residual if math.isinf(delta) else residual.clip(-delta, delta)
        value = scale * float(huber(residual, delta).sum())
        return (value if math.isfinite(value) else 1e300), scale * np.nan_to_num(jacobian[0] @ slope)[free]

    flat, value, status = phi[free], scale * start, ""
    bounds = [(None if math.isinf(b) else b, None) for b in surface.lowest()[free]]
    for _ in range(POLISHES):
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            result = optimize.minimize(
                objective, flat, jac=True, method="L-BFGS-B", bounds=bounds,
                options={"ftol": 1e-16, "gtol": 1e-12, "maxiter": 2000, "maxfun": 5000, "maxcor": 30},
            )  # fmt: skip
        gain = value - float(result.fun)
        if gain > 0:
            flat, value = result.x, float(result.fun)
        # At the last digit a line search fails where another optimiser would say that it is done.
        if gain <= 1e-9 * value + 1e-15:
            return whole(flat), min(start, value / scale), "CONVERGED: a further descent gains nothing"
        status = f"NOT CONVERGED: {result.message}"
    return whole(flat), min(start, value / scale), status
