"""Variable projection: a search over the exponents alone, with E, A and B solved inside.

At fixed exponents L = E + A·N^−α + B·D^−β is linear in E, A, B ≥ 0, so that the outer search has two
dimensions (one with a tied exponent) and needs no grid of coefficients. It shares the objective with
``joint.huber`` and nothing else: where both agree, neither stopped early.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import optimize

from chemscale.common.listening import work
from chemscale.laws.axis.fit import FitError
from chemscale.laws.joint.fit import SurfaceFit
from chemscale.laws.joint.huber import DELTA, huber
from chemscale.laws.joint.surfaces import Additive, Tied

BOUNDS = (0.01, 3.0)
"""Exponents that are searched."""
GRID = 10
"""Exponents along one side of the coarse grid."""
POLISHED = 4
"""Points of the grid from which the outer search starts."""
ROUNDS = 40
INNER = 400
AGREE = 1e-4
"""Relative difference of objectives up to which two fits agree."""


@dataclass(frozen=True)
class Projection:
    """What variable projection found: a point estimate, to check another by, without an interval."""

    form: str
    values: dict[str, float]
    objective: float
    status: str
    """``CONVERGED``, ``BOUND_HIT`` (an exponent at the end of its range, or a coefficient at 0), ``MAX_ITER``
    (the rounds ran out while the objective still fell) or ``ABNORMAL`` (no finite objective)."""
    detail: str
    """The status in words."""
    evaluations: int

    def to_dict(self) -> dict[str, Any]:
        """For ``law.json``."""
        return {
            "form": self.form, "parameters": self.values, "objective": self.objective, "status": self.status,
            "detail": self.detail, "evaluations": self.evaluations,
        }  # fmt: skip


@dataclass(frozen=True)
class CrossCheck:
    """A fit beside its variable projection."""

    projection: Projection
    fitted: float
    """Objective of the fit."""

    @property
    def agrees(self) -> bool:
        """Whether the fit is as good as what variable projection found."""
        return self.fitted <= self.projection.objective * (1 + AGREE) + 1e-15

    @property
    def words(self) -> str:
        """The comparison in a sentence."""
        found = (
            f"objective {self.projection.objective:.9g} ({self.projection.status}) against {self.fitted:.9g}"
        )
        if not self.agrees:
            return f"Variable projection found a better optimum: {found}. Give the fit more starts."
        if self.projection.objective > self.fitted * (1 + AGREE) + 1e-15:
            return f"Variable projection ended above this fit: {found}. The fit stands; the check is weaker."
        return f"Variable projection agrees: {found}."


def project(
    inputs: np.ndarray,
    loss: np.ndarray,
    *,
    delta: float = DELTA,
    tied: bool = False,
    residual: str = "log",
    bounds: tuple[float, float] = BOUNDS,
) -> Projection:
    """Minimise Σ Huber_δ of the residuals over the exponents, with E, A, B ≥ 0 solved inside.

    The inner problem is a sequence of non-negative least squares (for log residuals linearised at the last
    solution, for Huber's loss reweighted). The gradient of the outer one is the envelope's: the derivative of
    the objective by the exponents at the inner solution.

    Args:
        inputs: (n, 2) parameters and tokens.
        loss: (n,).
        delta: of Huber's loss, in the unit of the residual; infinity is least squares.
        tied: one exponent for both (Gadre et al. 2024).
        residual: ``log`` for log L − log L̂, ``loss`` for L − L̂.
        bounds: least and greatest exponent.

    Raises:
        FitError: fewer runs than parameters, or values that are not positive and finite.
    """
    inputs, loss = np.asarray(inputs, dtype=float), np.asarray(loss, dtype=float)
    form = Tied() if tied else Additive()
    _check(inputs, loss, form.parameters, residual)
    problem = _Problem(np.log(inputs), loss, delta, tied, residual == "log")
    low, high = np.log(bounds)
    axis = np.linspace(low, high, GRID + 2)[1:-1]
    grid = axis[:, None] if tied else np.stack([g.ravel() for g in np.meshgrid(axis, axis)], 1)
    best: tuple[float, np.ndarray, bool] = (math.inf, grid[0], False)
    with work(len(grid) + POLISHED, "exponents") as done:
        values = []
        for point in grid:
            values.append(problem.solve(point)[0])
            done(1)
        for place in np.argsort(values)[:POLISHED]:
            found = _search(problem, grid[place], (low, high))
            done(1)
            if found[0] < best[0]:
                best = found
    objective, point, ended = best
    exponents = np.exp(point)
    coefficients = problem.coefficients(point)
    status, detail = _status(objective, point, coefficients, ended, (low, high))
    order = [coefficients[0], coefficients[1], coefficients[2], *exponents]
    return Projection(
        form.name, dict(zip(form.parameters, map(float, order), strict=True)), objective, status, detail,
        problem.evaluations,
    )  # fmt: skip


def cross_check(fit: SurfaceFit) -> CrossCheck | None:
    """Variable projection of the runs of a fit; None for a form not linear inside, or parameters held."""
    if fit.fixed or fit.surface.name not in ("additive", "tied"):
        return None
    found = project(fit.inputs, fit.loss, delta=fit.delta, tied=fit.surface.name == "tied")
    return CrossCheck(found, fit.objective)


class _Problem:
    """The inner problem and what it costs; exponents come as logarithms."""

    def __init__(self, z: np.ndarray, loss: np.ndarray, delta: float, tied: bool, logs: bool):
        self.centre = z.mean(0)
        self.z, self.loss, self.delta, self.tied, self.logs = z - self.centre, loss, delta, tied, logs
        self.evaluations = 0

    def columns(self, point: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n, 3) columns of E, A, B of unit length, and the lengths."""
        exponents = np.exp(np.broadcast_to(point, 2))
        x = np.concatenate([np.ones((len(self.loss), 1)), np.exp(-self.z * exponents)], 1)
        size = np.linalg.norm(x, axis=0)
        return x / size, size

    def residual(self, predicted: np.ndarray) -> np.ndarray:
        if not self.logs:
            return self.loss - predicted
        return np.log(self.loss) - np.log(np.maximum(predicted, 1e-300))

    def inner(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """Least objective and the coefficients (3,) of unit columns that reach it."""
        c = optimize.nnls(x / self.loss[:, None], np.ones(len(self.loss)))[0]
        r = self.residual(x @ c)
        value = float(huber(r, self.delta).sum())
        for _ in range(INNER):
            scale = 1 / (x @ c) if self.logs else np.ones(len(r))
            root = np.sqrt(np.minimum(1.0, self.delta / np.maximum(np.abs(r), 1e-300)))
            # log x·c is about its value plus x·(c′ − c)/(x·c): a least-squares problem in c′.
            target = r + scale * (x @ c)
            step = optimize.nnls(x * (root * scale)[:, None], root * target)[0] - c
            share, before = 1.0, value
            while share > 1e-6:
                trial = c + share * step
                r_trial = self.residual(x @ trial)
                reached = float(huber(r_trial, self.delta).sum())
                if reached < value:
                    c, r, value = trial, r_trial, reached
                    break
                share /= 2
            if before - value <= 1e-13 * before:
                break
        return value, c

    def solve(self, point: np.ndarray) -> tuple[float, np.ndarray]:
        """Objective at log exponents and its gradient by them."""
        self.evaluations += 1
        x, _ = self.columns(point)
        value, c = self.inner(x)
        predicted = x @ c
        r = self.residual(predicted)
        pull = r if math.isinf(self.delta) else r.clip(-self.delta, self.delta)
        if self.logs:
            pull = pull / predicted
        by = [
            np.sum(pull * c[1 + i] * x[:, 1 + i] * self.z[:, i]) * np.exp(np.broadcast_to(point, 2)[i])
            for i in range(2)
        ]
        return value, np.array([by[0] + by[1]]) if self.tied else np.array(by)

    def coefficients(self, point: np.ndarray) -> np.ndarray:
        """(E, A, B) for inputs as given."""
        x, size = self.columns(point)
        c = self.inner(x)[1] / size
        c[1:] *= np.exp(self.centre * np.exp(np.broadcast_to(point, 2)))
        return c


def _search(
    problem: _Problem, point: np.ndarray, bounds: tuple[float, float]
) -> tuple[float, np.ndarray, bool]:
    """(objective, log exponents, whether it ended): L-BFGS, scaled anew until the objective stops falling."""
    value = problem.solve(point)[0]
    for _ in range(ROUNDS):
        if value <= 1e-26:
            return value, point, True
        scale = 1 / value

        def scaled(at: np.ndarray, scale: float = scale) -> tuple[float, np.ndarray]:
            height, slope = problem.solve(at)
            return scale * height, scale * slope

        found = optimize.minimize(
            scaled, point, jac=True, method="L-BFGS-B", bounds=[bounds] * len(point),
            options={"ftol": 1e-14, "gtol": 1e-10},
        )  # fmt: skip
        reached = float(found.fun) / scale
        if reached < value:
            point = found.x
        if reached > value * (1 - 1e-6):
            return min(reached, value), point, True
        value = reached
    return value, point, False


def _status(
    objective: float, point: np.ndarray, c: np.ndarray, ended: bool, bounds: tuple[float, float]
) -> tuple[str, str]:
    if not math.isfinite(objective):
        return "ABNORMAL", "no exponents have a finite objective"
    if (np.abs(point[:, None] - np.array(bounds)) < 1e-6).any():
        return "BOUND_HIT", f"an exponent lies at the end of its range: {np.exp(point)}"
    if (c <= 0).any():
        zero = ", ".join(name for name, value in zip("EAB", c, strict=True) if value <= 0)
        return "BOUND_HIT", f"{zero} = 0: these runs do not show it"
    if not ended:
        return "MAX_ITER", f"the objective still fell after {ROUNDS} rounds"
    return "CONVERGED", "the objective no longer falls"


def _check(inputs: np.ndarray, loss: np.ndarray, parameters: tuple[str, ...], residual: str) -> None:
    if residual not in ("log", "loss"):
        raise FitError(f"residual={residual!r}: choose log or loss.")
    if inputs.shape != (len(loss), 2):
        raise FitError(
            f"A row of parameters and tokens is needed for each of {len(loss)} losses: {inputs.shape}."
        )
    if not (
        np.isfinite(inputs).all() and np.isfinite(loss).all() and (inputs > 0).all() and (loss > 0).all()
    ):
        raise FitError("Inputs and losses must be positive and finite.")
    if len(loss) < len(parameters):
        raise FitError(f"{len(loss)} runs cannot tell {len(parameters)} parameters.")
