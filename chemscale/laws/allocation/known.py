"""How well a joint law is known: its covariance, its intervals, and what further runs would make of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from chemscale.laws import stats
from chemscale.laws.axis.fit import LEVEL, FitError
from chemscale.laws.joint.bootstrap import Draws, standard_errors
from chemscale.laws.joint.drift import Drift, LossAt, Reading
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
    stretch: float = 1.0
    """Times the first order that the law's own intervals are wide, where its draws are not known."""
    draws: Draws | None = None
    """Refits that say how many standard errors an interval has (see ``joint.bootstrap``)."""
    drift: Drift | None = None
    """What the runs leave open of exponents that drift; None counts none."""

    @classmethod
    def of_fit(cls, fit: SurfaceFit) -> KnownLaw:
        """A law as a fit knows it; parameters that were held are taken as certain and cost no freedom."""
        return cls(
            fit.surface, fit.phi, fit.covariance, fit.noise, len(fit.loss) - len(fit.free), draws=fit.draws,
            drift=fit.drift,
        )  # fmt: skip

    @classmethod
    def of_kept(cls, surface: Surface, kept: Mapping[str, Any]) -> KnownLaw:
        """A law as a law.json keeps it in ``known``; without draws of its bootstrap to first order."""
        return cls(
            surface, np.array(kept["phi"], dtype=float), np.array(kept["covariance"], dtype=float),
            float(kept["noise"]), float(kept["freedom"]),
            draws=Draws.of_dict(kept["draws"]) if kept.get("draws") else None,
            drift=Drift.of_dict(kept["drift"]) if kept.get("drift") else None,
        )  # fmt: skip

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
        slope = slopes(target, self.phi)
        return target(self.phi[None])[0], np.sqrt(np.einsum("mp,pq,mq->m", slope, self.covariance, slope))

    @property
    def reach(self) -> float:
        """Standard deviations to each side of an interval of a run's noise at LEVEL."""
        if np.isinf(self.freedom):
            return float(stats.norm.ppf(0.5 + LEVEL / 2))
        return float(stats.t.ppf(0.5 + LEVEL / 2, self.freedom))

    def sides(self, target: Target) -> np.ndarray:
        """Standard errors (m,) to each side of an interval at LEVEL of anything that follows from φ.

        Those of the law's own bootstrap where its draws are known: a first-order interval of a law with a
        floor is too narrow.
        """
        if self.draws is None:
            return np.full(len(target(self.phi[None])[0]), self.stretch * self.reach)
        values, best = target(self.draws.phi), target(self.phi[None])[0]
        with np.errstate(invalid="ignore"):
            if self.draws.covariance is not None:
                away = np.abs(values - best) / standard_errors(target, self.draws.phi, self.draws.covariance)
                return np.nanpercentile(away, 100 * LEVEL, axis=0, method="weibull")
            low, high = np.nanpercentile(values, [50 * (1 - LEVEL), 50 * (1 + LEVEL)], axis=0)
        return np.maximum(high - best, best - low) / self.spread(target)[1]

    def interval(self, target: Target, known: KnownLaw | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper ends (m,) of the interval of anything that follows from φ.

        Args:
            target: (S, p) coordinates → (S, m) quantities.
            known: the law whose ``sides`` are taken; None for this one.
        """
        values, errors = self.spread(target)
        ends = self._widened(target, (known or self).sides(target) * errors)
        return values - ends, values + ends

    def _widened(self, target: Target, ends: np.ndarray) -> np.ndarray:
        """(m,) half widths with what drifting exponents may be worth, of a quantity that moves with them."""
        if self.drift is None or not isinstance(target, Reading):
            return ends
        return np.hypot(ends, self.drift.allowance(target, self.surface, self.phi))

    def run_interval(self, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Predicted loss (m,) of new runs at (m, k) inputs, and both ends within which they are expected."""
        target = LossAt(self.surface, np.log(inputs))
        values, errors = self.spread(target)
        reach = np.hypot(self._widened(target, self.sides(target) * errors), self.reach * self.noise)
        return np.exp(values), np.exp(values - reach), np.exp(values + reach)

    def after(self, inputs: np.ndarray) -> KnownLaw:
        """The law as it will be known when runs at (m, k) inputs are fitted too.

        Its draws are unknown until then; an interval of it takes ``sides`` of the law before.
        """
        jacobian = self.surface.log_loss(self.phi[None], np.log(inputs))[1][0].T
        covariance = self.covariance
        for row in jacobian:
            covariance = with_run(covariance, row, self.noise)
        drift = None if self.drift is None else self.drift.after(self.surface, self.phi, inputs)
        return replace(
            self, covariance=covariance, freedom=self.freedom + len(inputs), draws=None, drift=drift
        )


def with_run(covariance: np.ndarray, row: np.ndarray, noise: float) -> np.ndarray:
    """Covariance (p, p) after one more run, whose log loss has the gradient `row` (p,)."""
    moved = covariance @ row
    return covariance - np.outer(moved, moved) / (noise**2 + row @ moved)


def _moved(surface: Surface, covariance: np.ndarray, phi: np.ndarray, by: np.ndarray) -> np.ndarray:
    """The covariance of ``surface.recentre(phi, by)``."""
    slope = slopes(lambda inner: surface.recentre(inner, by), phi)
    return slope @ covariance @ slope.T


def slopes(target: Target, phi: np.ndarray) -> np.ndarray:
    """(m, p) derivatives of a target at φ (p,), by central differences."""
    steps = np.diag(1e-5 * (1.0 + np.abs(phi)))
    return ((target(phi + steps) - target(phi - steps)) / (2 * np.diag(steps)[:, None])).T
