"""A joint law of model size and data fitted to runs: the optimum, how it was found, and its intervals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chemscale.laws.descent import DELTA, descend, polish
from chemscale.laws.fitting import LEVEL, FitError
from chemscale.laws.surfaces import Surface

NEAR = 1.01
"""A descent reached the optimum if its objective is at most this many times the least."""


RUNS_ENOUGH = 100
"""Runs from which they are resampled as they are; fewer repeat themselves too often in a draw."""


@dataclass(frozen=True)
class Draws:
    """Refits of a bootstrap, and how an interval is read from them.

    ``runs``: runs drawn with replacement; an interval is the percentiles of the refits. ``noise``: the fitted
    law with normal noise of the residuals' size; an interval is as many standard errors to both sides as hold
    the studentised refits (the symmetric bootstrap-t, Hall 1988), whose distribution hardly depends on the
    law. In simulated sweeps of 25 runs the second covers as often as it says, the first does not.
    """

    method: str
    phi: np.ndarray  # (B, p)
    covariance: np.ndarray | None  # (B, p, p), of noise only
    converged: np.ndarray  # (B,)


Target = Callable[[np.ndarray], np.ndarray]
"""(S, p) coordinates → (S, m) quantities."""


@dataclass(frozen=True)
class SurfaceFit:
    """A surface fitted to n runs."""

    surface: Surface
    phi: np.ndarray
    """(p,) coordinates of the surface, for inputs as given."""
    covariance: np.ndarray
    """(p, p) of φ to first order, for residuals of one size."""
    draws: Draws
    objective: float
    """Σ Huber_δ of the residuals of log loss."""
    delta: float
    starts: int
    reached: float
    """Share of the starts whose descent ended at the optimum."""
    status: str
    """What the last optimiser says."""
    inputs: np.ndarray
    """(n, k)"""
    loss: np.ndarray
    notes: list[str] = field(default_factory=list)

    @property
    def theta(self) -> np.ndarray:
        """(p,) as reported."""
        return self.surface.reported(self.phi[None])[0]

    @property
    def values(self) -> dict[str, float]:
        return dict(zip(self.surface.parameters, map(float, self.theta), strict=True))

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """At LEVEL, of each parameter: coefficients by their logarithm, exponents as they are."""
        signed = np.array([name in self.surface.exponents for name in self.surface.parameters])

        def target(phi: np.ndarray) -> np.ndarray:
            theta = self.surface.reported(phi)
            return np.where(signed, theta, np.log(np.where(signed, 1.0, theta)))

        with np.errstate(over="ignore", divide="ignore"):
            ends = [np.where(signed, end, np.exp(end)) for end in self.interval(target)]
        return {
            name: (float(low), float(high))
            for name, low, high in zip(self.surface.parameters, *ends, strict=True)
        }

    @property
    def residuals(self) -> np.ndarray:
        """(n,) log loss less log law."""
        return np.log(self.loss) - np.log(self.predict(*self.inputs.T))

    def predict(self, *inputs: np.ndarray) -> np.ndarray:
        """Loss at inputs in the order of ``surface.columns``."""
        return self.surface.value(self.theta, *inputs)

    def band(self, *inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Interval of the law (not of a new run) at inputs of one shape (m,)."""
        z = np.log(np.stack([np.asarray(x, dtype=float) for x in inputs], axis=1))
        low, high = self.interval(lambda phi: self.surface.log_loss(phi, z)[0])
        return np.exp(low), np.exp(high)

    def interval(self, target: Target, level: float = LEVEL) -> tuple[np.ndarray, np.ndarray]:
        """(m,) and (m,) ends of the interval of anything that follows from φ.

        A quantity whose noise grows with itself is better asked for as its logarithm.
        """
        values, best = target(self.draws.phi), target(self.phi[None])[0]
        with np.errstate(invalid="ignore"):
            if self.draws.covariance is None:
                tail = 50 * (1 - level)
                low, high = np.nanpercentile(values, [tail, 100 - tail], axis=0)
                return low, high
            errors = _standard_errors(target, self.draws.phi, self.draws.covariance)
            widths = np.nanpercentile(np.abs(values - best) / errors, 100 * level, axis=0)
        reach = widths * _standard_errors(target, self.phi[None], self.covariance[None])[0]
        return best - reach, best + reach

    def to_dict(self) -> dict[str, Any]:
        return {
            "form": self.surface.name,
            "formula": self.surface.formula,
            "parameters": self.values,
            "intervals": {key: list(pair) for key, pair in self.intervals.items()},
            "level": LEVEL,
            "bootstrap": self.draws.method,
            "objective": self.objective,
            "delta": self.delta,
            "starts": self.starts,
            "reached": self.reached,
            "status": self.status,
            "points": len(self.loss),
            "residuals": self.residuals.tolist(),
            "notes": self.notes,
            "source": self.surface.source,
            "assumes": self.surface.assumes,
        }


