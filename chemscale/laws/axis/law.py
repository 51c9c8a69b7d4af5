"""The law of one axis: forms fitted side by side, and the one that the points bear out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chemscale.laws.axis.continuation import free_band
from chemscale.laws.axis.evidence import Evidence, evidence
from chemscale.laws.axis.fit import (
    MIN_SIZES,
    SIGNIFICANT,
    Fit,
    FitError,
    fit_forms,
    gain_significance,
    supported,
)
from chemscale.laws.axis.regimes import Regime, straight_regime

AUTO = ("power", "offset", "broken1", "broken2")
AHEAD = (1.0, 2.0, 10.0)
"""Multiples of the largest size at which a law is read."""


@dataclass(frozen=True)
class Prediction:
    """The loss at a multiple of the largest size, with its interval.

    Args:
        times: the multiple.
        size: that size.
        loss: by the law; None where none is named.
        low: lower end.
        high: upper end.
    """

    times: float
    size: float
    loss: float | None
    low: float
    high: float


@dataclass(frozen=True)
class AxisLaw:
    """Fits of several forms along one axis."""

    fits: list[Fit]
    """Plainest form first."""
    refused: list[str]
    chosen: Fit | None = None
    """The law: the form whose intervals hold, as far as the points can tell; None where no form does."""
    why: str = ""
    """Why it is the law, or why there is none, in words."""
    regime: Regime | None = None
    """The test of which sizes lie on one straight line; None where a form was asked for that bends."""
    standing: dict[str, str] = field(default_factory=dict)
    """What each form is beside the law, in words."""
    doubted: Fit | None = None
    """A fit whose form is rejected, but not beyond doubt: the band holds what it predicts as well."""

    @property
    def outside(self) -> np.ndarray:
        """Sizes outside the straight line."""
        if self.regime is None or not self.fits:
            return np.empty(0)
        return np.unique(self.fits[0].x[~self.regime.keep])

    def band(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Interval (m,), (m,) of the loss at sizes x (m,): that of the law, or of what no form describes.

        Raises:
            FitError: nothing was fitted.
        """
        x = np.asarray(x, dtype=float)
        if not self.fits:
            raise FitError(" ".join(self.refused) or "Nothing was fitted.")
        points = self.fits[0]
        low, high = free_band(points.x, points.y, x) if self.chosen is None else self.chosen.band(x)
        if self.doubted is None:
            return low, high
        also = self.doubted.band(x)
        return np.minimum(low, also[0]), np.maximum(high, also[1])

    def ahead(self) -> list[Prediction]:
        """The loss at the largest size and beyond it; empty where nothing was fitted."""
        if not self.fits:
            return []
        x = float(self.fits[0].x.max()) * np.array(AHEAD)
        loss = None if self.chosen is None else self.chosen.predict(x)
        return [
            Prediction(
                times, float(size), None if loss is None else float(loss[number]), float(low), float(high)
            )
            for number, (times, size, low, high) in enumerate(zip(AHEAD, x, *self.band(x), strict=True))
        ]

    def shown(self) -> list[Fit]:
        """Every fit, the law first."""
        return sorted(self.fits, key=lambda fit: fit is not self.chosen)

    def holds(self, fit: Fit) -> bool:
        """Whether the intervals of a fit mean anything: the points do not reject its form."""
        return not self.standing.get(fit.form.name, "").startswith("rejected")

    def to_dict(self, fit: Fit) -> dict[str, Any]:
        """A fit for ``law.json``, with what it is beside the law; without intervals where it is rejected."""
        found = fit.to_dict() | {"standing": self.standing.get(fit.form.name, "")}
        if not self.holds(fit):
            found["intervals"] = {name: [None, None] for name in found["intervals"]}
        return found


