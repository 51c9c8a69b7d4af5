"""A law of one axis with the test of its regime: fitted to all points, and to those that the axis limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from chemscale.laws.axis.fit import MIN_SIZES, Fit, fit_forms, supported
from chemscale.laws.axis.regimes import Regime, straight_regime

AUTO = ("power", "offset", "broken1", "broken2")


@dataclass(frozen=True)
class AxisLaw:
    """Fits of several forms along one axis."""

    fits: list[Fit]
    """To all points, plainest form first."""
    refused: list[str]
    regime: Regime | None = None
    """The test of the points; None where a form was asked for that bends by itself."""
    inside: list[Fit] = field(default_factory=list)
    """To the points inside the regime, where some lie outside."""
    outside: np.ndarray = field(default_factory=lambda: np.empty(0))
    """Sizes outside the regime."""

    @property
    def chosen(self) -> Fit | None:
        """The power law inside the regime where a test finds points outside, else what all points support."""
        straight = self.regime is not None and self.regime.straight
        return (supported(self.inside) if straight else None) or supported(self.fits)

    @property
    def within(self) -> bool:
        """Whether the law is that of the points inside the regime only."""
        return any(fit is self.chosen for fit in self.inside)

    def shown(self) -> list[tuple[str, Fit]]:
        """Every fit with what it was fitted to, the law first."""
        which = "inside the regime" if self.inside else ""
        rows = [(which, fit) for fit in self.inside]
        rows += [("all points" if self.inside else "", fit) for fit in self.fits]
        return sorted(rows, key=lambda row: row[1] is not self.chosen)


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
    """Fit forms of one axis, with and without the points outside its regime.

    The paper's law is a power law where the axis fitted is what limits the loss (Frey et al. 2023): points
    that a test finds outside are left out of it, and the fits to all points stand beside.

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
    if not fits or "power" not in names:
        return AxisLaw(fits, refused)
    regime = straight_regime(x, y, axis=axis, other=other)
    if regime.keep.all():
        return AxisLaw(fits, refused, regime)
    inside, why = fit_forms(x[regime.keep], y[regime.keep], forms=("power",), bootstrap=bootstrap, seed=seed)
    return AxisLaw(fits, refused + why, regime, inside, np.unique(x[~regime.keep]))
