"""The log-likelihood of a law under noise whose density falls as Huber's loss, to compare parameter values.

p(r) = exp(−Huber_δ(r/σ)) / (σ·Z), Z = √(2π)·(1 − 2Φ(−δ)) + 2·exp(−½δ²)/δ: Besiroglu et al. 2024. δ is in
units of σ here; with their δ of 10⁻³ this is nearly Laplace's density of scale σ/δ.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import optimize

from chemscale.laws import stats
from chemscale.laws.joint.huber import fit_huber, huber
from chemscale.laws.joint.surfaces import Surface

DELTA = 1e-3


@dataclass(frozen=True)
class Likelihood:
    """A log-likelihood with the scale of the noise at its maximum."""

    value: float
    sigma: float
    theta: np.ndarray | None = None
    """(p,) reported parameters, where they were sought too."""


def log_likelihood(residuals: np.ndarray, delta: float = DELTA) -> Likelihood:
    """Log-likelihood of residuals (n,) of log loss, greatest over σ.

    The maximum is where Σ ψ_δ(r/σ)·r/σ = n, a single point since the left side falls with σ.
    """
    r = np.asarray(residuals, dtype=float)

    def excess(log_sigma: float) -> float:
        scaled = r * math.exp(-log_sigma)
        return float(np.sum(scaled.clip(-delta, delta) * scaled)) - len(r)

    middle = math.log(delta * float(np.mean(np.abs(r))))
    log_sigma = float(
        optimize.brentq(excess, middle - 5, middle + 5 - 2 * math.log(min(delta, 1.0)), xtol=1e-14)
    )
    return Likelihood(-_negative(r, log_sigma, delta), math.exp(log_sigma))


def _negative(r: np.ndarray, log_sigma: float, delta: float) -> float:
    normal = math.sqrt(2 * math.pi) * (1 - 2 * stats.norm.sf(delta)) + 2 * math.exp(-(delta**2) / 2) / delta
    return float(huber(r * math.exp(-log_sigma), delta).sum()) + len(r) * (log_sigma + math.log(normal))


def greatest_likelihood(
    surface: Surface, inputs: np.ndarray, loss: np.ndarray, start: np.ndarray, delta: float = DELTA
) -> Likelihood:
    """Maximise the log-likelihood over the parameters and σ together, near reported parameters.

    Huber_δ(r/σ) = Huber_δσ(r)/σ²: for each σ the parameters are a Huber fit with threshold δσ, which is
    approached from above, since a tiny threshold is nearly a corner.

    Args:
        surface: the form.
        inputs: (n, k) in the order of ``surface.columns``.
        loss: (n,).
        start: (p,) reported parameters.
        delta: in units of σ.
    """
    z, y = np.log(inputs), np.log(loss)
    centre = surface.centre(z)
    phi = surface.recentre(surface.internal(np.asarray(start, dtype=float)[None]), -centre)
    z = z - centre

    def residual() -> np.ndarray:
        return y - surface.log_loss(phi, z)[0][0]

    best = log_likelihood(residual(), delta)
    best_phi = phi
    threshold = float(np.abs(residual()).std())
    while threshold > 0.3 * delta * best.sigma:
        phi = fit_huber(surface, phi, z, y, delta=threshold, steps=500, tolerance=1e-13).phi
        reached = log_likelihood(residual(), delta)
        if reached.value > best.value:
            best, best_phi = reached, phi
        threshold /= 3
    theta = surface.reported(surface.recentre(best_phi, centre))[0]
    return Likelihood(best.value, best.sigma, theta)