def fit_axis(
    x: np.ndarray,
    y: np.ndarray,
    *,
    axis: str = "size",
    other: str = "",
    forms: Sequence[str] | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
) -> AxisLaw:
    """Fit forms of one axis and name the law.

    From five sizes on the law is a power law above a floor, whether or not the points show the floor. To drop
    it after a test, or to leave out the sizes that bend (Frey et al. 2023), gives intervals that hold the
    truth in a fifth to a half of all cases instead of 95 %. Where the points reject it (``evidence``), the
    law is a broken one if there are sizes enough, and none is named otherwise. With fewer sizes it is a power
    law on the assumption that there is no floor.

    Args:
        x: (n,) sizes.
        y: (n,) losses.
        axis: its name, for the words of the test.
        other: name of what may limit instead.
        forms: names; None for all that the number of sizes allows.
        bootstrap: draws.
        seed: of the draws.

    Raises:
        FitError: an unknown form.
    """
    sizes = len(np.unique(x))
    names = forms or [n for n in AUTO if n in ("power", "offset") or sizes >= MIN_SIZES[n]]
    fits, refused = fit_forms(x, y, forms=names, bootstrap=bootstrap, seed=seed)
    if forms is None and fits and len(names) < len(AUTO):
        most = " and ".join(f"{n} needs {MIN_SIZES[n]}" for n in AUTO if n not in names)
        refused.append(f"Not tried with {sizes} distinct sizes: {most}.")
    if not fits:
        return AxisLaw(fits, refused)
    regime = straight_regime(x, y, axis=axis, other=other) if "power" in names else None
    chosen, why, against = _name(fits, sizes, asked=forms is not None)
    offset = next((fit for fit in fits if fit.form.name == "offset"), None)
    doubt = against is not None and against.rejects and against.leaves_doubt
    standing = _standing(fits, chosen, against)
    return AxisLaw(fits, refused, chosen, why, regime, standing, offset if doubt else None)


def _name(fits: list[Fit], sizes: int, asked: bool) -> tuple[Fit | None, str, Evidence | None]:
    """The law, why, and what speaks against a floor."""
    by_name = {fit.form.name: fit for fit in fits if fit.converged}
    offset, power = by_name.get("offset"), by_name.get("power")
    broken = supported([fit for fit in by_name.values() if fit.form.name.startswith("broken")])
    if power is not None and (power.intervals["beta"][1] or 0.0) < 0:
        return None, "No law is named: the loss rises with size.", None
    if offset is None:
        return *_without_floor(power, broken, sizes, asked), None
    against = evidence(offset.x, offset.y, offset.objective)
    if not against.rejects:
        shown = (offset.intervals["floor"][0] or 0.0) > 0
        floor = "" if shown else " A floor is neither shown nor ruled out."
        least = MIN_SIZES["offset"]
        return offset, f"From {least} sizes on a floor is allowed for; {against.text()}.{floor}", against
    if broken is not None:
        return broken, f"A power law above a floor is rejected: {against.text()}.", against
    more = f" A broken law needs {MIN_SIZES['broken1']} sizes." if sizes < MIN_SIZES["broken1"] else ""
    return None, f"No law is named: {against.text()}.{more}", against


def _without_floor(power: Fit | None, broken: Fit | None, sizes: int, asked: bool) -> tuple[Fit | None, str]:
    """The law, and why, where a power law above a floor was not fitted."""
    if broken is not None:
        return broken, "The form that was asked for."
    if power is None:
        return None, "No law is named: no fit converged."
    if sizes < MIN_SIZES["offset"]:
        why = f"{sizes} sizes cannot show a floor or a bend: the intervals hold if there is neither."
        return power, why
    if asked:
        return power, "As asked for: the intervals hold if there is neither a floor nor a bend."
    return None, "No law is named: the fit of a power law above a floor did not converge."


def _standing(fits: list[Fit], chosen: Fit | None, against: Evidence | None) -> dict[str, str]:
    """What each form is beside the law."""
    words = {}
    offset = next((fit for fit in fits if fit.form.name == "offset"), None)
    for fit in fits:
        name = fit.form.name
        if fit is chosen:
            words[name] = "the law" if len(fits) > 1 else ""
        elif not fit.converged:
            words[name] = "rejected: it did not converge"
        elif name == "offset" and (chosen is None or (against is not None and against.rejects)):
            words[name] = "rejected by the points"
        elif name == "power" and offset is not None:
            against_line = gain_significance(fit, offset) < SIGNIFICANT
            bent = against is not None and against.rejects
            rejected = bent or against_line
            words[name] = "rejected by the points" if rejected else "if there is no floor"
        else:
            words[name] = "not needed by the points" if chosen is not None else "not enough sizes to tell"
    return words
