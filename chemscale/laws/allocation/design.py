"""Design of the next runs: which of them, within a budget, shrink most the interval of a goal.

A law that is known to φ ± Σ predicts what a run will add to that before it is trained: its log loss has the
gradient j = ∂log L/∂φ and a noise σ, and Σ shrinks to Σ − Σjjᵀ Σ/(σ² + jᵀΣj), whatever the loss turns out to
be. A goal g(φ) has variance GΣGᵀ with G = ∂g/∂φ. Of one quantity this is c-optimal design, of the mean over
several I-optimal, of the determinant of several D-optimal (Atkinson, Donev and Tobias 2007). First order:
right while intervals are small against the law's bends, and blind to a form that is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from chemscale.laws.allocation.compute import SIX_ND, Flops, PowerCompute
from chemscale.laws.allocation.optimum import optimum_target
from chemscale.laws.axis.fit import LEVEL, FitError
from chemscale.laws.joint.fit import SurfaceFit, Target
from chemscale.laws.joint.surfaces import Surface

GUESSED = {"terms": 0.5, "floor": 0.3, "exponents": 0.1}
"""One standard deviation of a guess: log A·N^−α and log B·D^−β in the middle of the plan, log E, α and β."""


@dataclass(frozen=True)
class KnownLaw:
    """A law and how well it is known."""

    surface: Surface
    phi: np.ndarray
    """(p,) coordinates of the surface."""
    covariance: np.ndarray
    """(p, p)"""
    noise: float
    """Standard deviation of one run's log loss about the law."""
    freedom: float
    """Degrees of freedom that the noise was estimated with; infinite for a guess."""

    @classmethod
    def of_fit(cls, fit: SurfaceFit) -> KnownLaw:
        """A law as a fit knows it; parameters that were held are taken as certain and cost no freedom."""
        return cls(fit.surface, fit.phi, fit.covariance, fit.noise, len(fit.loss) - len(fit.free))

    @classmethod
    def of_runs(cls, surface: Surface, theta: np.ndarray, inputs: np.ndarray, loss: np.ndarray) -> KnownLaw:
        """A law as the runs know it that it was fitted to.

        Args:
            surface: the form.
            theta: (p,) reported parameters.
            inputs: (n, k) of the runs.
            loss: (n,) of the runs.

        Raises:
            FitError: too few runs, or runs that do not determine the law.
        """
        phi = surface.internal(np.asarray(theta, dtype=float)[None])
        inputs, loss = np.asarray(inputs, dtype=float), np.asarray(loss, dtype=float)
        freedom = len(loss) - phi.shape[1]
        if freedom < 2:
            raise FitError(
                f"{len(loss)} runs do not say how well {phi.shape[1]} parameters are known: "
                f"{phi.shape[1] + 2} or more are needed."
            )
        centre = np.log(inputs).mean(0)
        # In the middle of the runs coefficients and exponents are nearly independent, and can be inverted.
        inner = surface.recentre(phi, -centre)
        log, jacobian = surface.log_loss(inner, np.log(inputs) - centre)
        noise = float(np.sqrt(np.sum((log[0] - np.log(loss)) ** 2) / freedom))
        information = jacobian[0] @ jacobian[0].T
        if np.linalg.cond(information) > 1e12:
            raise FitError("These runs do not determine every parameter: vary N and D apart from each other.")
        covariance = noise**2 * np.linalg.inv(information)
        return cls(surface, phi[0], _moved(surface, covariance, inner[0], centre), noise, freedom)

    @classmethod
    def of_guess(cls, surface: Surface, theta: np.ndarray, middle: np.ndarray, noise: float) -> KnownLaw:
        """A law that nobody has measured, as uncertain as ``GUESSED``.

        Args:
            surface: the form.
            theta: (p,) reported parameters.
            middle: (k,) N and D in the middle of the plan, where the terms are guessed.
            noise: expected standard deviation of a run's log loss.
        """
        phi, centre = surface.internal(np.asarray(theta, dtype=float)[None]), np.log(middle)
        signed = [name in surface.exponents for name in surface.coordinates]
        spread = np.where(signed, GUESSED["exponents"], GUESSED["terms"])
        spread = np.where([name == "E" for name in surface.coordinates], GUESSED["floor"], spread)
        inner = surface.recentre(phi, -centre)[0]
        covariance = _moved(surface, np.diag(spread**2), inner, centre)
        return cls(surface, phi[0], covariance, noise, np.inf)

    @property
    def theta(self) -> np.ndarray:
        """Reported parameters (p,)."""
        return self.surface.reported(self.phi[None])[0]

    def spread(self, target: Target) -> tuple[np.ndarray, np.ndarray]:
        """Values (m,) and standard errors (m,) of anything that follows from φ, to first order."""
        slope = _slopes(target, self.phi)
        return target(self.phi[None])[0], np.sqrt(np.einsum("mp,pq,mq->m", slope, self.covariance, slope))

    @property
    def reach(self) -> float:
        """Standard errors to each side of an interval at LEVEL."""
        if np.isinf(self.freedom):
            return float(stats.norm.ppf(0.5 + LEVEL / 2))
        return float(stats.t.ppf(0.5 + LEVEL / 2, self.freedom))

    def interval(self, target: Target) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper ends (m,) of the interval of anything that follows from φ, to first order."""
        values, errors = self.spread(target)
        return values - self.reach * errors, values + self.reach * errors

    def run_interval(self, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Predicted loss (m,) of new runs at (m, k) inputs, and both ends within which they are expected."""
        z = np.log(inputs)
        values, errors = self.spread(lambda phi: self.surface.log_loss(phi, z)[0])
        reach = self.reach * np.hypot(errors, self.noise)
        return np.exp(values), np.exp(values - reach), np.exp(values + reach)

    def after(self, inputs: np.ndarray) -> KnownLaw:
        """The law as it will be known when runs at (m, k) inputs are fitted too."""
        jacobian = self.surface.log_loss(self.phi[None], np.log(inputs))[1][0].T
        covariance = self.covariance
        for row in jacobian:
            covariance = _with(covariance, row, self.noise)
        return KnownLaw(self.surface, self.phi, covariance, self.noise, self.freedom + len(inputs))


