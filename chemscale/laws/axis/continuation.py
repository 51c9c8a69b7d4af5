"""Straight continuation of the larger sizes: how far a law may go on to fall beyond the largest of them.

Where losses flatten with size, points of a few sizes do not tell a floor from a bend after which the loss
goes on falling: the one is a law that ends at L∞, the other a line in log-log. Any law that flattens lies
above the line through its earlier points. The lower end of a prediction beyond the largest size therefore
has to allow for that line as well; without this an interval at ten times the largest size held 0 to 40 % of
simulated bends (docs/coverage.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chemscale.laws import stats
from chemscale.laws.axis.intervals import LEVEL, Scatter, scatter

CHANCE = 0.9
"""One-sided, of the lower end of the line: with it laws with and without a bend are held in 95 % and more."""
LEAST_SIZES = 3


@dataclass(frozen=True)
class Continuation:
    """A line in log-log through the larger half of the sizes.

    Args:
        centre: mean log size of its points.
        line: (2,) log loss at the centre and slope.
        spread: (2,) variances of both.
        reach: how many standard errors the lower end lies below.
        largest: the largest size.
    """

    centre: float
    line: np.ndarray
    spread: np.ndarray
    reach: float
    largest: float

    @classmethod
    def of(cls, x: np.ndarray, y: np.ndarray, around: Scatter) -> Continuation:
        """The continuation of points.

        Args:
            x: (n,) sizes.
            y: (n,) losses.
            around: the scatter around the law that is fitted to all of them.
        """
        sizes = np.unique(x)
        upper = x >= sizes[-max(LEAST_SIZES, (len(sizes) + 1) // 2)]
        z, log_y = np.log(x[upper]), np.log(y[upper])
        centre = float(z.mean())
        slope, height = np.polyfit(z - centre, log_y, 1)
        squares = np.array([len(z), float(np.sum((z - centre) ** 2))])
        reach = float(stats.t.ppf(CHANCE, around.freedom))
        return cls(centre, np.array([height, slope]), around.variance / squares, reach, float(sizes[-1]))

    def lowest(self, x: np.ndarray) -> np.ndarray:
        """(m,) least loss to be allowed for at sizes; infinite up to the largest size of the points."""
        there = np.stack([np.ones_like(x), np.log(x) - self.centre])
        low = np.exp(self.line @ there - self.reach * np.sqrt(self.spread @ there**2))
        return np.where(x > self.largest * (1 + 1e-9), low, np.inf)


def free_band(x: np.ndarray, y: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A band of the loss where no form is named: what a smooth curve and a line through the ends allow.

    Within the sizes a parabola or a cubic in log-log with its interval; beyond them the lines through the
    larger half and through the last three sizes, each with its interval. It takes the largest sizes to tell
    how the loss goes on, and no form.

    Args:
        x: (n,) sizes, at least four distinct ones.
        y: (n,) losses.
        at: (m,) sizes.

    Returns:
        (m,) lower and (m,) upper ends.
    """
    sizes = np.unique(x)
    scale = np.ptp(np.log(x))
    z, log_y, there = np.log(x / sizes[-1]) / scale, np.log(y), np.log(at / sizes[-1]) / scale
    degree = 3 if len(sizes) >= 6 else 2
    around = scatter(x, log_y - np.polyval(np.polyfit(z, log_y, degree), z), degree + 1)
    reach = float(stats.t.ppf((1 + LEVEL) / 2, around.freedom) * np.sqrt(around.variance))
    low, high = _interval(z, log_y, there, degree, reach)
    beyond = there > 1e-9
    ends = []
    for count in {max(LEAST_SIZES, (len(sizes) + 1) // 2), LEAST_SIZES}:
        upper = x >= sizes[-count]
        ends.append(_interval(z[upper], log_y[upper], there, 1, reach))
    low = np.where(beyond, np.min([end[0] for end in ends], axis=0), low)
    high = np.where(beyond, np.max([end[1] for end in ends], axis=0), high)
    return np.exp(low), np.exp(high)


def _interval(
    z: np.ndarray, log_y: np.ndarray, there: np.ndarray, degree: int, reach: float
) -> tuple[np.ndarray, np.ndarray]:
    design, target = np.vander(z, degree + 1), np.vander(there, degree + 1)
    middle = target @ np.linalg.lstsq(design, log_y, rcond=None)[0]
    error = np.sqrt(np.einsum("mi,ij,mj->m", target, np.linalg.pinv(design.T @ design), target))
    return middle - reach * error, middle + reach * error
