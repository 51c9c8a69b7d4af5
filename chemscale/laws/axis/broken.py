"""Fits of the forms that are not straight in log-log, and the extrapolation of learning curves.

Starts come from variable projection: with floor, breaks and widths held, the logarithm of what lies above the
floor is linear in everything else.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from chemscale.laws.axis.forms import FORMS, Broken, FitError, Form
from chemscale.laws.axis.intervals import MAX_BETA
from chemscale.laws.axis.least_squares import fit_least_squares

FLOORS = (0.0, 0.5, 0.8, 0.92, 0.98)
"""Starts of the floor, as shares of the smallest loss."""
WIDTHS = (0.02, 0.08, 0.25)
"""Starts of the width of a break, as shares of the log range of sizes."""
NARROWEST, WIDEST = 0.01, 1.0
KEPT = {"broken1": 20, "broken2": 32}
"""Starts that fit_least_squares, the best of the grid."""
THOROUGH, QUICK = (100, 4, 1000), (40, 4, 300)
"""(steps of every start, how many of the lowest go on, for how many steps more)."""


def box(form: Form, z: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The box of a fit: floors up to the largest loss, breaks inside the range of sizes.

    The width f of a break lies between 1 and 100 % of the range of log sizes, exponents between −2 and 5
    before the first break and change by at most 5 at each.

    Args:
        form: of the law.
        z: (n,) log sizes.
        y: (n,) losses.

    Returns:
        (p,) lower and (p,) upper sides, in the form's coordinates.
    """
    top = float(y.max())
    if form.name == "power":
        return np.full(2, -np.inf), np.full(2, np.inf)
    if form.name == "offset":
        return np.array([-np.inf, 1e-6, 0.0]), np.array([np.inf, MAX_BETA, top])
    assert isinstance(form, Broken)
    sizes = np.unique(z)
    span = float(sizes[-1] - sizes[0])
    low = [0.0, -np.inf, -2.0] + [-5.0, sizes[1], math.log(NARROWEST * span)] * form.breaks
    high = [top, np.inf, 5.0] + [5.0, sizes[-2], math.log(WIDEST * span)] * form.breaks
    return np.array(low), np.array(high)


def solve(
    form: Form, x: np.ndarray, y: np.ndarray, effort: tuple[int, int, int] = THOROUGH
) -> tuple[np.ndarray, float, bool]:
    """Fit a form to points from many starts.

    Args:
        form: of the law.
        x: (n,) sizes.
        y: (n,) losses.
        effort: ``THOROUGH`` or ``QUICK``.

    Returns:
        θ (p,), the sum of squares of log residuals, and whether the best descent converged.

    Raises:
        FitError: no descent ended at a finite law.
    """
    z, log_y = np.log(x), np.log(y)
    centre = float(z.mean())  # sizes near 1 keep coefficient and exponent from trading places
    z = z - centre
    if form.name == "power":
        slope, intercept = np.polyfit(z, log_y, 1)
        phi, objective, converged = np.array([intercept, -slope]), 0.0, True
        objective = float(np.sum((intercept + slope * z - log_y) ** 2))
    else:
        low, high = box(form, z, y)
        starts = _offset_starts(z, y) if form.name == "offset" else broken_starts(form, z, y)
        early, leading, late = effort
        first = fit_least_squares(form, starts, z, log_y, low, high, steps=early)
        lowest = first.phi[np.argsort(first.objective)[:leading]]
        phi, objective, converged = fit_least_squares(form, lowest, z, log_y, low, high, steps=late).best()
    if not math.isfinite(objective):
        raise FitError(f"No start of {form.formula} converged: the points do not follow such a law.")
    if isinstance(form, Broken):
        phi = form.ordered(phi[None])[0]
    return form.reported(form.shift(phi[None], centre))[0], objective, converged


