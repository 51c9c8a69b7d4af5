"""Notes on single runs that lie far off the law through the others, and what the law is without them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chemscale.laws.axis.fit import FitError
from chemscale.laws.checks.outliers import Outlier, axis_outliers, surface_outliers
from chemscale.laws.data.points import LawPoint, LawPoints
from chemscale.laws.joint.fit import SurfaceFit
from chemscale.laws.reports.texts import parameters_text, values_text

MAX_NAMED = 5


def surface_doubts(points: LawPoints, unit: str, law: SurfaceFit) -> list[str]:
    """Name the runs that a joint law misses by far.

    Args:
        points: that were fitted.
        unit: of the loss.
        law: fitted to them.
    """
    try:
        found, without = surface_outliers(law)
    except FitError:
        return []
    if without is None:
        return []
    texts = [parameters_text(fit.values, fit.intervals) for fit in (law, without)]
    return [_note(points.fitted(unit), found, *texts)]


def axis_doubts(points: LawPoints, axis: str, unit: str) -> list[str]:
    """Name the runs that a law of one axis misses by far.

    Args:
        points: that were fitted.
        axis: of the sizes.
        unit: of the loss.
    """
    chosen = [p for p in points.fitted(unit) if axis in p.sizes]
    x, y = np.array([p.sizes[axis] for p in chosen]), np.array([p.losses[unit] for p in chosen])
    found, law, without = axis_outliers(x, y)
    if law is None or without is None:
        return []
    return [_note(chosen, found, *(f"{fit.form.formula}: {values_text(fit)}" for fit in (law, without)))]


def _note(chosen: Sequence[LawPoint], found: Sequence[Outlier], law: str, without: str) -> str:
    said = [f"{chosen[each.place].named}: {each.words}" for each in found[:MAX_NAMED]]
    more = f"; {len(found) - MAX_NAMED} more" if len(found) > MAX_NAMED else ""
    it = "it" if len(found) == 1 else "them"
    highest = sorted(chosen, key=lambda p: -max(p.losses.values()))[: len(found)]
    way = "take the row out, or give its state by state="
    if {id(chosen[each.place]) for each in found} == {id(p) for p in highest}:
        way = f"--exclude-highest {len(found)} leaves {it} out"
    return (
        f"CHECK {'; '.join(said)}{more}. Diverged, or a wrong number? Fitted all the same ({way}). "
        f"With {it}: {law}. Without {it}: {without}."
    )
