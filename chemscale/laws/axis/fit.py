"""Fits of one axis by least squares in log space, with intervals as wide as few points make them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chemscale.laws import stats
from chemscale.laws.axis.broken import refit, solve
from chemscale.laws.axis.continuation import Continuation
from chemscale.laws.axis.draws import Draws, draw_noise
from chemscale.laws.axis.forms import FORMS, Broken, FitError, Form
from chemscale.laws.axis.intervals import (
    LEVEL,
    Scatter,
    SeedSpread,
    refuse_absurd,
    refuse_equal,
    scatter,
    seed_spread,
)
from chemscale.laws.axis.notes import fit_notes
from chemscale.laws.axis.region import Interval, Region, region

__all__ = [
    "LEVEL",
    "MIN_SIZES",
    "Fit",
    "FitError",
    "fit_form",
    "fit_forms",
    "fit_power_law",
    "floor_significance",
    "gain_significance",
    "supported",
]

MIN_SIZES = {"power": 3, "offset": 5, "broken1": 8, "broken2": 11}
"""Distinct sizes below which a form is not fitted: with as many points as parameters any law is perfect."""
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Fit:
    """One form fitted to points. `intervals` are at LEVEL, None where the data do not bound a side."""

    form: Form
    theta: np.ndarray
    intervals: dict[str, Interval]
    laws: Region | Draws
    """What the intervals are of: all laws that the points do not reject, or the refits of a bootstrap."""
    objective: float
    """Sum of squared residuals of log loss."""
    aicc: float
    converged: bool
    x: np.ndarray
    y: np.ndarray
    notes: list[str] = field(default_factory=list)
    held_out_error: float | None = None
    """Relative error at the largest size of a fit to the smaller ones."""
    scatter: Scatter | None = None
    """What the intervals rest on: residuals, seeds, or sizes with their seeds."""
    seeds: SeedSpread | None = None
    """Pure error, where several points share a size."""
    continuation: Continuation | None = None
    """Of a law that flattens: how far it may fall beyond the largest size if that is a bend and no floor."""

    @property
    def values(self) -> dict[str, float]:
        """Parameters by name."""
        return dict(zip(self.form.parameters, map(float, self.theta), strict=True))

    @property
    def resampling(self) -> str:
        """What the bootstrap drew: ``residuals``, ``seeds`` or ``sizes``."""
        return self.scatter.resampling if self.scatter else "residuals"

    @property
    def error(self) -> tuple[float, int]:
        """Variance of log loss around the law, and its degrees of freedom."""
        if self.scatter:
            return self.scatter.variance, self.scatter.freedom
        freedom = len(self.x) - len(self.theta)
        return self.objective / freedom, freedom

    @property
    def residuals(self) -> np.ndarray:
        """(n,) log loss less log law."""
        return np.log(self.y) - np.log(self.form.value(self.x, self.theta))

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Loss at sizes x; an extrapolation beyond the largest size is only as good as the form."""
        return self.form.value(np.asarray(x, dtype=float), self.theta)

    def band(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Interval (m,), (m,) of the law, not of a new run, at sizes x (m,).

        Beyond the largest size the lower end of a law that flattens also allows for a straight continuation
        (see ``Continuation``): the points do not tell a floor from a bend.
        """
        x = np.asarray(x, dtype=float)
        low, high = self.laws.band(x)
        return (low if self.continuation is None else np.fmin(low, self.continuation.lowest(x))), high

    def to_dict(self) -> dict[str, Any]:
        """For ``law.json``."""
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
            "sizes": len(np.unique(self.x)),
            "resampling": self.resampling,
            "lack_of_fit": self.scatter.lack_of_fit if self.scatter else None,
            "seed_spread": vars(self.seeds) if self.seeds else None,
            "held_out_error": self.held_out_error,
            "residuals": self.residuals.tolist(),
            "notes": self.notes,
            "source": self.form.source,
            "assumes": self.form.assumes,
        }


def fit_power_law(
    x: np.ndarray,
    y: np.ndarray,
    *,
    offset: bool = False,
    bootstrap: int = 1000,
    seed: int = 0,
    resampling: str = "auto",
) -> Fit:
    """Fit L = αx^−β, or with offset L∞ + αx^−β, to points: ``fit_form`` by these two names.

    Args:
        x: (n,) sizes.
        y: (n,) losses.
        offset: whether there is a floor.
        bootstrap: draws.
        seed: of the draws.
        resampling: see ``fit_form``.
    """
    name = "offset" if offset else "power"
    return fit_form(x, y, name, bootstrap=bootstrap, seed=seed, resampling=resampling)


def fit_form(
    x: np.ndarray,
    y: np.ndarray,
    name: str,
    *,
    bootstrap: int = 1000,
    seed: int = 0,
    resampling: str = "auto",
) -> Fit:
    """Fit one form of one axis to points.

    The residual is log L − log L̂, so that every size weighs the same. Intervals of ``power`` and ``offset``
    are profiles of the sum of squares with an F threshold, which for few points are as wide as they ought to
    be; those of broken laws come from a bootstrap around the law (rescaled by the degrees of freedom, refits
    from the optimum). All take the form for true: see ``fit_axis`` for the one that the points bear out.

    Args:
        x: (n,) sizes.
        y: (n,) losses. Several points may share a size (seeds).
        name: ``power``, ``offset``, ``broken1`` or ``broken2``.
        bootstrap: draws, of a broken law.
        seed: of the draws.
        resampling: what the noise is measured by: ``residuals``, ``seeds``, ``sizes``, or ``auto``: without
            seeds the residuals; with them the seeds, unless a lack-of-fit test finds that sizes miss the law
            by more than seeds explain.

    Raises:
        FitError: not enough distinct sizes, values that are not positive and finite, equal losses, a law that
            no number holds, an unknown name.
    """
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if name not in FORMS:
        raise FitError(f"There is no form {name!r} of one axis; there are {', '.join(FORMS)}.")
    form = FORMS[name]
    _check(x, y, form)
    theta, objective, converged = solve(form, x, y)
    fitted = _log_law(form, x, theta)
    spread = scatter(x, np.log(y) - fitted, len(theta), resampling)
    laws, unconverged = _laws(form, x, y, theta, objective, spread, bootstrap, seed)
    fit = Fit(
        form=form,
        theta=theta,
        intervals={parameter: laws.interval(parameter) for parameter in form.parameters},
        laws=laws,
        objective=objective,
        aicc=_aicc(objective, len(x), len(theta)),
        converged=converged,
        x=x,
        y=y,
        held_out_error=_held_out(form, x, y),
        scatter=spread,
        seeds=seed_spread(x, y),
        continuation=Continuation.of(x, y, spread) if form.name == "offset" else None,
    )
    fit.notes.extend(fit_notes(fit, unconverged))
    return fit


def _laws(
    form: Form,
    x: np.ndarray,
    y: np.ndarray,
    theta: np.ndarray,
    objective: float,
    spread: Scatter,
    bootstrap: int,
    seed: int,
) -> tuple[Region | Draws, float]:
    """What the intervals are of, and the share of refits that did not converge."""
    if not isinstance(form, Broken):
        return region(form, x, y, theta, objective, spread), 0.0
    noise = draw_noise(spread, bootstrap, np.random.default_rng(seed))
    draws, converged = refit(form, x, _log_law(form, x, theta) + noise, theta)
    return Draws(form, x, y, draws), 1 - float(converged.mean())


def _log_law(form: Form, x: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """(n,) log of the law at sizes; refused where a number of it is not finite."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        fitted = np.log(form.value(x, theta))
        known = np.isfinite(form.internal(theta)).all() and np.isfinite(theta).all()
    if not (known and np.isfinite(fitted).all()):
        raise FitError(
            f"{form.formula} is not fitted: the best law has a coefficient that no number holds. Look for a "
            "wrong size or loss, or give sizes in a larger unit."
        )
    return fitted


def fit_forms(
    x: np.ndarray,
    y: np.ndarray,
    *,
    forms: Sequence[str] = ("power", "offset"),
    bootstrap: int = 1000,
    seed: int = 0,
    resampling: str = "auto",
) -> tuple[list[Fit], list[str]]:
    """Fit every form asked for that the points allow, plainest first; and why the others were refused.

    Args:
        x: (n,) sizes.
        y: (n,) losses.
        forms: names.
        bootstrap: draws.
        seed: of the draws.
        resampling: see ``fit_form``.

    Raises:
        FitError: a name that is not a form.
    """
    for name in forms:
        if name not in FORMS:
            raise FitError(f"There is no form {name!r} of one axis; there are {', '.join(FORMS)}.")
    fits, refused = [], []
    for name in (name for name in FORMS if name in forms):
        try:
            fits.append(fit_form(x, y, name, bootstrap=bootstrap, seed=seed, resampling=resampling))
        except FitError as error:
            refused.append(str(error))
    return fits, list(dict.fromkeys(refused))


def supported(fits: Sequence[Fit]) -> Fit | None:
    """The most flexible law of which F tests at 5 % find that the points show what it adds.

    The forms are nested, power ⊂ offset ⊂ broken1 ⊂ broken2: each that was fitted and converged is tested in
    this order against the one preferred so far.
    """
    order = list(FORMS)
    ranked = sorted(fits, key=lambda fit: order.index(fit.form.name))
    if not ranked:
        return None
    chosen = ranked[0]
    for fit in ranked[1:]:
        if fit.converged and gain_significance(chosen, fit) < SIGNIFICANT:
            chosen = fit
    return chosen


def floor_significance(power: Fit, offset: Fit) -> float:
    """p of an F test that the floor's improvement over the power law is chance (the forms are nested)."""
    return gain_significance(power, offset)


def gain_significance(plain: Fit, flexible: Fit) -> float:
    """p of an F test that a more flexible form's gain over one that it contains is chance.

    The error is the flexible fit's own (its size means where its seeds do not explain how they scatter).
    """
    variance, freedom = flexible.error
    more = len(flexible.theta) - len(plain.theta)
    gain = max(0.0, plain.objective - flexible.objective)
    if variance <= 0:
        return 0.0 if gain > 0 else 1.0
    return float(stats.f.sf(gain / more / variance, more, freedom))


def _check(x: np.ndarray, y: np.ndarray, form: Form) -> None:
    if x.shape != y.shape or x.ndim != 1:
        raise FitError(f"Sizes {x.shape} and losses {y.shape} must be two lists of one length.")
    if not (np.isfinite(x).all() and np.isfinite(y).all() and (x > 0).all() and (y > 0).all()):
        raise FitError("Sizes and losses must be positive and finite.")
    refuse_absurd(x, y)
    distinct, least = len(np.unique(x)), MIN_SIZES[form.name]
    if distinct < least:
        line = form.name == "power" and distinct == 2
        why = "two points always lie on a line" if line else form.refusal
        raise FitError(
            f"{form.formula} is not fitted: {distinct} distinct sizes, at least {least} needed ({why})."
        )
    refuse_equal(y)


def _aicc(objective: float, n: int, parameters: int) -> float:
    """Akaike's criterion for small samples (the noise counts as a parameter); infinite where undefined."""
    k = parameters + 1
    if n - k - 1 <= 0 or objective <= 0:
        return math.inf if objective > 0 else -math.inf
    return n * math.log(objective / n) + 2 * k + 2 * k * (k + 1) / (n - k - 1)


def _held_out(form: Form, x: np.ndarray, y: np.ndarray) -> float | None:
    smaller = x < x.max()
    if len(np.unique(x[smaller])) < MIN_SIZES[form.name]:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theta, _, _ = solve(form, x[smaller], y[smaller])
    largest = float(np.mean(y[~smaller]))
    return float(form.value(np.array([x.max()]), theta)[0] / largest - 1)