@dataclass(frozen=True)
class Goal:
    """What one wants to know.

    Args:
        labels: names of the quantities.
        target: (S, p) coordinates → (S, m) quantities.
        logarithmic: whether these are logarithms of what the labels name.
        volume: whether the volume of their region counts, and not their mean variance.
    """

    labels: tuple[str, ...]
    target: Target
    logarithmic: bool
    volume: bool = False

    def shown(self, values: np.ndarray) -> np.ndarray:
        """Quantities as the labels name them."""
        return np.exp(values) if self.logarithmic else values


def loss_at(surface: Surface, inputs: np.ndarray, labels: tuple[str, ...] | None = None) -> Goal:
    """The loss at (m, k) inputs, their mean variance (I-optimal)."""
    z = np.log(np.asarray(inputs, dtype=float))
    names = labels or tuple(
        "loss at " + ", ".join(f"{c} {x:.3g}" for c, x in zip(surface.columns, row, strict=True))
        for row in np.exp(z)
    )
    return Goal(names, lambda phi: surface.log_loss(phi, z)[0], True)


def loss_of_budget(surface: Surface, budget: float, flops: Flops = SIX_ND) -> Goal:
    """The loss of the best run of a budget (additive surfaces)."""
    optimum = optimum_target(surface, flops, budget)
    return Goal((f"best loss of {budget:.3g} FLOP",), lambda phi: optimum(phi)[:, 2:], True)


def exponents(surface: Surface) -> Goal:
    """All exponents of the law, the volume of their region (D-optimal)."""
    places = [surface.coordinates.index(name) for name in surface.exponents]
    return Goal(surface.exponents, lambda phi: phi[:, places], False, volume=True)


