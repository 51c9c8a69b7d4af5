"""Which setting of a sweep to train on, and how far: until the best one is lost at a stated risk only.

Nothing is thrown away: a setting that waits keeps its checkpoint, and later runs may speak for it. The sweep
is over when the chance, given all that is known, that any setting which has not ended would end below the
best one that has is within the risk.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from chemscale.laws.data.curves import TrainingCurve
from chemscale.laws.early_stopping.estimators import ESTIMATORS, WINDOWS, Estimator
from chemscale.laws.early_stopping.forecast import Forecast, forecast
from chemscale.laws.early_stopping.rungs import RungTable
from chemscale.laws.early_stopping.transitions import Population

RUNGS = (0.02, 0.05, 0.1, 0.2, 0.5, 0.8)


@dataclass(frozen=True)
class Rule:
    """How a sweep over settings is cut short.

    Args:
        rungs: shares of its budget at which a setting waits for a decision.
        risk: chance at which the best setting may be lost.
        tolerance: a setting counts as better only if its loss is lower by this share.
        estimator: what a setting shows at a rung.

    Raises:
        ValueError: a number outside its range.
    """

    rungs: tuple[float, ...] = RUNGS
    risk: float = 0.05
    tolerance: float = 0.005
    estimator: str = "validation"

    def __post_init__(self) -> None:
        rungs = tuple(float(share) for share in self.rungs)
        object.__setattr__(self, "rungs", rungs)
        rising = all(a < b for a, b in itertools.pairwise(rungs))
        if not rungs or not rising or not rungs[0] >= 1 / WINDOWS or not rungs[-1] < 1:
            raise ValueError(
                f"rungs={list(rungs)}: give shares of a run that rise, from {1 / WINDOWS:g} to below 1."
            )
        if not 0 <= self.risk < 1:
            raise ValueError(f"risk={self.risk}: must be at least 0 and below 1.")
        if not 0 <= self.tolerance < 1:
            raise ValueError(f"tolerance={self.tolerance}: must be at least 0 and below 1.")
        if self.estimator not in ESTIMATORS:
            raise ValueError(f"estimator={self.estimator!r}: choose one of {', '.join(ESTIMATORS)}.")

    @property
    def by(self) -> Estimator:
        """What a setting shows at a rung."""
        return ESTIMATORS[self.estimator]

    def share_after(self, reached: int) -> float:
        """The share to train to from a rung, by its index; −1 for a setting that has reached none."""
        return self.rungs[reached + 1] if reached + 1 < len(self.rungs) else 1.0


@dataclass(frozen=True)
class Standing:
    """What is known of the settings of a sweep.

    Args:
        table: what they show at the rungs.
        forecast: where they will end.
        rule: by which they are judged.
    """

    table: RungTable
    forecast: Forecast
    rule: Rule

    @property
    def chances(self) -> np.ndarray:
        """(n,) chance of a setting that has not ended to be the best of all, by more than the tolerance."""
        return np.asarray(self.forecast.wins(self.rule.tolerance).mean(axis=1))

    @property
    def lost(self) -> float:
        """Chance that the best setting is among those that have not ended."""
        return float(self.forecast.wins(self.rule.tolerance).any(axis=0).mean())

    @property
    def ranks(self) -> np.ndarray:
        """(n,) place of each setting by the median of its end; 0 is the best."""
        middle = np.median(self.forecast.ends, axis=1)
        ranks = np.empty(len(middle), int)
        ranks[np.argsort(middle, kind="stable")] = np.arange(len(middle))
        return ranks


def standing(curves: Sequence[TrainingCurve], rule: Rule, population: Population) -> Standing:
    """Score settings at the rungs that they have reached and draw where they will end.

    Args:
        curves: of all settings; one that has not begun has no rows.
        rule: the rungs and the estimator.
        population: of earlier sweeps, at the same rungs.
    """
    table = RungTable.of(curves, rule.rungs, rule.by)
    return Standing(table, forecast(table, population), rule)


def next_steps(
    curves: Sequence[TrainingCurve],
    rule: Rule,
    population: Population,
    *,
    busy: Mapping[int, float] | None = None,
    free: int = 1,
) -> list[tuple[int, float]]:
    """Settings to train on now and the share to train each to, the most wanted first.

    First every setting reaches the first rung. Then those go on whose chance to be the best is largest for
    what the next rung costs, until the chance that the best is one that nobody works on is within the risk. A
    function of curves and of what is busy alone: an interrupted sweep decides again as it did, and no setting
    waits for others to reach its rung.

    Args:
        curves: of all settings, up to what each has reached.
        rule: of the sweep.
        population: of earlier sweeps, at the same rungs.
        busy: settings that are being trained, with the share that each is trained to.
        free: how many more may be.

    Returns:
        Number of a setting and share, 1 for its end; empty when all is decided or nothing is free.
    """
    busy = busy or {}
    known = standing(curves, rule, population)
    reached = known.table.reached
    begin = [n for n in range(len(curves)) if reached[n] < 0 and n not in busy]
    chosen = [(n, rule.rungs[0]) for n in begin][: max(0, free)]
    waiting = {n for n in range(len(curves)) if known.forecast.open[n] and n not in busy}
    wins = known.forecast.wins(rule.tolerance)
    shares = {n: rule.share_after(int(reached[n])) for n in waiting}
    costs = known.table.costs()
    worth = {n: wins[n].mean() / costs[int(reached[n]) + 1] for n in waiting}
    for n in sorted(waiting, key=lambda n: (-worth[n], n)):
        unattended = [m for m in waiting if m not in dict(chosen)]
        if len(chosen) >= free or wins[unattended].any(axis=0).mean() <= rule.risk:
            break
        chosen.append((n, shares[n]))
    if not chosen and not busy and waiting and math.isinf(known.forecast.best):
        # Nothing has ended and no draw tells settings apart: one has to.
        n = max(waiting, key=lambda n: worth[n])
        chosen.append((n, shares[n]))
    return chosen[: max(0, free)]
