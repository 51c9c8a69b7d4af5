"""Least squares of log loss from many starts at once, within a box.

All starts (or all draws of a bootstrap) descend together as one batch of Levenberg–Marquardt steps. A
parameter that sits on a side of its box and is pushed outwards is left out of the step.

``joint.huber`` is its like for joint laws and cannot stand for it: damping, scaling and the test of the end
are other ones, and its least squares (δ = ∞) differ from these in their last digits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chemscale.laws.axis.forms import Form

FLAT = 1e-5
"""A descent has converged when no residual direction explains more than this share of the residual."""
EXACT = 1e-13
"""Root mean square of residuals below which points are called free of noise."""


@dataclass(frozen=True)
class Descents:
    """Where S descents ended: φ (S, p), objectives (S,), and whether each converged (S,)."""

    phi: np.ndarray
    objective: np.ndarray
    converged: np.ndarray

    def best(self) -> tuple[np.ndarray, float, bool]:
        """(φ, objective, converged) of the lowest."""
        lowest = int(np.argmin(np.where(np.isfinite(self.objective), self.objective, np.inf)))
        return self.phi[lowest], float(self.objective[lowest]), bool(self.converged[lowest])


def fit_least_squares(
    form: Form,
    phi: np.ndarray,
    z: np.ndarray,
    log_y: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    *,
    steps: int = 250,
) -> Descents:
    """Minimise Σ (log L − log L̂)² from every start.

    Args:
        form: of the law.
        phi: (S, p) starts in the form's coordinates.
        z: (n,) log sizes.
        log_y: (n,) or (S, n) log losses.
        low: (p,) lower sides of the box.
        high: (p,) upper sides; where both are equal the parameter is held.
        steps: at most.
    """
    phi = np.clip(np.atleast_2d(phi).astype(float), low, high)
    target = np.broadcast_to(log_y, (len(phi), len(z)))
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        log, slopes = form.log_loss(phi, z)
        residual = log - target
        objective = _squares(residual)
        damping, small = np.full(len(phi), 1e-2), np.zeros(len(phi), dtype=int)
        alive = np.flatnonzero(np.isfinite(objective))
        for _ in range(steps):
            if not len(alive):
                break
            step = _step(phi[alive], slopes[alive], residual[alive], low, high, damping[alive])
            trial = np.clip(phi[alive] + step, low, high)
            new_log, new_slopes = form.log_loss(trial, z)
            new_residual = new_log - target[alive]
            new = _squares(new_residual)
            gain = objective[alive] - new
            better = np.isfinite(new_slopes).all((1, 2)) & (gain > 0)
            small[alive] = np.where(gain[:] > 1e-11 * objective[alive], 0, small[alive] + better)
            damping[alive] *= np.where(better, 0.2, 5.0)
            damping = np.maximum(damping, 1e-13)
            moved = alive[better]
            phi[moved], residual[moved] = trial[better], new_residual[better]
            slopes[moved], objective[moved] = new_slopes[better], new[better]
            over = (small[alive] >= 3) | (damping[alive] > 1e12) | (objective[alive] < EXACT**2 * len(z))
            alive = alive[~over]
        converged = _converged(phi, slopes, residual, objective, low, high)
    return Descents(phi, objective, converged)


def _squares(residual: np.ndarray) -> np.ndarray:
    return np.einsum("sn,sn->s", residual, residual)


def _free(phi: np.ndarray, gradient: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """(S, p) parameters that a descent may move."""
    return ~(((phi <= low) & (gradient >= 0)) | ((phi >= high) & (gradient <= 0)) | (low == high))


def _step(
    phi: np.ndarray,
    slopes: np.ndarray,
    residual: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    damping: np.ndarray,
) -> np.ndarray:
    gradient = np.einsum("spn,sn->sp", slopes, residual)
    free = _free(phi, gradient, low, high)
    curvature = slopes @ slopes.transpose(0, 2, 1)
    scale = np.sqrt(np.einsum("spp->sp", curvature))
    scale = np.where(free & (scale > 0), scale, 1.0)
    matrix = curvature / (scale[:, :, None] * scale[:, None, :])
    matrix = matrix * (free[:, :, None] & free[:, None, :])
    diagonal = np.arange(phi.shape[1])
    matrix[:, diagonal, diagonal] = 1.0 + damping[:, None]
    right = np.where(free, -gradient / scale, 0.0)
    return np.linalg.solve(matrix, right[:, :, None])[:, :, 0] / scale


def _converged(
    phi: np.ndarray,
    slopes: np.ndarray,
    residual: np.ndarray,
    objective: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
) -> np.ndarray:
    """Whether the residual is at right angles to every free direction (or there is none left)."""
    gradient = np.einsum("spn,sn->sp", slopes, residual)
    length = np.sqrt(np.einsum("spn,spn->sp", slopes, slopes)) * np.sqrt(objective)[:, None]
    cosine = np.abs(gradient) / np.where(length > 0, length, 1.0)
    flat = np.where(_free(phi, gradient, low, high), cosine, 0.0).max(1) < FLAT
    exact = objective < 1e-20 * residual.shape[1]
    return np.isfinite(objective) & (flat | exact)
