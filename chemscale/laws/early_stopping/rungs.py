"""What a sweep over settings shows at each rung: log scores, and log final losses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chemscale.laws.data.curves import CurveError, TrainingCurve
from chemscale.laws.early_stopping.axes import columns
from chemscale.laws.early_stopping.estimators import Estimator

ROSE = 0.2
"""A log score so much above the lowest of the rungs before has left its curve: no regression sees it."""


@dataclass(frozen=True)
class RungTable:
    """Runs against rungs.

    Args:
        rungs: (R,) shares of a run.
        levels: (n, R + 1) log of the score at each rung, log of the final loss last; NaN where not reached,
            infinite where the loss is no number.
        axes: settings that differ, a centred column (n,) each.
    """

    rungs: tuple[float, ...]
    levels: np.ndarray
    axes: dict[str, np.ndarray]

    @classmethod
    def of(cls, curves: Sequence[TrainingCurve], rungs: Sequence[float], by: Estimator) -> RungTable:
        """Score every run at every rung that it has reached.

        Args:
            curves: of all settings.
            rungs: rising shares below 1.
            by: the estimator.

        Raises:
            CurveError: a loss that is not above 0 has no logarithm.
        """
        levels = np.full((len(curves), len(rungs) + 1), np.nan)
        for n, curve in enumerate(curves):
            for k, share in enumerate(rungs):
                if not curve.reaches(share):
                    break
                levels[n, k] = by.scores([curve], share)[0]
            if curve.final is not None:
                levels[n, -1] = curve.final
            if (levels[n] <= 0).any():
                raise CurveError(f"{curve.label}: a loss of {np.nanmin(levels[n]):g} has no logarithm.")
        with np.errstate(invalid="ignore"):
            levels = np.log(levels)
        return cls(tuple(rungs), levels, columns([curve.settings for curve in curves]))

    @property
    def reached(self) -> np.ndarray:
        """(n,) index of the last column that is known of each run; −1 where none is."""
        known = ~np.isnan(self.levels)
        last = self.levels.shape[1] - 1 - np.argmax(known[:, ::-1], axis=1)
        return np.where(known.any(1), last, -1)

    @property
    def on_course(self) -> np.ndarray:
        """(n, R + 1) whether a regression may see it: finite, and not far above what the run had reached."""
        finite = np.isfinite(self.levels)
        lowest = np.fmin.accumulate(np.where(finite, self.levels, np.inf), axis=1)
        rose = np.zeros(self.levels.shape, bool)
        with np.errstate(invalid="ignore"):
            rose[:, 1:-1] = self.levels[:, 1:-1] > lowest[:, :-2] + ROSE
        return finite & ~np.logical_or.accumulate(rose, axis=1)

    def costs(self) -> np.ndarray:
        """(R + 1,) share of a run that each step up to a rung takes, the step to the end last."""
        return np.diff(np.array([0.0, *self.rungs, 1.0]))
