"""One axis at a time of a sweep over two: a power law along N at each D, and along D at each N.

This is how Frey et al. 2023 report their exponents; a joint law is the same in one formula.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from chemscale.laws.axis.fit import MIN_SIZES, Fit, FitError, fit_form
from chemscale.laws.axis.regimes import Regime, limited_by_other
from chemscale.laws.data.points import LawPoints

DRAWS = 200


@dataclass(frozen=True)
class PerAxisLaw:
    """A power law along `axis` where `other` is `value`."""

    axis: str
    other: str
    value: float
    fit: Fit
    """To all runs of the slice."""
    inside: Fit | None
    """To those that a test finds to be limited by the axis, where it leaves some out."""
    regime: Regime

    def to_dict(self) -> dict[str, Any]:
        """For ``law.json``."""
        return {
            "axis": self.axis,
            self.other: self.value,
            "fit": self.fit.to_dict(),
            "inside_regime": self.inside.to_dict() if self.inside else None,
            "statement": self.regime.statement,
            "test": self.regime.test,
        }


def laws_per_axis(points: LawPoints, axis: str, other: str, unit: str, *, seed: int = 0) -> list[PerAxisLaw]:
    """A law for each value of `other` that runs of at least three sizes share; none where runs form no grid.

    Args:
        points: the table.
        axis: of the points' sizes.
        other: axis that is held.
        unit: of the loss.
        seed: of the bootstrap.

    Raises:
        PointsError: no used point has both sizes and the loss.
    """
    limited = limited_by_other(points, axis, other, unit)
    laws = []
    for each in limited.slices:
        members = [points.points[number] for number in each.members]
        x, y = np.array([p.sizes[axis] for p in members]), np.array([p.losses[unit] for p in members])
        if len(np.unique(x)) < MIN_SIZES["power"]:
            continue
        keep = each.regime.keep
        try:
            fit = fit_form(x, y, "power", bootstrap=DRAWS, seed=seed)
            inside = None if keep.all() else fit_form(x[keep], y[keep], "power", bootstrap=DRAWS, seed=seed)
        except FitError:  # seeds of two sizes inside the regime
            continue
        laws.append(PerAxisLaw(axis, other, each.other, fit, inside, each.regime))
    return laws
