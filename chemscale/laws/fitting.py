"""Least squares in log space, and intervals that say how little a few points know."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import optimize, stats

from chemscale.laws.forms import FORMS, Form

FEWEST = {"power": 3, "offset": 5}
"""Distinct sizes below which a form is not fitted: with as many points as parameters any law is perfect."""
LEVEL = 0.95
MOST_BETA = 5.0


class FitError(ValueError):
    """Points that cannot be fitted; the message says why."""


@dataclass(frozen=True)
class Fit:
    """One form fitted to points. ``intervals`` are at LEVEL, None where the data do not bound a side."""

    form: Form
    theta: np.ndarray
    intervals: dict[str, tuple[float | None, float | None]]
    bootstrap: np.ndarray
    """(draws, p) refitted parameters."""
    objective: float
    """Sum of squared residuals of log loss."""
    aicc: float
    converged: bool
    x: np.ndarray
    y: np.ndarray
    notes: list[str] = field(default_factory=list)
    held_out_error: float | None = None
    """Relative error at the largest size of a fit to the smaller ones."""

    @property
    def values(self) -> dict[str, float]:
        return dict(zip(self.form.parameters, map(float, self.theta), strict=True))

    @property
    def residuals(self) -> np.ndarray:
        """(n,) log loss less log law."""
        return np.log(self.y) - np.log(self.form.value(self.x, self.theta))

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Loss at sizes x; an extrapolation beyond the largest size is only as good as the form."""
        return self.form.value(np.asarray(x, dtype=float), self.theta)

    def band(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Bootstrap interval of the law (not of a new run) at sizes x."""
        x = np.asarray(x, dtype=float)
        with np.errstate(over="ignore", invalid="ignore"):
            curves = np.array([self.form.value(x, theta) for theta in self.bootstrap])
        tail = 50 * (1 - LEVEL)
        return np.nanpercentile(curves, tail, axis=0), np.nanpercentile(curves, 100 - tail, axis=0)

    def to_dict(self) -> dict[str, Any]:
        return {
            "form": self.form.name,
            "formula": self.form.formula,
            "parameters": self.values,
            "intervals": {key: list(pair) for key, pair in self.intervals.items()},
            "level": LEVEL,
            "objective": self.objective,
            "aicc": self.aicc,
            "converged": self.converged,
            "points": len(self.x),
            "held_out_error": self.held_out_error,
            "residuals": self.residuals.tolist(),
            "notes": self.notes,
            "source": self.form.source,
            "assumes": self.form.assumes,
        }


def fit_power_law(
    x: np.ndarray, y: np.ndarray, *, offset: bool = False, bootstrap: int = 1000, seed: int = 0
) -> Fit:
    """Fit L = αx^−β, or with offset L∞ + αx^−β, to points.

    The residual is log L - log L̂, so that every size weighs the same. β's interval is the profile of the sum
    of squares with an F threshold, which for few points is as wide as it ought to be; those of the others
    come from a residual bootstrap (draws rescaled by the degrees of freedom).

    Args:
        x: (n,) sizes. y: (n,) losses. Several points may share a size (seeds).

    Raises:
        FitError: not enough distinct sizes, or values that are not positive and finite.
    """
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    form = FORMS["offset" if offset else "power"]
    _check(x, y, form)
    theta, objective, converged = _solve(form, x, y)
    freedom = len(x) - len(theta)
    draws = _bootstrap(form, x, y, theta, freedom, bootstrap, seed)
    intervals = {"beta": _profile_beta(form, x, y, theta, objective, freedom)}
    tail = 50 * (1 - LEVEL)
    for number, name in enumerate(form.parameters):
        if name != "beta":
            low, high = np.percentile(draws[:, number], [tail, 100 - tail])
            intervals[name] = (float(low), float(high))
    fit = Fit(
        form=form,
        theta=theta,
        intervals={name: intervals[name] for name in form.parameters},
        bootstrap=draws,
        objective=objective,
        aicc=_aicc(objective, len(x), len(theta)),
        converged=converged,
        x=x,
        y=y,
        held_out_error=_held_out(form, x, y),
    )
    fit.notes.extend(_notes(fit, freedom))
    return fit


def fit_forms(
    x: np.ndarray, y: np.ndarray, *, bootstrap: int = 1000, seed: int = 0
) -> tuple[list[Fit], list[str]]:
    """Every form of one axis that the points allow, and why the others were refused."""
    fits, refused = [], []
    for offset in (False, True):
        try:
            fits.append(fit_power_law(x, y, offset=offset, bootstrap=bootstrap, seed=seed))
        except FitError as error:
            refused.append(str(error))
    return fits, refused


def supported(fits: Sequence[Fit]) -> Fit | None:
    """The law with a floor if an F test at 5 % says that the points show one, else the plainer form."""
    forms = {fit.form.name: fit for fit in fits}
    if {"power", "offset"} <= set(forms) and floor_significance(forms["power"], forms["offset"]) < 0.05:
        return forms["offset"]
    return fits[0] if fits else None


def _check(x: np.ndarray, y: np.ndarray, form: Form) -> None:
    if x.shape != y.shape or x.ndim != 1:
        raise FitError(f"Sizes {x.shape} and losses {y.shape} must be two lists of one length.")
    if not (np.isfinite(x).all() and np.isfinite(y).all() and (x > 0).all() and (y > 0).all()):
        raise FitError("Sizes and losses must be positive and finite.")
    distinct, least = len(np.unique(x)), FEWEST[form.name]
    if distinct < least:
        why = "two points always lie on a line" if distinct == 2 else "a law needs sizes to compare"
        if form.name == "offset":
            why = "its three parameters would follow the noise"
        raise FitError(
            f"{form.formula} is not fitted: {distinct} distinct sizes, at least {least} needed ({why})."
        )


# --- the optimum ---


def _solve(form: Form, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, float, bool]:
    """(θ, sum of squares, converged)"""
    if form.name == "power":
        theta = _line(x, y)
        return theta, _objective(form, x, y, theta), True
    return _solve_offset(form, x, y)


def _line(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    slope, intercept = np.polyfit(np.log(x), np.log(y), 1)
    return np.array([math.exp(intercept), -slope])


def _solve_offset(form: Form, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, float, bool]:
    """From many floors, the straight line through log(L - L∞) starts a bounded least-squares descent."""
    scale = np.exp(np.mean(np.log(x)))  # sizes near 1 keep α and β from trading places
    z = x / scale
    best: tuple[float, np.ndarray, bool] | None = None
    lowest = float(y.min())
    for share in (0.0, 0.2, 0.4, 0.6, 0.75, 0.85, 0.92, 0.96, 0.985):
        start = _line(z, y - share * lowest)
        found = _descend(form, z, y, np.array([start[0], max(start[1], 1e-3), share * lowest]))
        if found is not None and (best is None or found[0] < best[0]):
            best = found
    if best is None:
        raise FitError("No start of the offset fit converged: the points do not fall with size.")
    objective, theta, converged = best
    return np.array([theta[0] * scale ** theta[1], theta[1], theta[2]]), objective, converged


def _descend(
    form: Form, z: np.ndarray, y: np.ndarray, start: np.ndarray
) -> tuple[float, np.ndarray, bool] | None:
    log_y = np.log(y)
    bounds = ([1e-12, 1e-6, 0.0], [np.inf, MOST_BETA, float(y.min()) * (1 - 1e-9)])
    start = np.clip(start, np.array(bounds[0]) * 1.001 + 1e-15, np.array(bounds[1]) * 0.999)
    try:
        result = optimize.least_squares(
            lambda theta: np.log(form.value(z, theta)) - log_y,
            start,
            jac=lambda theta: form.log_gradient(z, theta),
            bounds=bounds,
            x_scale="jac",
            ftol=1e-14,
            xtol=1e-14,
            gtol=1e-14,
            max_nfev=400,
        )
    except (ValueError, np.linalg.LinAlgError):
        return None
    return float(2 * result.cost), result.x, bool(result.status > 0)


def _objective(form: Form, x: np.ndarray, y: np.ndarray, theta: np.ndarray) -> float:
    return float(np.sum((np.log(y) - np.log(form.value(x, theta))) ** 2))


def floor_significance(power: Fit, offset: Fit) -> float:
    """p of an F test that the floor's improvement over the power law is chance (the forms are nested)."""
    freedom = len(offset.x) - len(offset.theta)
    if offset.objective <= 0:
        return 0.0
    gain = max(0.0, power.objective - offset.objective) / (offset.objective / freedom)
    return float(stats.f.sf(gain, 1, freedom))


# --- uncertainty ---


def _bootstrap(
    form: Form, x: np.ndarray, y: np.ndarray, theta: np.ndarray, freedom: int, draws: int, seed: int
) -> np.ndarray:
    fitted = np.log(form.value(x, theta))
    residuals = np.log(y) - fitted
    residuals = (residuals - residuals.mean()) * math.sqrt(len(x) / freedom)
    # Few residuals repeat themselves in every draw: a t of the same spread has the tails that they hide.
    spread = math.sqrt(max(float(np.sum(residuals**2)) / len(x), 0.0))
    random = np.random.default_rng(seed)
    out = []
    for _ in range(draws):
        if len(x) < 10:
            noise = spread * stats.t.rvs(freedom, size=len(x), random_state=random) if spread > 0 else 0.0
        else:
            noise = random.choice(residuals, size=len(x))
        try:
            if form.name == "power":
                out.append(_line(x, np.exp(fitted + noise)))
            else:
                out.append(_warm(form, x, np.exp(fitted + noise), theta))
        except (FitError, np.linalg.LinAlgError):
            continue
    return np.array(out)


def _warm(form: Form, x: np.ndarray, y: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """A refit that starts at the fitted law."""
    scale = np.exp(np.mean(np.log(x)))
    start = np.array([theta[0] * scale ** -theta[1], theta[1], min(theta[2], 0.98 * float(y.min()))])
    found = _descend(form, x / scale, y, start)
    if found is None:
        raise FitError("a bootstrap draw did not converge")
    a, b, c = found[1]
    return np.array([a * scale**b, b, c])


def _profile_beta(
    form: Form, x: np.ndarray, y: np.ndarray, theta: np.ndarray, objective: float, freedom: int
) -> tuple[float | None, float | None]:
    """Where the best sum of squares with β held fixed rises above the F threshold."""
    threshold = objective * (1 + stats.f.ppf(LEVEL, 1, freedom) / freedom)
    beta = float(theta[1])
    if objective < 1e-24:
        return beta, beta

    def excess(b: float) -> float:
        return _best_at(form, x, y, b) - threshold

    def edge(direction: int) -> float | None:
        step, inside = 0.02 * max(abs(beta), 0.05), beta
        while abs(inside - beta) < MOST_BETA:
            outside = inside + direction * step
            if form.name == "offset" and outside <= 1e-4:
                return None if excess(1e-4) < 0 else float(optimize.brentq(excess, 1e-4, inside))
            if excess(outside) > 0:
                return float(optimize.brentq(excess, min(inside, outside), max(inside, outside)))
            inside, step = outside, step * 1.5
        return None

    return edge(-1), edge(+1)


def _best_at(form: Form, x: np.ndarray, y: np.ndarray, beta: float) -> float:
    """Least sum of squares with this β."""
    log_y, log_x = np.log(y), np.log(x)
    if form.name == "power":
        return float(np.sum((log_y + beta * log_x - np.mean(log_y + beta * log_x)) ** 2))
    power = (x / np.exp(log_x.mean())) ** -beta
    top = float(y.min()) * (1 - 1e-9)

    def residual(theta: np.ndarray) -> np.ndarray:
        return np.log(theta[1] + np.exp(theta[0]) * power) - log_y

    def jacobian(theta: np.ndarray) -> np.ndarray:
        scaled = np.exp(theta[0]) * power
        return np.stack([scaled, np.ones_like(power)], axis=1) / (theta[1] + scaled)[:, None]

    best = math.inf
    for share in (0.02, 0.5, 0.8, 0.93, 0.98):
        start = [float(np.mean(np.log(y - share * top) - np.log(power))), share * top]
        found = optimize.least_squares(
            residual, start, jac=jacobian, bounds=([-np.inf, 0.0], [np.inf, top]), x_scale="jac", xtol=1e-12
        )
        best = min(best, float(2 * found.cost))
    return best


def _aicc(objective: float, n: int, parameters: int) -> float:
    """Akaike's criterion for small samples (the noise counts as a parameter); infinite where undefined."""
    k = parameters + 1
    if n - k - 1 <= 0 or objective <= 0:
        return math.inf if objective > 0 else -math.inf
    return n * math.log(objective / n) + 2 * k + 2 * k * (k + 1) / (n - k - 1)


def _held_out(form: Form, x: np.ndarray, y: np.ndarray) -> float | None:
    smaller = x < x.max()
    if len(np.unique(x[smaller])) < FEWEST[form.name]:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theta, _, _ = _solve(form, x[smaller], y[smaller])
    largest = float(np.mean(y[~smaller]))
    return float(form.value(np.array([x.max()]), theta)[0] / largest - 1)


def _notes(fit: Fit, freedom: int) -> list[str]:
    notes = []
    if freedom <= 2:
        notes.append(
            f"Only {freedom} degree{'s' if freedom > 1 else ''} of freedom: the intervals rest on "
            f"{len(fit.x)} points and would change with one more."
        )
    if not fit.converged:
        notes.append("The fit did not converge: do not use these numbers.")
    if fit.values["beta"] <= 0:
        notes.append("The loss does not fall with size.")
    low, high = fit.intervals["beta"]
    if low is None or high is None:
        notes.append(
            "β is not bounded by these points" + (" from above." if high is None else " from below.")
        )
    elif low <= 0 <= high:
        notes.append("The interval of β includes 0: no dependence on size is shown.")
    if fit.form.name == "offset" and (fit.intervals["floor"][0] or 0.0) <= 1e-3 * float(fit.y.min()):
        notes.append("The interval of L∞ reaches 0: these points do not show a floor.")
    ordered = fit.residuals[np.argsort(fit.x)]
    if fit.form.name == "power" and _bends(ordered):
        bend = "flattens" if ordered[0] > 0 else "steepens"
        notes.append(
            f"The residuals bend: the loss {bend} with size, a straight line is not the whole story."
        )
    return notes


def _bends(ordered: np.ndarray) -> bool:
    """Whether both ends lie on one side of the line and all between them on the other (or near it)."""
    if len(ordered) < 4 or np.abs(ordered).max() < 1e-9:
        return False
    side = np.sign(ordered[0])
    middle = side * ordered[1:-1]
    near = 0.2 * float(np.abs(ordered).max())
    return bool(side * ordered[-1] > 0 and middle.mean() < 0 and middle.max() <= near)
