"""Curves F + A·e^(−bt) by their values at three sizes, in which they are fitted and their edge is followed.

The three are the smallest size, the largest and the one between them in log size (t = −1, 0, 1). Any three
falling values are a curve: with b > 0 it flattens towards a floor, with b = 0 it is a line, with b < 0 it
falls ever faster. The family therefore goes on smoothly where a floor would be negative, and a minimum that
lies there says that the points steepen.
"""

from __future__ import annotations

import numpy as np

from chemscale.laws.axis.intervals import MAX_BETA

STARTS = (-2.0, -1.5, -1.0, -0.5, -0.2, 0.1, 0.3, 0.6, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 8.0)
"""Of b; with b held a curve is linear in everything else."""
KEPT = 3
SERIES = 1e-5
"""|b| below which the curve is taken at this b: a line to twelve digits."""
STEPS = 80
HALVINGS = 40


class OffsetCurves:
    """Curves over the sizes of some points.

    Args:
        z: (n,) log sizes, of at least three distinct values.
    """

    def __init__(self, z: np.ndarray) -> None:
        self._middle, self._half = float(z.min() + z.max()) / 2, float(np.ptp(z)) / 2
        self._t = (z - self._middle) / self._half
        self._steepest = MAX_BETA * self._half

    def log_loss(self, u: np.ndarray, z: np.ndarray | None = None) -> np.ndarray:
        """(S, n) log losses of curves (S, 3) at log sizes; those of the points where none are given.

        NaN where a curve is below 0.
        """
        t = self._t if z is None else (z - self._middle) / self._half
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            return np.log(_values(u, t))

    def squares(self, u: np.ndarray, log_y: np.ndarray) -> np.ndarray:
        """(S,) sums of squares of log residuals."""
        missed = self.log_loss(u) - log_y
        found = np.einsum("sn,sn->s", missed, missed)
        return np.where(np.isfinite(found), found, np.inf)

    def slopes(self, u: np.ndarray) -> np.ndarray:
        """(S, 3, n) derivatives of log loss at the points."""
        return _slopes(u, self._t) / _values(u, self._t)[:, None]

    def exponents(self, u: np.ndarray) -> np.ndarray:
        """(S,) β; at most 0 for a curve that does not flatten."""
        return _rates(u) / self._half

    def log_alpha(self, u: np.ndarray) -> np.ndarray:
        """(S,) log α of curves that flatten."""
        rate = _rates(u)
        return np.log((u[:, 1] - u[:, 2]) / -np.expm1(-rate)) + rate * self._middle / self._half

    def fit(self, log_y: np.ndarray) -> tuple[np.ndarray, float]:
        """The curve (3,) of least sum of squares among all that fall, and that sum."""
        u = self._starts(log_y)
        least = self.squares(u, log_y)
        damping = np.full(len(u), 1e-3)
        for _ in range(STEPS):
            trial = u + self._steps(u, log_y, damping)
            good = self._allowed(trial)
            new = np.where(good, self.squares(np.where(good[:, None], trial, u), log_y), np.inf)
            better = new < least
            ended = better & (least - new <= 1e-13 * least)
            u, least = np.where(better[:, None], trial, u), np.where(better, new, least)
            damping = np.clip(np.where(better, 0.2, 6.0) * damping, 1e-12, 1e12)
            if (ended | (damping > 1e10)).all():
                break
        lowest = int(np.argmin(least))
        return u[lowest], float(least[lowest])

    def edge(
        self, log_y: np.ndarray, best: np.ndarray, least: float, limit: float, count: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Follow the edge of the curves whose sum of squares is below a limit.

        Args:
            log_y: (n,) log losses.
            best: (3,) the curve of the least sum of squares.
            least: that sum.
            limit: above it.
            count: of directions.

        Returns:
            (count, 3) curves, and whether the search ended at the side of what is looked for (count,).
        """
        slopes = self.slopes(best[None])[0]
        values, vectors = np.linalg.eigh(slopes @ slopes.T)
        root = vectors / np.sqrt(np.maximum(values, 1e-14 * values.max()))
        way = _sphere(count) @ (root * np.sqrt(limit - least)).T
        side = self._reach(best, way)
        inside, outside = np.zeros(count), np.minimum(1.0, side)
        for _ in range(HALVINGS):
            within = self.squares(best + outside[:, None] * way, log_y) <= limit
            grow = within & (outside < side)
            if not grow.any():
                break
            inside = np.where(grow, outside, inside)
            outside = np.where(grow, np.minimum(2 * outside, side), outside)
        clipped = within
        inside = np.where(clipped, outside, inside)
        for _ in range(HALVINGS):
            middle = (inside + outside) / 2
            within = self.squares(best + middle[:, None] * way, log_y) <= limit
            inside, outside = np.where(within, middle, inside), np.where(within, outside, middle)
        return best + inside[:, None] * way, clipped

    def _starts(self, log_y: np.ndarray) -> np.ndarray:
        y = np.exp(log_y)
        found = []
        for rate in (b for b in STARTS if abs(b) < self._steepest):
            shape = np.expm1(-rate * self._t) / np.expm1(-rate)
            design = np.stack([np.ones_like(y), -shape], 1) / y[:, None]
            middle, drop = np.linalg.lstsq(design, np.ones_like(y), rcond=None)[0]
            drop = max(drop, 1e-6 * abs(middle))
            found.append([middle + drop * np.exp(rate), middle, middle - drop])
        u = np.array(found)
        return u[np.argsort(self.squares(u, log_y))[:KEPT]]

    def _steps(self, u: np.ndarray, log_y: np.ndarray, damping: np.ndarray) -> np.ndarray:
        slopes = self.slopes(u)
        gradient = np.einsum("spn,sn->sp", slopes, self.log_loss(u) - log_y)
        curvature = slopes @ slopes.transpose(0, 2, 1)
        place = np.arange(3)
        curvature[:, place, place] *= 1 + damping[:, None]
        curvature[:, place, place] += 1e-300
        return -np.linalg.solve(curvature, gradient[:, :, None])[:, :, 0]

    def _allowed(self, u: np.ndarray) -> np.ndarray:
        """(S,) whether a curve falls, and no faster than it is looked for."""
        return (u @ self._sides().T > 0).all(1)

    def _sides(self) -> np.ndarray:
        """(5, 3) half-spaces of what is looked for: falling, |β| at most MAX_BETA, above 0."""
        ratio = np.exp(min(self._steepest, 30.0))
        return np.array(
            [[1, -1, 0], [0, 1, -1], [-1, 1 + ratio, -ratio], [ratio, -ratio - 1, 1], [0, 0, 1.0]]
        )

    def _reach(self, best: np.ndarray, way: np.ndarray) -> np.ndarray:
        """(count,) how far each direction stays within the sides."""
        sides = self._sides()
        rate = way @ sides.T
        with np.errstate(divide="ignore", invalid="ignore"):
            far = np.where(rate < 0, -(sides @ best) / rate, np.inf)
        return np.clip(far.min(1) * (1 - 1e-7), 0.0, 1e6)


def floors(u: np.ndarray) -> np.ndarray:
    """(S,) where curves (S, 3) end; −∞ where they do not flatten."""
    rate = _rates(u)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(rate > 1e-9, u[:, 1] - (u[:, 1] - u[:, 2]) / -np.expm1(-rate), -np.inf)


def _rates(u: np.ndarray) -> np.ndarray:
    return np.log((u[:, 0] - u[:, 1]) / (u[:, 1] - u[:, 2]))


def _values(u: np.ndarray, t: np.ndarray) -> np.ndarray:
    """(S, n) losses at t (n,)."""
    rate = _bent(u)
    shape = np.expm1(-rate * t) / np.expm1(-rate)
    return u[:, 1, None] - (u[:, 1] - u[:, 2])[:, None] * shape


def _slopes(u: np.ndarray, t: np.ndarray) -> np.ndarray:
    """(S, 3, n) derivatives of ``_values`` by the three values."""
    first, last, rate = u[:, 0] - u[:, 1], u[:, 1] - u[:, 2], _bent(u)
    above, below = np.expm1(-rate * t), np.expm1(-rate)
    shape = above / below
    by_rate = (np.exp(-rate) * above - t * np.exp(-rate * t) * below) / below**2
    moved = -last[:, None] * by_rate
    return np.stack(
        [
            moved / first[:, None],
            1 - shape - moved * (1 / first + 1 / last)[:, None],
            shape + moved / last[:, None],
        ],
        1,
    )


def _bent(u: np.ndarray) -> np.ndarray:
    """(S, 1) rates, none of them too near to 0 to divide by."""
    rate = _rates(u)[:, None]
    return np.where(np.abs(rate) < SERIES, SERIES, rate)


def _sphere(count: int) -> np.ndarray:
    """(count, 3) directions that are nearly evenly spread (a Fibonacci lattice)."""
    number = np.arange(count) + 0.5
    polar, turn = np.arccos(1 - 2 * number / count), np.pi * (1 + np.sqrt(5)) * number
    return np.stack([np.cos(turn) * np.sin(polar), np.sin(turn) * np.sin(polar), np.cos(polar)], 1)