def fit_surface(
    surface: Surface,
    inputs: np.ndarray,
    loss: np.ndarray,
    *,
    delta: float = DELTA,
    starts: np.ndarray | None = None,
    bootstrap: int = 1000,
    resample: str | None = None,
    seed: int = 0,
) -> SurfaceFit:
    """Minimise Σ Huber_δ(log L − log L̂) from every start, then refit the draws of a bootstrap.

    Inputs are centred in log space before the descent, which takes most of the correlation out of the
    coefficients and exponents; parameters are reported for the inputs as given.

    Args:
        inputs: (n, k) in the order of ``surface.columns``. loss: (n,).
        delta: of Huber's loss, on log loss; infinity is least squares.
        starts: (S, p) in the surface's own coordinates; None for its grid.
        resample: ``runs`` or ``noise`` (see ``Draws``); None for runs where there are enough.

    Raises:
        FitError: too few runs, inputs that do not vary apart from each other, or no start that descends.
    """
    inputs, loss = np.asarray(inputs, dtype=float), np.asarray(loss, dtype=float)
    _check(surface, inputs, loss)
    z, y = np.log(inputs), np.log(loss)
    centre = z.mean(0)
    z = z - centre
    grid = surface.starts() if starts is None else np.asarray(starts, dtype=float)
    found = descend(surface, surface.recentre(grid, -centre), z, y, delta=delta)
    best = int(np.argmin(found.objective))
    if not np.isfinite(found.objective[best]):
        raise FitError(f"{surface.formula}: no start has a finite loss.")
    phi, objective, status = polish(surface, found.phi[best], z, y, delta)
    resample = resample or ("runs" if len(y) >= RUNS_ENOUGH else "noise")
    draws = _draw(surface, phi, z, y, delta, resample, bootstrap, np.random.default_rng(seed))
    reached = float(np.mean(found.objective <= NEAR * objective + 1e-20))
    return SurfaceFit(
        surface=surface,
        phi=surface.recentre(phi[None], centre)[0],
        covariance=_moved(surface, _covariance(surface, phi[None], z, y), phi[None], centre)[0],
        draws=Draws(
            resample,
            surface.recentre(draws.phi, centre),
            None if draws.covariance is None else _moved(surface, draws.covariance, draws.phi, centre),
            draws.converged,
        ),
        objective=objective,
        delta=delta,
        starts=len(grid),
        reached=reached,
        status=status,
        inputs=inputs,
        loss=loss,
        notes=_notes(bool(found.converged[best]), reached, draws.converged),
    )


