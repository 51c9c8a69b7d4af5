"""A joint law of model size and data fitted to runs: the optimum, how it was found, and its intervals."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chemscale.laws.descent import DELTA, descend, polish
from chemscale.laws.fitting import LEVEL, FitError
from chemscale.laws.surfaces import Surface

NEAR = 1.01
"""A descent reached the optimum if its objective is at most this many times the least."""


@dataclass(frozen=True)
class SurfaceFit:
    """A surface fitted to n runs. ``intervals`` are percentiles of a bootstrap over runs, at LEVEL."""

    surface: Surface
    theta: np.ndarray
    """(p,) as reported."""
    intervals: dict[str, tuple[float, float]]
    bootstrap: np.ndarray
    """(draws, p) refitted parameters, as reported."""
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
    def values(self) -> dict[str, float]:
        return dict(zip(self.surface.parameters, map(float, self.theta), strict=True))

    @property
    def residuals(self) -> np.ndarray:
        """(n,) log loss less log law."""
        return np.log(self.loss) - np.log(self.predict(*self.inputs.T))

    def predict(self, *inputs: np.ndarray) -> np.ndarray:
        """Loss at inputs in the order of ``surface.columns``."""
        return self.surface.value(self.theta, *inputs)

    def band(self, *inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Interval of the law (not of a new run) at inputs."""
        curves = np.array([self.surface.value(theta, *inputs) for theta in self.bootstrap])
        tail = 50 * (1 - LEVEL)
        return np.percentile(curves, tail, axis=0), np.percentile(curves, 100 - tail, axis=0)

    def to_dict(self) -> dict[str, Any]:
        return {
            "form": self.surface.name,
            "formula": self.surface.formula,
            "parameters": self.values,
            "intervals": {key: list(pair) for key, pair in self.intervals.items()},
            "level": LEVEL,
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
    seed: int = 0,
) -> SurfaceFit:
    """Minimise Σ Huber_δ(log L − log L̂) from every start, then refit resampled runs from the optimum.

    Inputs are centred in log space before the descent, which takes most of the correlation out of the
    coefficients and exponents; parameters are reported for the inputs as given.

    Args:
        inputs: (n, k) in the order of ``surface.columns``. loss: (n,).
        delta: of Huber's loss, on log loss; infinity is least squares.
        starts: (S, p) in the surface's own coordinates; None for its grid.

    Raises:
        FitError: too few runs, inputs that do not vary apart from each other, or no start that descends.
    """
    inputs, loss = np.asarray(inputs, dtype=float), np.asarray(loss, dtype=float)
    _check(surface, inputs, loss)
    z, y = np.log(inputs), np.log(loss)
    centre = z.mean(0)
    grid = surface.starts() if starts is None else np.asarray(starts, dtype=float)
    found = descend(surface, surface.recentre(grid, -centre), z - centre, y, delta=delta)
    best = int(np.argmin(found.objective))
    if not np.isfinite(found.objective[best]):
        raise FitError(f"{surface.formula}: no start has a finite loss.")
    phi, objective, status = polish(surface, found.phi[best], z - centre, y, delta)
    random = np.random.default_rng(seed)
    n = len(y)
    counts = np.stack([np.bincount(random.integers(0, n, n), minlength=n) for _ in range(bootstrap)])
    draws = descend(
        surface, np.repeat(phi[None], bootstrap, 0), z - centre, y, weights=counts.astype(float), delta=delta
    )
    theta = surface.reported(surface.recentre(phi[None], centre))[0]
    refitted = surface.reported(surface.recentre(draws.phi, centre))
    tail = 50 * (1 - LEVEL)
    low, high = np.percentile(refitted, [tail, 100 - tail], axis=0)
    reached = float(np.mean(found.objective <= NEAR * objective + 1e-20))
    return SurfaceFit(
        surface=surface,
        theta=theta,
        intervals={
            name: (float(a), float(b)) for name, a, b in zip(surface.parameters, low, high, strict=True)
        },
        bootstrap=refitted,
        objective=objective,
        delta=delta,
        starts=len(grid),
        reached=reached,
        status=status,
        inputs=inputs,
        loss=loss,
        notes=_notes(found.converged[best], reached, draws.converged),
    )


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
