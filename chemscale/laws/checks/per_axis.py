"""One axis at a time of a sweep over two: along N at each D, and along D at each N.

This is how Frey et al. 2023 report their exponents; a joint law is the same in one formula. Along one axis
the other sets a floor, so that the law is a power law above one wherever there are sizes enough.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from chemscale.common.listening import work
from chemscale.laws.axis.fit import MIN_SIZES, Fit, FitError, fit_form
from chemscale.laws.axis.regimes import Regime, limited_by_other
from chemscale.laws.data.points import LawPoints


@dataclass(frozen=True)
class PerAxisLaw:
    """A law along `axis` where `other` is `value`."""

    axis: str
    other: str
    value: float
    fit: Fit
    """Above a floor from five sizes on; of fewer a straight line, whose interval would not hold."""
    regime: Regime

    @property
    def holds(self) -> bool:
        """Whether the intervals of the fit mean anything: it allows for the other axis' floor."""
        return self.fit.form.name == "offset"

    def to_dict(self) -> dict[str, Any]:
        """For ``law.json``."""
        found = self.fit.to_dict()
        if not self.holds:
            found["intervals"] = {name: [None, None] for name in found["intervals"]}
        return {
            "axis": self.axis,
            self.other: self.value,
            "fit": found,
            "statement": self.regime.statement,
            "test": self.regime.test,
        }


def laws_per_axis(points: LawPoints, axis: str, other: str, unit: str) -> list[PerAxisLaw]:
    """A law for each value of `other` that runs of at least three sizes share; none where runs form no grid.

    Args:
        points: the table.
        axis: of the points' sizes.
        other: axis that is held.
        unit: of the loss.

    Raises:
        PointsError: no used point has both sizes and the loss.
    """
    limited = limited_by_other(points, axis, other, unit)
    laws = []
    with work(len(limited.slices), "slices") as done:
        for each in limited.slices:
            done(1)
            members = [points.points[number] for number in each.members]
            x, y = np.array([p.sizes[axis] for p in members]), np.array([p.losses[unit] for p in members])
            sizes = len(np.unique(x))
            if sizes < MIN_SIZES["power"]:
                continue
            try:
                fit = fit_form(x, y, "offset" if sizes >= MIN_SIZES["offset"] else "power")
            except FitError:  # losses that are equal, or that no law describes
                continue
            laws.append(PerAxisLaw(axis, other, each.other, fit, each.regime))
    return laws
