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

from chemscale.laws.allocation.compute import SIX_ND, Flops, PowerCompute
from chemscale.laws.allocation.known import KnownLaw, slopes, with_run
from chemscale.laws.allocation.optimum import optimum_target
from chemscale.laws.axis.fit import FitError
from chemscale.laws.joint.drift import Drift, LossAt, Reading
from chemscale.laws.joint.fit import Target
from chemscale.laws.joint.surfaces import Surface


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
    return Goal(names, LossAt(surface, z), True)


def loss_of_budget(surface: Surface, budget: float, flops: Flops = SIX_ND) -> Goal:
    """The loss of the best run of a budget (additive surfaces)."""
    return Goal((f"best loss of {budget:.3g} FLOP",), _BestLoss(optimum_target(surface, flops, budget)), True)


@dataclass(frozen=True)
class _BestLoss(Reading):
    """(S, 1) log L* of an optimum."""

    optimum: Reading

    def __call__(self, phi: np.ndarray) -> np.ndarray:
        return self.optimum(phi)[:, 2:]

    def by_drift(self, phi: np.ndarray, drift: Drift) -> np.ndarray:
        return self.optimum.by_drift(phi, drift)[2:]


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
        drawn = self.before.draws is not None
        ends = [
            np.stack([self.goal.shown(end) for end in law.interval(self.goal.target, sides)], 1)
            for law, sides in ((self.before, None), (self.after, self.before if drawn else None))
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
    law: KnownLaw,
    candidates: np.ndarray,
    flops: np.ndarray,
    goal: Goal,
    *,
    budget: float,
    points: int,
    repeats: int | None = None,
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
        repeats: how often a candidate may be chosen; None for as often as it helps. Where the form is true
            the best design is a few candidates many times; others beside them show where it is not.

    Raises:
        FitError: no candidate is within the budget, or the goal does not depend on the law's parameters.
    """
    candidates, flops = np.asarray(candidates, dtype=float), np.asarray(flops, dtype=float)
    if points < 1 or not (flops <= budget).any():
        cheapest = f"the cheapest of {len(flops)} costs {flops.min():.3g}" if len(flops) else "there is none"
        raise FitError(f"No candidate fits a budget of {budget:.3g} FLOPs: {cheapest}.")
    search = _Search(law, candidates, flops, goal, budget, points, repeats)
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
        repeats: int | None,
    ):
        self.rows = law.surface.log_loss(law.phi[None], np.log(candidates))[1][0].T  # (m, p)
        self.slope = slopes(goal.target, law.phi)  # (g, p)
        self.law, self.flops, self.volume = law, flops, goal.volume
        self.budget, self.points = budget * (1 + 1e-9), points
        self.repeats = points if repeats is None else repeats

    def covariance(self, chosen: list[int]) -> np.ndarray:
        """Covariance (p, p) of the law after these points."""
        covariance = self.law.covariance
        for number in chosen:
            covariance = with_run(covariance, self.rows[number], self.law.noise)
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

    def free(self, chosen: list[int]) -> np.ndarray:
        """Which candidates (m,) may be chosen once more."""
        return np.bincount(np.array(chosen, int), minlength=len(self.flops)) < self.repeats

    def greedy(self, order: str) -> list[int]:
        """Choose point by point by ``gain``, gain ``per_flop``, or gain within an equal ``share``."""
        chosen: list[int] = []
        covariance, left = self.law.covariance, self.budget
        while len(chosen) < self.points:
            gain = self._criterion(self.slope @ covariance @ self.slope.T) - self.with_each(covariance)
            most = left / (self.points - len(chosen)) if order == "share" else left
            fits = (self.flops <= most) & self.free(chosen)
            if not fits.any():
                break
            score = np.where(fits, gain / (self.flops if order == "per_flop" else 1.0), -np.inf)
            number = int(np.argmax(score))
            chosen.append(number)
            covariance = with_run(covariance, self.rows[number], self.law.noise)
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
                fits = (self.flops <= left) & self.free(rest)
                each = np.where(fits, self.with_each(self.covariance(rest)), np.inf)
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