def allocation_exponent(surface: Surface, flops: PowerCompute = SIX_ND) -> Goal:
    """The exponent a of N* ∝ C^a (additive surfaces)."""

    def target(phi: np.ndarray) -> np.ndarray:
        log_n = [optimum_target(surface, flops, c)(phi)[:, :1] for c in (1.0, np.e)]
        return log_n[1] - log_n[0]

    return Goal(("a",), target, False)


@dataclass(frozen=True)
class Design:
    """The chosen points, and how well the law is known before and after them."""

    chosen: list[int]
    """Numbers of candidates, in the order in which they help; one may come again, with another seed."""
    inputs: np.ndarray  # (points, k)
    flops: np.ndarray  # (points,)
    goal: Goal
    before: KnownLaw
    after: KnownLaw

    def intervals(self) -> list[tuple[str, float, tuple[float, float], tuple[float, float]]]:
        """For each quantity: its name, value, and interval before and after."""
        values = self.goal.shown(self.goal.target(self.before.phi[None])[0])
        ends = [
            np.stack([self.goal.shown(end) for end in law.interval(self.goal.target)], 1)
            for law in (self.before, self.after)
        ]
        return [
            (
                label,
                float(values[k]),
                (float(ends[0][k, 0]), float(ends[0][k, 1])),
                (float(ends[1][k, 0]), float(ends[1][k, 1])),
            )
            for k, label in enumerate(self.goal.labels)
        ]


def choose_points(
    law: KnownLaw, candidates: np.ndarray, flops: np.ndarray, goal: Goal, *, budget: float, points: int
) -> Design:
    """Choose at most so many candidates, together within the budget, that narrow the goal most.

    Two greedy choices, by gain and by gain per FLOP (neither alone is safe under a budget, Leskovec et al.
    2007), and one that spends an equal share on each point; then exchanges of one point for another while
    that helps (Fedorov 1972). The best of the three is returned.

    Args:
        law: as it is known now.
        candidates: (m, k) inputs.
        flops: (m,) what each costs.
        goal: what is to be narrowed.
        budget: FLOPs of all together.
        points: at most.

    Raises:
        FitError: no candidate is within the budget, or the goal does not depend on the law's parameters.
    """
    candidates, flops = np.asarray(candidates, dtype=float), np.asarray(flops, dtype=float)
    if points < 1 or not (flops <= budget).any():
        cheapest = f"the cheapest of {len(flops)} costs {flops.min():.3g}" if len(flops) else "there is none"
        raise FitError(f"No candidate fits a budget of {budget:.3g} FLOPs: {cheapest}.")
    search = _Search(law, candidates, flops, goal, budget, points)
    if not search.criterion([]) > -np.inf:
        raise FitError(f"The goal {', '.join(goal.labels)} does not follow from this law.")
    found = [search.exchange(search.greedy(order)) for order in ("gain", "per_flop", "share")]
    best = search.ordered(min(found, key=search.criterion))
    inputs = candidates[best]
    return Design(best, inputs, flops[best], goal, law, law.after(inputs))