def _draw(
    surface: Surface,
    phi: np.ndarray,
    z: np.ndarray,
    y: np.ndarray,
    delta: float,
    method: str,
    count: int,
    random: np.random.Generator,
) -> Draws:
    n, many = len(y), np.repeat(phi[None], count, 0)
    if method == "runs":
        times = np.stack([np.bincount(random.integers(0, n, n), minlength=n) for _ in range(count)])
        found = descend(surface, many, z, y, weights=times.astype(float), delta=delta)
        return Draws(method, found.phi, None, found.converged)
    if method != "noise":
        raise ValueError(f"resample={method!r}: choose runs or noise.")
    fitted = surface.log_loss(phi[None], z)[0][0]
    spread = np.sqrt(np.sum((y - fitted) ** 2) / (n - len(phi)))
    noisy = fitted + spread * random.standard_normal((count, n))
    found = descend(surface, many, z, noisy, delta=delta)
    return Draws(method, found.phi, _covariance(surface, found.phi, z, noisy), found.converged)


def _covariance(surface: Surface, phi: np.ndarray, z: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(S, p, p) σ²(JJᵀ)⁻¹ with σ² from the residuals."""
    log, jacobian = surface.log_loss(phi, z)
    freedom = len(z) - phi.shape[1]
    variance = np.sum((log - y) ** 2, axis=1) / freedom
    hessian = np.matmul(jacobian, jacobian.transpose(0, 2, 1))
    return np.linalg.pinv(hessian, hermitian=True) * variance[:, None, None]


def _moved(surface: Surface, covariance: np.ndarray, phi: np.ndarray, by: np.ndarray) -> np.ndarray:
    """The covariance of ``recentre(phi, by)``."""
    slope = _slopes(lambda moved: surface.recentre(moved, by), phi)
    return np.einsum("smp,spq,snq->smn", slope, covariance, slope)


def _slopes(target: Target, phi: np.ndarray) -> np.ndarray:
    """(S, m, p) derivatives of a target, by central differences."""
    columns = []
    for k in range(phi.shape[1]):
        step = np.zeros_like(phi)
        step[:, k] = 1e-5 * (1.0 + np.abs(phi[:, k]))
        columns.append((target(phi + step) - target(phi - step)) / (2 * step[:, k, None]))
    return np.stack(columns, axis=2)


def _standard_errors(target: Target, phi: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    slope = _slopes(target, phi)
    return np.sqrt(np.einsum("smp,spq,smq->sm", slope, covariance, slope).clip(0)) + 1e-300


def _check(surface: Surface, inputs: np.ndarray, loss: np.ndarray) -> None:
    parameters, columns = len(surface.parameters), len(surface.columns)
    if inputs.ndim != 2 or inputs.shape != (len(loss), columns):
        raise FitError(
            f"{surface.formula} needs a row of {', '.join(surface.columns)} for each of {len(loss)} losses: "
            f"got {inputs.shape}."
        )
    good = np.isfinite(inputs).all() and np.isfinite(loss).all() and (inputs > 0).all() and (loss > 0).all()
    if not good:
        raise FitError("Inputs and losses must be positive and finite.")
    if len(loss) < parameters + 2:
        raise FitError(
            f"{surface.formula} is not fitted: {len(loss)} runs for {parameters} parameters, at least "
            f"{parameters + 2} needed (its curves would follow the noise)."
        )
    for column, name in enumerate(surface.columns):
        distinct = len(np.unique(inputs[:, column]))
        if distinct < 3:
            raise FitError(f"{surface.formula} is not fitted: {name} takes {distinct} values, 3 are needed.")
    z = np.log(inputs) - np.log(inputs).mean(0)
    if np.linalg.svd(z / z.std(0), compute_uv=False)[-1] < 1e-6:
        raise FitError(
            f"{surface.formula} is not fitted: {' and '.join(surface.columns)} grow together in these runs, "
            "so that their effects cannot be told apart. Add runs that vary one of them."
        )


def _notes(converged: bool, reached: float, draws: np.ndarray) -> list[str]:
    notes = []
    if not converged:
        notes.append("The best descent did not converge: do not use these numbers.")
    if reached < 0.02:
        notes.append(
            f"Only {reached:.1%} of the starts found this optimum: there may be a better one between them."
        )
    if not draws.all():
        notes.append(f"{np.mean(~draws):.1%} of the bootstrap draws did not converge.")
    return notes
