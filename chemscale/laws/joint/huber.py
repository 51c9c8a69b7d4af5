"""Huber fits of log loss from many starts at once.

The objective is Σ w·Huber_δ(log L − log L̂). All starts (or all draws of a bootstrap) descend together as
one batch of damped Gauss–Newton steps whose weights turn the squares into Huber's loss (iteratively
reweighted least squares: each step minimises a quadratic that lies above the objective, so it never rises).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import optimize

from chemscale.common.listening import work
from chemscale.laws.axis.least_squares import Descents
from chemscale.laws.joint.surfaces import Surface

DELTA = 1e-3
"""Huber's δ on log loss, as Hoffmann et al. 2022 chose it; smaller residuals count squared."""
POLISHES = 6
"""Most restarts of the last descent, each from where the one before ended."""
NUMBERS_AT_ONCE = 1 << 17
"""Size of the derivative array of the starts that descend together: small enough for a cache."""


def huber(residual: np.ndarray, delta: float) -> np.ndarray:
    """Huber's loss of each residual: ½r² below δ, δ(|r| − ½δ) above; δ = ∞ is least squares."""
    size = np.abs(residual)
    if math.isinf(delta):
        return 0.5 * residual**2
    inside = np.minimum(size, delta)
    return inside * (size - 0.5 * inside)


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

    A start's descent does not depend on which others share its batch.

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
    room = max(4, NUMBERS_AT_ONCE // (len(z) * parameters))
    free = np.ones(parameters, bool) if fixed is None else ~fixed
    found = Descents(phi.copy(), np.full(count, np.inf), np.zeros(count, bool))
    descent = _Batch(_Problem(surface, z, y, weights, delta), free, steps, tolerance)
    started = 0
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"), work(count, "descents") as done:
        while started < count or len(descent.numbers):
            # Those that end make room at once: a batch always fills the cache and no straggler runs alone.
            if started < count and len(descent.numbers) <= room // 2:
                coming = np.arange(started, min(count, started + room - len(descent.numbers)))
                descent.admit(coming, phi[coming])
                started = int(coming[-1]) + 1
            done(descent.step(found))
    return found


@dataclass(frozen=True)
class _Problem:
    """What every descent minimises; its own losses and weights where they differ between descents."""

    surface: Surface
    z: np.ndarray
    y: np.ndarray
    weights: np.ndarray | None
    delta: float

    def own(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Log losses (n,) or (S, n) and weights (S, n), where there are any, of these descents."""
        return (
            self.y if self.y.ndim == 1 else self.y[numbers],
            None if self.weights is None else self.weights[numbers],
        )

    def at(
        self, phi: np.ndarray, y: np.ndarray, weights: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Residuals (S, n), derivatives (S, p, n) and objectives (S,)."""
        log, jacobian = self.surface.log_loss(phi, self.z)
        residual = np.subtract(log, y, out=log)
        losses = huber(residual, self.delta)
        if weights is not None:
            losses *= weights
        return residual, jacobian, losses.sum(1)

    def pull(self, residual: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
        """(S, n) weights of the squares that turn them into Huber's loss."""
        size = np.abs(residual)
        np.maximum(size, 1e-300, out=size)
        np.divide(self.delta, size, out=size)
        np.minimum(1.0, size, out=size)
        if weights is not None:
            size *= weights
        return size


class _Batch:
    """Descents under way, one a row of each array."""

    def __init__(self, problem: _Problem, free: np.ndarray, steps: int, tolerance: float):
        self.problem, self.free, self.steps, self.tolerance = problem, free, steps, tolerance
        self.lowest = problem.surface.lowest()
        self.bounded = bool(np.isfinite(self.lowest).any())
        self.all_free = bool(free.all())
        none, p, n = np.empty(0), len(free), len(problem.z)
        self.numbers = np.empty(0, int)
        self.phi, self.residual = np.empty((0, p)), np.empty((0, n))
        self.jacobian = np.empty((0, p, n))
        self.objective, self.damping = none, none
        self.calm, self.taken = np.empty(0, int), np.empty(0, int)
        self.y, self.weights = problem.own(self.numbers)
        self.rows = [
            "numbers", "phi", "residual", "jacobian", "objective", "damping", "calm", "taken",
            *(["y"] if self.y.ndim == 2 else []), *(["weights"] if self.weights is not None else []),
        ]  # fmt: skip

    def admit(self, numbers: np.ndarray, phi: np.ndarray) -> None:
        """Begin further descents."""
        y, weights = self.problem.own(numbers)
        residual, jacobian, objective = self.problem.at(phi, y, weights)
        objective[~np.isfinite(objective)] = np.inf
        zeros = np.zeros(len(phi), int)
        new = {
            "numbers": numbers, "phi": phi, "residual": residual, "jacobian": jacobian,
            "objective": objective, "damping": np.full(len(phi), 1e-2), "calm": zeros, "taken": zeros,
            "y": y, "weights": weights,
        }  # fmt: skip
        for name in self.rows:
            before, rows = getattr(self, name), new[name]
            setattr(self, name, np.concatenate([before, rows]) if len(before) else np.array(rows))

    def step(self, found: Descents) -> int:
        """One step of each descent; those that end are written into `found` and counted."""
        pinned = (self.phi <= self.lowest)[:, self.free] if self.bounded else None
        pull = self.problem.pull(self.residual, self.weights)
        if self.all_free:
            step = _damped_step(self.jacobian, self.residual, pull, self.damping, pinned)
        else:
            step, j = np.zeros_like(self.phi), self.jacobian[:, self.free]
            step[:, self.free] = _damped_step(j, self.residual, pull, self.damping, pinned)
        trial = np.add(self.phi, step, out=step)
        if self.bounded:
            np.maximum(trial, self.lowest, out=trial)
        residual, jacobian, reached = self.problem.at(trial, self.y, self.weights)
        better = reached < self.objective
        gain = (self.objective - reached) / np.maximum(self.objective, 1e-300)
        worse = np.flatnonzero(~better)
        if len(worse):
            trial[worse], residual[worse] = self.phi[worse], self.residual[worse]
            jacobian[worse] = self.jacobian[worse]
        self.phi, self.residual, self.jacobian = trial, residual, jacobian
        small = np.where(better, gain < self.tolerance, self.damping > 1e8)
        self.calm = np.where(small, self.calm + 1, 0)
        self.objective = np.where(better, reached, self.objective)
        self.damping = np.where(better, self.damping * 0.25, self.damping * 8.0).clip(1e-12, 1e12)
        self.taken = self.taken + 1
        ended = (self.calm >= 3) | ~(self.objective > 1e-26)
        return self._leave(ended | (self.taken >= self.steps), ended, found)

    def _leave(self, over: np.ndarray, ended: np.ndarray, found: Descents) -> int:
        """Write what is over into `found`; the last rows take its place, so that few are copied."""
        places = np.flatnonzero(over)
        if not len(places):
            return 0
        numbers = self.numbers[places]
        found.phi[numbers], found.objective[numbers] = self.phi[places], self.objective[places]
        found.converged[numbers] = ended[places]
        kept = len(over) - len(places)
        holes = places[places < kept]
        movers = kept + np.flatnonzero(~over[kept:])
        for name in self.rows:
            rows = getattr(self, name)
            rows[holes] = rows[movers]
            setattr(self, name, rows[:kept])
        return len(numbers)


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
    damped = hessian
    diagonal = np.einsum("spp->sp", damped)
    diagonal += damping[:, None] * scale
    if pinned is not None:
        diagonal += np.where(move, 0.0, 1.0)
    finite = np.isfinite(damped).all((1, 2))
    if not finite.all():
        damped[~finite] = np.eye(p)
        gradient = np.nan_to_num(gradient)
    return -_solve(damped, gradient[..., None])[..., 0]


def _solve(matrices: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    try:
        return np.linalg.solve(matrices, vectors)
    except np.linalg.LinAlgError:
        # Only a singular one is solved otherwise: no descent may depend on its neighbours.
        if len(matrices) == 1:
            return np.matmul(np.linalg.pinv(matrices), vectors)
        half = len(matrices) // 2
        parts = (slice(None, half), slice(half, None))
        return np.concatenate([_solve(matrices[part], vectors[part]) for part in parts])


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
