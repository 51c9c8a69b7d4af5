"""All laws of a form that points of one axis do not reject, and the intervals that follow from them.

A law is not rejected while its sum of squares stays below the F threshold for one quantity. The range of any
quantity over these laws is its profile interval, so that one set gives the interval of every parameter and of
every prediction. With few sizes it is as wide as it ought to be, where a bootstrap is too narrow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from chemscale.laws import stats
from chemscale.laws.axis.forms import Form
from chemscale.laws.axis.intervals import LEVEL, MAX_BETA, Scatter
from chemscale.laws.axis.offset_curves import OffsetCurves, floors

LEAST_DEVIATION = 1e-12
"""Of log loss: free of noise, the rounding of the losses is all the scatter there is."""
DIRECTIONS = 1600
"""In which the edge of the set is looked for: intervals come out at most 0.2 % too narrow."""

Interval = tuple[float | None, float | None]


@dataclass(frozen=True)
class Region:
    """Laws of one form on the edge of what the points do not reject.

    Args:
        form: of the laws.
        phi: (S, p) their coordinates.
        open: parameters and sides (0 low, 1 high) on which the points set no bound.
        flat: whether a law without any dependence on size is among them.
    """

    form: Form
    phi: np.ndarray
    open: frozenset[tuple[str, int]] = frozenset()
    flat: bool = False

    def interval(self, name: str) -> Interval:
        """Both ends of a parameter; None where the points do not bound a side."""
        values = self.form.reported(self.phi)[:, self.form.parameters.index(name)]
        low, high = float(values.min()), float(values.max())
        if name == "beta" and self.flat:
            low = min(low, 0.0)
        return (
            None if (name, 0) in self.open or not math.isfinite(low) else low,
            None if (name, 1) in self.open or not math.isfinite(high) else high,
        )

    def band(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest loss (m,) at sizes (m,)."""
        log = self.form.log_loss(self.phi, np.log(x))[0]
        return np.exp(log.min(0)), np.exp(log.max(0))


def threshold(objective: float, scatter: Scatter) -> float:
    """Sum of squares above which a law is rejected, for one quantity at LEVEL."""
    variance = max(scatter.variance, LEAST_DEVIATION**2)
    return objective + variance * float(stats.f.ppf(LEVEL, 1, scatter.freedom))


def region(
    form: Form, x: np.ndarray, y: np.ndarray, theta: np.ndarray, objective: float, scatter: Scatter
) -> Region:
    """Laws of a form that points do not reject.

    Args:
        form: ``power`` or ``offset``.
        x: (n,) sizes.
        y: (n,) losses.
        theta: (p,) the fit, which is one of them.
        objective: its sum of squares.
        scatter: of its residuals.
    """
    limit = threshold(objective, scatter)
    with np.errstate(divide="ignore"):  # a law that is flat to the last digit has α = 0
        fitted = np.maximum(form.internal(theta), np.log(1e-300))[None]
    if form.name == "power":  # an ellipse in log α and β
        return Region(form, np.concatenate([fitted, _power_edge(np.log(x), np.log(y), limit)]))
    return _offset_region(form, x, y, fitted, objective, limit)


def _offset_region(
    form: Form, x: np.ndarray, y: np.ndarray, fitted: np.ndarray, objective: float, limit: float
) -> Region:
    """Power laws above a floor that is not negative, below the threshold of the fit.

    Their edge is followed in the values of the curve at three sizes, in which the sum of squares is nearly
    quadratic even where exponent and floor trade places along a valley (Ratkowsky 1990). Laws without a floor
    are an edge of their own.

    Args:
        form: ``offset``.
        x: (n,) sizes.
        y: (n,) losses.
        objective: sum of squares of the fit.
        scatter: of its residuals.
    """
    z, log_y = np.log(x), np.log(y)
    curves = OffsetCurves(z)
    best, least = curves.fit(log_y)
    edge, clipped = curves.edge(log_y, best, min(least, objective), limit, DIRECTIONS)
    beta, floor = curves.exponents(edge), floors(edge)
    allowed = (beta > 0) & (floor >= 0)
    edge, clipped, beta, floor = edge[allowed], clipped[allowed], beta[allowed], floor[allowed]
    log_alpha = curves.log_alpha(edge)
    straight = _power_edge(z, log_y, limit)
    falling = straight[straight[:, 1] > 0]
    phi = np.concatenate(
        [fitted, np.stack([log_alpha, beta, floor], 1), np.column_stack([falling, np.zeros(len(falling))])]
    )
    open_sides = {("beta", 1), ("alpha", 1)} if (clipped & (beta > 0.999 * MAX_BETA)).any() else set()
    return Region(form, phi, frozenset(open_sides), len(falling) < len(straight))


def _power_edge(z: np.ndarray, log_y: np.ndarray, limit: float, count: int = 720) -> np.ndarray:
    """(S, 2) log α and β of power laws whose sum of squares is `limit`; none where the best is above it."""
    design = np.stack([np.ones_like(z), -(z - z.mean())], 1)
    normal = np.array([len(z), float(design[:, 1] @ design[:, 1])])
    centre = design.T @ log_y / normal
    room = limit - float(np.sum((log_y - design @ centre) ** 2))
    if room <= 0:
        return np.empty((0, 2))
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    found = centre + np.sqrt(room / normal) * np.stack([np.cos(angle), np.sin(angle)], 1)
    found[:, 0] += found[:, 1] * z.mean()
    return found
