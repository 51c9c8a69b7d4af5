"""Notes on a fit of one axis: few degrees of freedom, open intervals, residuals that bend."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from chemscale.laws.axis.fit import Fit


def fit_notes(fit: Fit, unconverged: float) -> list[str]:
    """What a reader must know of a fit.

    Args:
        fit: of one axis.
        unconverged: share of the bootstrap's refits that did not converge.
    """
    notes = []
    _, freedom = fit.error
    if freedom <= 2:
        count = f"{len(fit.x)} points" if fit.resampling != "sizes" else f"{len(np.unique(fit.x))} sizes"
        notes.append(
            f"Only {freedom} degree{'s' if freedom > 1 else ''} of freedom: the intervals rest on "
            f"{count} and would change with one more."
        )
    if fit.seeds is not None and fit.scatter is not None:
        notes += [fit.seeds.text(), fit.scatter.reason]
    if not fit.converged:
        notes.append("The fit did not converge: do not use these numbers.")
    if unconverged > 0.01:
        notes.append(f"{unconverged:.0%} of the bootstrap's refits did not converge.")
    notes += _exponent_notes(fit) if "beta" in fit.values else _break_notes(fit)
    if fit.form.name == "offset" and (fit.intervals["floor"][0] or 0.0) <= 1e-3 * float(fit.y.min()):
        notes.append("The interval of L∞ reaches 0: these points do not show a floor.")
    ordered = fit.residuals[np.argsort(fit.x)]
    if fit.form.name == "power" and _bends(ordered):
        bend = "flattens" if ordered[0] > 0 else "steepens"
        notes.append(
            f"The residuals bend: the loss {bend} with size, a straight line is not the whole story."
        )
    return notes


def _exponent_notes(fit: Fit) -> list[str]:
    notes = []
    if fit.values["beta"] <= 0:
        notes.append("The loss does not fall with size.")
    low, high = fit.intervals["beta"]
    if low is None or high is None:
        notes.append(
            "β is not bounded by these points" + (" from above." if high is None else " from below.")
        )
    elif low <= 0 <= high:
        notes.append("The interval of β includes 0: no dependence on size is shown.")
    return notes


def _break_notes(fit: Fit) -> list[str]:
    open_sides = [name for name, pair in fit.intervals.items() if None in pair]
    notes = ["Intervals come from refits that start at this optimum: another one is not looked for."]
    if open_sides:
        notes.append(f"Not bounded by these points on some side: {', '.join(open_sides)}.")
    for number in range(1, getattr(fit.form, "breaks", 0) + 1):
        low, high = fit.intervals[f"c{number}"]
        if (low is None or low <= 0) and (high is None or high >= 0):
            notes.append(f"The interval of c{number} includes 0: break {number} is not shown.")
    return notes


def _bends(ordered: np.ndarray) -> bool:
    """Whether both ends lie on one side of the line and all between them on the other (or near it)."""
    if len(ordered) < 4 or np.abs(ordered).max() < 1e-9:
        return False
    side = np.sign(ordered[0])
    middle = side * ordered[1:-1]
    near = 0.2 * float(np.abs(ordered).max())
    return bool(side * ordered[-1] > 0 and middle.mean() < 0 and middle.max() <= near)