class _Search:
    """Gains of candidates by their rows of the Jacobian."""

    def __init__(
        self,
        law: KnownLaw,
        candidates: np.ndarray,
        flops: np.ndarray,
        goal: Goal,
        budget: float,
        points: int,
    ):
        self.rows = law.surface.log_loss(law.phi[None], np.log(candidates))[1][0].T  # (m, p)
        self.slope = _slopes(goal.target, law.phi)  # (g, p)
        self.law, self.flops, self.volume = law, flops, goal.volume
        self.budget, self.points = budget * (1 + 1e-9), points

    def covariance(self, chosen: list[int]) -> np.ndarray:
        """Covariance (p, p) of the law after these points."""
        covariance = self.law.covariance
        for number in chosen:
            covariance = _with(covariance, self.rows[number], self.law.noise)
        return covariance

    def criterion(self, chosen: list[int]) -> float:
        """Half the log variance of the goal: a step of −0.1 is an interval about 10 % narrower."""
        return float(self._criterion(self.slope @ self.covariance(chosen) @ self.slope.T))

    def _criterion(self, variance: np.ndarray) -> np.ndarray:
        """Criterion (…) of variances (…, g, g) of the goal."""
        count = variance.shape[-1]
        if self.volume:
            return 0.5 * np.linalg.slogdet(variance)[1] / count
        with np.errstate(divide="ignore"):
            return 0.5 * np.log(np.trace(variance, axis1=-2, axis2=-1) / count)

    def with_each(self, covariance: np.ndarray) -> np.ndarray:
        """Criterion (m,) with each candidate as one more point."""
        moved = self.rows @ covariance  # (m, p)
        spent = self.law.noise**2 + np.sum(moved * self.rows, 1)
        explained = moved @ self.slope.T  # (m, g)
        less = explained[:, :, None] * explained[:, None, :] / spent[:, None, None]
        return self._criterion(self.slope @ covariance @ self.slope.T - less)

    def greedy(self, order: str) -> list[int]:
        """Choose point by point by ``gain``, gain ``per_flop``, or gain within an equal ``share``."""
        chosen: list[int] = []
        covariance, left = self.law.covariance, self.budget
        while len(chosen) < self.points:
            gain = self._criterion(self.slope @ covariance @ self.slope.T) - self.with_each(covariance)
            most = left / (self.points - len(chosen)) if order == "share" else left
            fits = self.flops <= most
            if not fits.any():
                break
            score = np.where(fits, gain / (self.flops if order == "per_flop" else 1.0), -np.inf)
            number = int(np.argmax(score))
            chosen.append(number)
            covariance = _with(covariance, self.rows[number], self.law.noise)
            left -= float(self.flops[number])
        return chosen

    def exchange(self, chosen: list[int]) -> list[int]:
        """Replace one point at a time by the candidate that helps most, and add points while they fit."""
        best, value = list(chosen), self.criterion(chosen)
        for _ in range(50):
            before = value
            for place in range(min(len(best) + 1, self.points)):
                rest = best[:place] + best[place + 1 :]
                left = self.budget - float(self.flops[rest].sum())
                each = np.where(self.flops <= left, self.with_each(self.covariance(rest)), np.inf)
                number = int(np.argmin(each))
                if each[number] < value - 1e-9:
                    best, value = [*rest, number], float(each[number])
            if value > before - 1e-6:
                break
        return best

    def ordered(self, chosen: list[int]) -> list[int]:
        """Order points by what each adds for its cost, so that a plan cut short is still a good one."""
        rest, order = list(chosen), list[int]()
        while rest:
            covariance = self.covariance(order)
            now = self._criterion(self.slope @ covariance @ self.slope.T)
            gain = (now - self.with_each(covariance)) / self.flops
            order.append(max(rest, key=lambda number: gain[number]))
            rest.remove(order[-1])
        return order


def _with(covariance: np.ndarray, row: np.ndarray, noise: float) -> np.ndarray:
    """(p, p) after one more run, whose log loss has the gradient `row` (p,)."""
    moved = covariance @ row
    return covariance - np.outer(moved, moved) / (noise**2 + row @ moved)


def _moved(surface: Surface, covariance: np.ndarray, phi: np.ndarray, by: np.ndarray) -> np.ndarray:
    """The covariance of ``surface.recentre(phi, by)``."""
    slope = _slopes(lambda inner: surface.recentre(inner, by), phi)
    return slope @ covariance @ slope.T


def _slopes(target: Target, phi: np.ndarray) -> np.ndarray:
    """(m, p) derivatives of a target at φ (p,), by central differences."""
    steps = np.diag(1e-5 * (1.0 + np.abs(phi)))
    return ((target(phi + steps) - target(phi - steps)) / (2 * np.diag(steps)[:, None])).T
