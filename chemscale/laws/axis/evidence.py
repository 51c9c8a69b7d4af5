"""Whether points speak against a power law above a floor: they steepen with size, or bend in another way.

Against the first stands the best falling curve without the bound that a floor is not negative, against the
second a parabola and a cubic in log size beside the curve (F tests). Losses that flatten and then go on
falling more slowly look like a floor to both: see ``Continuation`` for what is done about it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chemscale.laws import stats
from chemscale.laws.axis.intervals import scatter
from chemscale.laws.axis.offset_curves import OffsetCurves
from chemscale.laws.axis.region import LEAST_DEVIATION

SIGNIFICANT = 0.05
BEYOND_DOUBT = 0.005
"""p below which what is rejected is left behind; above it predictions still hold it."""


@dataclass(frozen=True)
class Evidence:
    """What points say against a power law above a floor.

    Args:
        steepens: p of the test against steepening; 1 where the points flatten.
        bends: p of the test against another bend; None where there are too few sizes for it.
    """

    steepens: float
    bends: float | None

    @property
    def p(self) -> float:
        """Of the test that speaks more against the form."""
        return min(self.steepens, 1.0 if self.bends is None else self.bends)

    @property
    def rejects(self) -> bool:
        """Whether either test rejects the form at 5 %."""
        return self.p < SIGNIFICANT

    @property
    def leaves_doubt(self) -> bool:
        """Whether a form that is rejected may still be right: one in twenty is."""
        return self.p > BEYOND_DOUBT

    def text(self) -> str:
        """The result in words."""
        if self.steepens < SIGNIFICANT:
            return f"the loss falls faster at larger sizes, which no floor explains (p = {self.steepens:.2g})"
        if self.bends is None:
            return "too few sizes to look for a bend"
        found = "the loss bends in another way than towards a floor" if self.rejects else "no bend is seen"
        return f"{found} (p = {self.bends:.2g})"


def evidence(x: np.ndarray, y: np.ndarray, objective: float) -> Evidence:
    """Test a fit of a power law above a floor.

    Args:
        x: (n,) sizes.
        y: (n,) losses.
        objective: sum of squares of the fit.
    """
    z, log_y = np.log(x), np.log(y)
    curves = OffsetCurves(z)
    best, least = curves.fit(log_y)
    least = min(least, objective)
    residuals = log_y - curves.log_loss(best[None])[0]
    around = scatter(x, residuals, 3)
    variance = max(around.variance, LEAST_DEVIATION**2)
    steepens = float(stats.f.sf((objective - least) / variance, 1, around.freedom))
    freedom = around.freedom - 2
    if freedom < 1:
        return Evidence(steepens, None)
    t = (z - z.mean()) / np.ptp(z)
    basis, _ = np.linalg.qr(np.column_stack([curves.slopes(best[None])[0].T, t**2, t**3]))
    gain = float(np.sum((basis[:, 3:].T @ residuals) ** 2))
    rest = max((around.variance * around.freedom - gain) / freedom, LEAST_DEVIATION**2)
    return Evidence(steepens, float(stats.f.sf(gain / 2 / rest, 2, freedom)))
