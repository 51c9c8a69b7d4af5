"""The loss at optima as a law of compute with a floor, and what few budgets leave open about it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import optimize

from chemscale.laws import stats
from chemscale.laws.axis.fit import LEVEL, FitError

EXPONENTS = (0.003, 3.0)
"""Between which γ is sought."""
SEARCHED = 80
"""Values of γ, for the optimum and for an interval each."""
FORMULA = "L = E + k·C^(−γ)"


@dataclass(frozen=True)
class OptimalLoss:
    """The law L = E + k·C^−γ with E ≥ 0 through K optima whose noise is known.

    Where N and D limit the loss by E + A·N^−α + B·D^−β and C = 6ND, this is the loss of the best N exactly,
    with γ = αβ/(α + β). A power law without the floor bends away from it by per cents at ten times the
    largest budget. An interval holds every value that some E ≥ 0, k and γ reach whose squares stay below the
    F threshold of the noise (a profile likelihood): with three budgets, which cannot tell a floor, that is
    nearly all between the power law and a loss that falls no more.
    """

    flops: np.ndarray  # (K,)
    loss: np.ndarray  # (K,)
    std: np.ndarray
    """(K,) standard deviations of log loss."""
    freedom: float
    """Degrees of freedom that the noise was estimated with."""
    gamma: float
    least: float
    """Sum of squares at the optimum, in units of the noise."""
    widened: float
    """Factor of the noise's variance: above 1 where optima scatter about the law more than it explains."""

    @classmethod
    def of(cls, flops: np.ndarray, loss: np.ndarray, std: np.ndarray, freedom: float) -> OptimalLoss:
        """Fit it to optima.

        Args:
            flops: (K,) budgets.
            loss: (K,) at their optima.
            std: (K,) standard deviations of log loss.
            freedom: degrees of freedom of the noise.

        Raises:
            FitError: fewer than 3 budgets, or losses that do not fall with compute.
        """
        flops, loss, std = (np.asarray(v, dtype=float) for v in (flops, loss, std))
        if len(flops) < 3:
            raise FitError(f"The loss at {len(flops)} optima has no law: at least 3 budgets are needed.")
        law = cls(flops, loss, np.maximum(std, 1e-9), freedom, 0.1, 0.0, 1.0)
        grid = np.geomspace(*EXPONENTS, SEARCHED)
        heights = np.array([law._fit(g)[2] for g in grid])
        place = int(np.argmin(heights))
        low, high = grid[max(place - 1, 0)], grid[min(place + 1, len(grid) - 1)]
        found = optimize.minimize_scalar(
            lambda g: law._fit(g)[2], bounds=(low, high), method="bounded", options={"xatol": 1e-10}
        )
        gamma = float(found.x) if found.fun < heights[place] else float(grid[place])
        _, k, least = law._fit(gamma)
        if k <= 0:
            raise FitError("The loss at the optima has no law: it does not fall with compute.")
        spare = len(flops) - 3
        excess = least / spare if spare else 0.0
        unlike = bool(spare) and excess > stats.f.ppf(LEVEL, spare, freedom)
        return cls(flops, loss, law.std, freedom, gamma, float(least), float(excess) if unlike else 1.0)

    @property
    def floor(self) -> float:
        """The fitted E."""
        return float(self._fit(self.gamma)[0])

    def predict(self, flops: float) -> float:
        """Loss at the optimum of a budget."""
        floor, k, _ = self._fit(self.gamma)
        return float(floor + k * self._falls(flops, self.gamma))

    def interval(self, flops: float) -> tuple[float, float]:
        """Its interval at LEVEL."""
        if self.widened > 1:  # the scatter is the noise, with its own few degrees of freedom
            spare = len(self.flops) - 3
            limit = self.least + self.widened * stats.f.ppf(LEVEL, 1, spare)
        else:
            limit = self.least + stats.f.ppf(LEVEL, 1, self.freedom)
        low = high = self.predict(flops)
        for gamma in self._inside(limit):
            for value in self._reach(gamma, float(self._falls(flops, gamma)), limit):
                low, high = min(low, value), max(high, value)
        return low, high

    def _falls(self, flops: np.ndarray | float, gamma: float) -> np.ndarray:
        middle = np.log(self.flops).mean()
        return np.exp(-gamma * (np.log(flops) - middle))

    def _design(self, gamma: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(K, 2) rows of (E, k), (K,) losses, both over the noise, and the plain least squares (2,)."""
        weight = 1 / (self.loss * self.std)
        rows = np.stack([weight, weight * self._falls(self.flops, gamma)], 1)
        y = weight * self.loss
        (ee, ek, kk), (e, k) = (weight @ weight, weight @ rows[:, 1], rows[:, 1] @ rows[:, 1]), y @ rows
        det = max(float(ee * kk - ek**2), 1e-300)
        return rows, y, np.array([kk * e - ek * k, ee * k - ek * e]) / det

    def _fit(self, gamma: float) -> tuple[float, float, float]:
        """E ≥ 0, k and the sum of squares at one γ."""
        rows, y, best = self._design(gamma)
        if best[0] < 0:
            best = np.array([0.0, rows[:, 1] @ y / (rows[:, 1] @ rows[:, 1])])
        return float(best[0]), float(best[1]), float(np.sum((y - rows @ best) ** 2))

    def _inside(self, limit: float) -> np.ndarray:
        """Values of γ whose least sum of squares is at most `limit`, from one end to the other."""
        ends = []
        for bound in EXPONENTS:
            if self._fit(bound)[2] <= limit:
                ends.append(bound)
            else:
                ends.append(optimize.brentq(lambda g: self._fit(g)[2] - limit, self.gamma, bound, rtol=1e-8))
        return np.linspace(ends[0], ends[1], SEARCHED)

    def _reach(self, gamma: float, falls: float, limit: float) -> list[float]:
        """Extremes of E + k·`falls` over the E ≥ 0 and k of one γ whose squares stay below `limit`."""
        rows, y, best = self._design(gamma)
        room = limit - float(np.sum((y - rows @ best) ** 2))
        if room < 0:
            return []
        toward = np.array([1.0, falls])
        step = np.linalg.solve(rows.T @ rows, toward)
        step *= np.sqrt(room / max(float(toward @ step), 1e-300))
        out = [float(toward @ end) for end in (best - step, best + step) if end[0] >= 0]
        at_zero = rows[:, 1] @ y / (rows[:, 1] @ rows[:, 1])
        room = limit - float(np.sum((y - rows[:, 1] * at_zero) ** 2))
        if room >= 0:
            half = np.sqrt(room / (rows[:, 1] @ rows[:, 1]))
            out += [float(falls * (at_zero - half)), float(falls * (at_zero + half))]
        return out
