"""Learning curves for training performance estimation (TPE, Frey et al. 2023)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


class CurveError(ValueError):
    """A curve that cannot be used; the message names the run."""


@dataclass(frozen=True)
class TrainingCurve:
    """One run of a sweep over settings.

    Args:
        label: name of the run.
        seen: (n,) data seen at the end of each row of the training log, in any one unit.
        loss: (n,) mean training loss per unit of data since the row before.
        planned: data that the whole run is to see.
        validated: (m,) data seen at each validation.
        validation: (m,) its loss.
        final: loss of the run at its end, infinite if it diverged; None where it has not ended.
        flops: of the whole run.
        spent: what of them was spent so far; None for all.
        warmup: data over which the rate rises.
        settings: key and value of what the run was set to, by which runs of a sweep may differ.

    Raises:
        CurveError: rows that do not go forward.
    """

    label: str
    seen: np.ndarray
    loss: np.ndarray
    planned: float
    validated: np.ndarray = field(default_factory=lambda: np.empty(0))
    validation: np.ndarray = field(default_factory=lambda: np.empty(0))
    final: float | None = None
    flops: float = 0.0
    spent: float | None = None
    warmup: float = 0.0
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.seen) != len(self.loss) or (np.diff(self.seen, prepend=0.0) <= 0).any():
            raise CurveError(f"{self.label}: its curve must have one loss a row and go forward in data.")
        if not self.planned > 0:
            raise CurveError(f"{self.label}: the data that the run is to see must be above 0.")

    def reaches(self, share: float) -> bool:
        """Whether the log covers this share of the planned data, but for less than one of its rows."""
        seen, _ = self.until(share)
        if not len(seen):
            return False
        row = seen[-1] - seen[-2] if len(seen) > 1 else seen[-1]
        return bool(len(seen) < len(self.seen) or seen[-1] + row > share * self.planned * (1 - 1e-9))

    def until(self, share: float) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the training log within `share` of the run.

        Nothing beyond it is ever used: a run that goes on keeps the score by which it was chosen.
        """
        within = self.seen <= self._end(share)
        return self.seen[within], self.loss[within]

    def early_validation(self, share: float) -> float:
        """The last validation loss within `share` of the run; NaN where there is none."""
        within = self.validated <= self._end(share)
        return float(self.validation[within][-1]) if within.any() else float("nan")

    def means(self, share: float, windows: int) -> np.ndarray:
        """Mean training losses (T,) of equal parts of the data up to `share`; T = share × windows.

        A window stands for an epoch of the paper. Sums of losses are not comparable between batch sizes,
        means over the same data are: rows that straddle a border count in proportion, and what lies between
        the last row and the share counts as that row.

        Args:
            share: of the run.
            windows: of a whole run.

        Raises:
            CurveError: fewer than one window, or the log does not reach so far.
        """
        count = int(share * windows + 0.5)
        if count < 1:
            raise CurveError(
                f"share={share:g} holds none of {windows} windows: take at least {1 / windows:g}."
            )
        if not self.reaches(share):
            reached = self.seen[-1] / self.planned if len(self.seen) else 0.0
            raise CurveError(f"{self.label}: its log ends at {reached:.1%} of the run, not at {share:.0%}.")
        seen, loss = self.until(share)
        end = share * self.planned
        ends = np.concatenate([[0.0], seen, [max(end, seen[-1])]])
        area = np.concatenate([[0.0], np.cumsum(np.append(loss, loss[-1]) * np.diff(ends))])
        borders = np.linspace(0, end, count + 1)
        return np.diff(np.interp(borders, ends, area)) / np.diff(borders)

    def _end(self, share: float) -> float:
        return share * self.planned * (1 + 1e-9)
