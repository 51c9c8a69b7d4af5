"""Profile likelihood of one parameter: the least objective at each value, and the interval that follows.

A parameter that the runs do not determine shows as a flat valley, which a point estimate hides.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chemscale.laws import stats
from chemscale.laws.axis.fit import LEVEL, FitError
from chemscale.laws.joint.bootstrap import Sample, covariance
from chemscale.laws.joint.fit import SurfaceFit
from chemscale.laws.joint.huber import fit_huber

REACHES = 0.5 * 2.0 ** np.arange(8)
"""Standard errors to either side at which the profile is computed first."""
NEAR = 4
"""How many of them come first: descents far out are the slow ones, and most intervals end before."""
RESTARTS = 6
"""Draws of the bootstrap that descend at every value beside the optimum itself."""
STEPS = 400


@dataclass(frozen=True)
class Profile:
    """The least objective at each value of one parameter, the others refitted."""

    name: str
    values: np.ndarray
    """(m,) ascending, as reported and finite."""
    objective: np.ndarray
    """(m,)"""
    best: float
    """The fitted value."""
    least: float
    """Its objective."""
    threshold: float
    """Objective below which a value lies inside the interval."""
    interval: tuple[float, float]
    """At LEVEL; infinite (or 0, for a coefficient) on a side that the runs do not bound."""
    bounded_low: bool
    bounded_high: bool
    at_infinity: float | None = None
    """Objective where a reciprocal parameter is infinite; None for other parameters."""
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """For ``law.json``."""
        return {
            "name": self.name, "values": self.values.tolist(), "objective": self.objective.tolist(),
            "best": self.best if math.isfinite(self.best) else None, "least": self.least,
            "interval": [end if math.isfinite(end) else None for end in self.interval], "level": LEVEL,
            "threshold": self.threshold, "bounded_low": self.bounded_low, "bounded_high": self.bounded_high,
            "at_infinity": self.at_infinity, "notes": self.notes,
        }  # fmt: skip


def noise_scale(residuals: np.ndarray, parameters: int, delta: float) -> float:
    """The scale λ by which a difference of Huber objectives is χ² with one degree of freedom: 2·ΔF/λ.

    λ = E[ψ²]/E[ψ′] of the clipped residual ψ (Schrader & Hettmansperger 1980); for least squares it is the
    variance. E[ψ′] is the share of residuals below δ. With δ far below the noise next to none are, so that
    the share is read from a Gaussian kernel density of the residuals.
    """
    n = len(residuals)
    r = residuals * math.sqrt(n / (n - parameters))
    if math.isinf(delta):
        return float(np.mean(r**2))
    lower, upper = np.percentile(r, [25, 75])
    width = min(r.std(), float(upper - lower) / 1.349) or r.std()
    width = max(1.06 * width * n**-0.2, 1e-300)
    inside = float(np.mean(stats.norm.cdf((delta - r) / width) - stats.norm.cdf((-delta - r) / width)))
    return float(np.mean(r.clip(-delta, delta) ** 2)) / max(inside, 1e-12)


def profile(fit: SurfaceFit, name: str, values: np.ndarray | None = None, points: int = 41) -> Profile:
    """Profile one parameter: refit every other one at values of it.

    The interval holds the values whose objective is at most F̂ + ½·λ·F₁,ₙ₋ₚ(LEVEL), λ from ``noise_scale``:
    the likelihood ratio for noise of the size that the residuals show. For δ = ∞ this is the F test; for
    Huber's loss it is its robust analogue, right for many runs. Either takes the noise as of one size over
    all runs; the bootstrap of ``fit_surface`` over runs does not, and is wider where small runs are noisier.

    Args:
        fit: of the law.
        name: of the parameter.
        values: (m,) to compute it at, as reported; None for `points` that reach beyond the interval.
        points: how many, where `values` are not given.

    Raises:
        FitError: not a parameter that was fitted.
    """
    if name not in fit.free:
        raise FitError(f"{name} has no profile: fitted are {', '.join(fit.free)}.")
    path = _Path(fit, name)
    scale = noise_scale(fit.residuals, len(fit.free), fit.delta)
    threshold = fit.objective + 0.5 * scale * stats.f.ppf(LEVEL, 1, len(fit.loss) - len(fit.free))
    low, low_inside = path.outside(-1, threshold)
    high, high_inside = path.outside(+1, threshold)
    at = path.spaced(low, high, points)
    heights = path.objective(at)
    ends = path.crossings(at, heights, threshold)
    bounded = [not low_inside, not high_inside]
    surface, reciprocal = fit.surface, name in fit.surface.reciprocals
    unbounded = (-np.inf if name in surface.exponents else 0.0, np.inf)
    if reciprocal:
        ends, bounded = ends[::-1], bounded[::-1]
    reported = surface.unscaled(name, np.array(ends))
    interval = [float(e) if b else float(u) for e, b, u in zip(reported, bounded, unbounded, strict=True)]
    at_infinity = float(path.objective(np.zeros(1))[0]) if reciprocal else None
    if values is not None:
        at = np.array([surface.scaled(name, float(v)) for v in values])
        heights = path.objective(at)
    shown = surface.unscaled(name, at)
    order = np.argsort(shown)
    order = order[np.isfinite(shown[order])]
    least = min(fit.objective, float(heights.min()))
    return Profile(
        name, shown[order], heights[order], fit.values[name], fit.objective, threshold,
        (interval[0], interval[1]), bounded[0], bounded[1], at_infinity, _notes(fit, name, least, bounded),
    )  # fmt: skip


class _Path:
    """Descents with one coordinate held, in centred coordinates where it does not move."""

    def __init__(self, fit: SurfaceFit, name: str):
        surface, z = fit.surface, np.log(fit.inputs)
        held = {*fit.fixed, name}
        centre = surface.centre(z, held)
        self.fit, self.surface = fit, surface
        self.place = surface.coordinates.index(name)
        self.reciprocal = name in surface.reciprocals
        self.held = surface.places(held)
        self.y, self.z = np.log(fit.loss), z - centre
        self.best = surface.recentre(fit.phi[None], -centre)[0]
        sample = Sample(surface, self.z, self.y, fit.delta, surface.places(fit.fixed), None)
        spread = covariance(sample, self.best[None], self.y)[0]
        variance = float(spread[self.place, self.place])
        self.slope = spread[:, self.place] / variance if variance > 0 else np.zeros(len(self.best))
        self.error = math.sqrt(variance) if variance > 0 else 0.1 * (1 + abs(self.best[self.place]))
        some: Any = np.linspace(0, len(fit.draws.phi) - 1, RESTARTS).astype(int) if len(fit.draws.phi) else []
        self.others = surface.recentre(fit.draws.phi[some], -centre)

    def objective(self, at: np.ndarray) -> np.ndarray:
        """(m,) least objective at coordinates (m,)."""
        starts = [self.best + np.outer(at - self.best[self.place], self.slope)]
        starts += [np.repeat(start[None], len(at), 0) for start in (self.best, *self.others)]
        heights, phi = self._fit(np.stack(starts), at)
        # A value whose descents all stopped early may do better from where its neighbours ended.
        beside = np.stack([np.roll(phi, 1, 0), np.roll(phi, -1, 0), phi])
        return np.minimum(heights, self._fit(beside, at)[0])

    def _fit(self, starts: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Starts (s, m, p) → (m,) objectives and (m, p) φ of the best."""
        s, m, p = starts.shape
        starts[:, :, self.place] = at
        starts = np.maximum(starts, self.surface.lowest())
        found = fit_huber(
            self.surface, starts.reshape(-1, p), self.z, self.y,
            delta=self.fit.delta, fixed=self.held, steps=STEPS,
        )  # fmt: skip
        heights = found.objective.reshape(s, m)
        chosen = heights.argmin(0)
        return heights.min(0), found.phi.reshape(s, m, p)[chosen, np.arange(m)]

    def outside(self, side: int, threshold: float) -> tuple[float, bool]:
        """A coordinate beyond the interval on one side, and whether even the last one tried lies inside."""
        at = self.best[self.place] + side * self.error * REACHES
        at = np.maximum(at, self.surface.lowest()[self.place])
        for some in (at[:NEAR], at):
            beyond = np.flatnonzero(self.objective(some) > threshold)
            if len(beyond):
                return float(some[beyond[0]]), False
        return float(at[-1]), True

    def spaced(self, low: float, high: float, points: int) -> np.ndarray:
        """(points,) coordinates from low to high; by ratio for a reciprocal, whose valley spans decades."""
        if self.reciprocal:
            return np.geomspace(max(low, high / 1000), high, points)
        return np.linspace(low, high, points)

    def crossings(self, at: np.ndarray, heights: np.ndarray, threshold: float) -> tuple[float, float]:
        """Where √(F − F̂) reaches the threshold's on either side, by straight lines between the values."""
        root = np.sqrt(np.maximum(heights - self.fit.objective, 0))
        limit = math.sqrt(max(threshold - self.fit.objective, 0))
        best = self.best[self.place]
        ends = []
        for side in (at <= best, at >= best):
            x = np.concatenate([[best], at[side][np.argsort(np.abs(at[side] - best))]])
            r = np.concatenate([[0.0], root[side][np.argsort(np.abs(at[side] - best))]])
            over = np.flatnonzero(r > limit)
            if not len(over):
                ends.append(float(x[-1]))
                continue
            k = over[0]
            ends.append(float(x[k - 1] + (x[k] - x[k - 1]) * (limit - r[k - 1]) / (r[k] - r[k - 1])))
        return ends[0], ends[1]


def _notes(fit: SurfaceFit, name: str, least: float, bounded: list[bool]) -> list[str]:
    notes = []
    if least < fit.objective * (1 - 1e-6):
        notes.append(
            f"The profile found a lower objective ({least:.9g}) than the fit ({fit.objective:.9g}): fit "
            "again with more starts."
        )
    sides = [side for side, known in zip(("below", "above"), bounded, strict=True) if not known]
    if sides:
        notes.append(f"These runs do not bound {name} from {' or '.join(sides)}.")
    if fit.groups is not None:
        notes.append("The profile counts every run as independent; seeds of one configuration are not quite.")
    if fit.trunks is not None:
        notes.append("The profile counts every run as independent; runs of one trunk are not.")
    return notes