def refit(
    form: Form, x: np.ndarray, log_draws: np.ndarray, theta: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Fit a form to draws of log loss, each from the parameters of the points themselves.

    Args:
        form: of the law.
        x: (n,) sizes.
        log_draws: (S, n) log losses.
        theta: (p,) parameters.

    Returns:
        (S, p) parameters, and whether each fit converged (S,).
    """
    z = np.log(x)
    centre = float(z.mean())
    z = z - centre
    if form.name == "power":
        slopes, intercepts = np.polyfit(z, log_draws.T, 1)
        phi, converged = np.stack([intercepts, -slopes], 1), np.ones(len(log_draws), dtype=bool)
    else:
        low, high = box(form, z, np.exp(log_draws))
        start = form.shift(form.internal(theta)[None], -centre)
        found = fit_least_squares(form, np.repeat(start, len(log_draws), 0), z, log_draws, low, high)
        phi, converged = found.phi, found.converged
    if isinstance(form, Broken):
        phi = form.ordered(phi)
    return form.reported(form.shift(phi, centre)), converged


def _offset_starts(z: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(S, 3) straight lines through log(L − L∞) for many floors."""
    starts = []
    for share in (0.0, 0.2, 0.4, 0.6, 0.75, 0.85, 0.92, 0.96, 0.985):
        floor = share * float(y.min())
        slope, intercept = np.polyfit(z, np.log(y - floor), 1)
        starts.append([intercept, max(-slope, 1e-3), floor])
    return np.array(starts)


def broken_starts(form: Form, z: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Starts of a broken law: the best of a grid of floors, breaks and widths, and the law without the break.

    Args:
        form: with one or two breaks.
        z: (n,) log sizes.
        y: (n,) losses.

    Returns:
        (S, p) in the form's coordinates.
    """
    assert isinstance(form, Broken)
    low, high = box(form, z, y)
    span = float(z.max() - z.min())
    positions = np.linspace(low[4], high[4], 8 if form.breaks == 1 else 7)
    places = list(itertools.combinations(positions, form.breaks))
    grid = np.array([(*d, f, a) for d in places for f in WIDTHS for a in FLOORS])
    d, width, floor = grid[:, :-2], grid[:, -2] * span, grid[:, -1] * float(y.min())
    above = y - floor[:, None]
    u = (z - d[:, :, None]) / width[:, None, None]
    bends = -width[:, None, None] * np.logaddexp(0, u)
    ones = np.ones_like(above)
    basis = np.concatenate([ones[:, None], np.broadcast_to(-z, above.shape)[:, None], bends], 1)
    weight = (above / y)[:, None]  # d log L of d log (L − a)
    design = basis * weight
    target = np.log(above)[:, None] * weight
    normal = design @ design.transpose(0, 2, 1)
    ridge = 1e-9 * np.einsum("sii->s", normal)[:, None, None] * np.eye(normal.shape[1])
    solved = np.linalg.solve(normal + ridge, design @ target.transpose(0, 2, 1))[:, :, 0]
    log_width = np.log(width)
    columns = [floor, solved[:, 0], solved[:, 1]]
    for number in range(form.breaks):
        columns += [solved[:, 2 + number], d[:, number], log_width]
    starts = np.clip(np.stack(columns, 1), low, high)
    with np.errstate(over="ignore", invalid="ignore"):
        missed = form.log_loss(starts, z)[0] - np.log(y)
        cost = np.nan_to_num(np.einsum("sn,sn->s", missed, missed), nan=np.inf)
    kept = starts[np.argsort(cost)[: KEPT[form.name]]]
    return np.concatenate([kept, _unbroken(form, z, y, positions)])


def _unbroken(form: Broken, z: np.ndarray, y: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """(S, p) the next plainer law with a break of no height at each position: the forms are nested."""
    plainer = FORMS["offset" if form.breaks == 1 else "broken1"]
    starts = _offset_starts(z, y) if form.breaks == 1 else broken_starts(plainer, z, y)
    low, high = box(plainer, z, y)
    phi = fit_least_squares(plainer, starts, z, np.log(y), low, high).best()[0]
    if form.breaks == 1:
        phi = np.array([phi[2], phi[0], phi[1]])
    flat = math.log(0.1 * float(z.max() - z.min()))
    return np.array([[*phi, 0.0, position, flat] for position in positions[1:-1:2]])


class Extrapolation(NamedTuple):
    """A loss predicted at a later size.

    Args:
        value: the loss.
        form: what was used.
        status: why it is not the form that was asked for; ``ok`` where it is.
    """

    value: float
    form: str
    status: str


MIN_CURVE_SIZES = {"power": 3, "offset": 5, "broken1": 8}
"""Distinct sizes of a curve that each form needs."""


def extrapolate_curve(
    x: np.ndarray | Sequence[float], y: np.ndarray | Sequence[float], at: float, form: str = "broken1"
) -> Extrapolation:
    """Predict the loss at a later x of a learning curve by a law fitted to what has been seen of it.

    A curve's points depend on each other, so that this has no interval of its own: calibrate it on curves
    whose end is known. Points that are not positive and finite are dropped. Where the form cannot be fitted,
    or predicts a rise above the last quarter of the curve, the next plainer one is used, in the end the last
    loss.

    Args:
        x: (n,) tokens or steps seen.
        y: (n,) losses.
        at: where to predict.
        form: ``power``, ``offset`` or ``broken1``.

    Raises:
        FitError: the form is not one of these, x and y differ in length, or no point is positive and finite.

    Source: Domhan et al. 2015 for the task; Caballero et al. 2022 for the broken form.
    """
    if form not in MIN_CURVE_SIZES:
        raise FitError(f"A learning curve is extrapolated by {', '.join(MIN_CURVE_SIZES)}, not by {form!r}.")
    sizes, losses = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if sizes.shape != losses.shape or sizes.ndim != 1:
        raise FitError(f"Sizes {sizes.shape} and losses {losses.shape} must be two lists of one length.")
    good = np.isfinite(sizes) & np.isfinite(losses) & (sizes > 0) & (losses > 0)
    sizes, losses = sizes[good], losses[good]
    if not len(sizes):
        raise FitError("The learning curve has no point with positive, finite size and loss.")
    dropped = int(np.sum(~good))
    status = [f"{dropped} point{'s' if dropped > 1 else ''} not positive and finite"] if dropped else []
    names = list(MIN_CURVE_SIZES)
    for name in reversed(names[: names.index(form) + 1]):
        value, why = _extrapolate(FORMS[name], sizes, losses, float(at))
        if value is not None:
            return Extrapolation(value, name, "; ".join(status) or "ok")
        status.append(f"{name}: {why}")
    last = float(losses[np.argmax(sizes)])
    return Extrapolation(last, "last", "; ".join([*status, "the last loss stands"]))


def _extrapolate(form: Form, x: np.ndarray, y: np.ndarray, at: float) -> tuple[float | None, str]:
    """(value, "") or (None, why not)."""
    distinct, least = len(np.unique(x)), MIN_CURVE_SIZES[form.name]
    if distinct < least:
        return None, f"{distinct} distinct sizes, {least} needed"
    try:
        theta, _, converged = solve(form, x, y, QUICK)
    except (FitError, np.linalg.LinAlgError):
        return None, "no descent ended"
    if not converged:
        return None, "the descent did not converge"
    with np.errstate(over="ignore", invalid="ignore"):
        value = float(form.value(np.array([at]), theta)[0])
    if not math.isfinite(value) or value <= 0:
        return None, "the law has no finite value there"
    late = y[np.argsort(x)][-max(3, len(y) // 4) :]
    if value > float(late.max()) * (1 + 1e-9):
        return None, "foretells a rise above the last quarter of the curve"
    return value, ""
