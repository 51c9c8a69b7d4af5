"""Training performance estimation (TPE, Frey et al. 2023): which runs of a sweep over settings to finish."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chemscale.laws.data.curves import TrainingCurve
from chemscale.laws.early_stopping.calibration import Calibration
from chemscale.laws.early_stopping.estimators import ESTIMATORS, WINDOWS, Estimator


@dataclass(frozen=True)
class Rule:
    """Train every setting to a share of its budget, rank, and finish only what is promising.

    First the `keep` best are finished and `controls` of the others, spread over the ranks so that a
    regression can be judged; then, with what these became, every run whose chance of being the best is above
    `risk`.

    Raises:
        ValueError: a number outside its range.
    """

    share: float = 0.2
    keep: int = 3
    controls: int = 2
    risk: float = 0.05
    estimator: str = "tse"

    def __post_init__(self) -> None:
        if not 1 / WINDOWS <= self.share < 1:
            raise ValueError(f"share={self.share}: must lie between {1 / WINDOWS:g} and 1.")
        for name, value, least in (("keep", self.keep, 1), ("controls", self.controls, 0)):
            if value < least:
                raise ValueError(f"{name}={value}: must be at least {least}.")
        if not 0 <= self.risk <= 1:
            raise ValueError(f"risk={self.risk}: must lie between 0 and 1.")
        if self.estimator not in ESTIMATORS:
            raise ValueError(f"estimator={self.estimator!r}: choose one of {', '.join(ESTIMATORS)}.")

    @property
    def by(self) -> Estimator:
        """The estimator that ranks runs."""
        return ESTIMATORS[self.estimator]


@dataclass(frozen=True)
class Standing:
    """What is known of each of n runs: its score and rank, and, once runs have ended, a prediction."""

    scores: np.ndarray
    ranks: np.ndarray
    """0 is the most promising."""
    finals: np.ndarray
    """NaN where a run has not ended."""
    calibration: Calibration | None
    chances: np.ndarray
    """Chance of an unfinished run to end below the best finished one; NaN while nothing is known."""

    @property
    def best(self) -> int | None:
        """The best finished run."""
        return None if np.isnan(self.finals).all() else int(np.nanargmin(self.finals))


def standing(curves: Sequence[TrainingCurve], rule: Rule) -> Standing:
    """Score, rank and, where runs have ended, predict."""
    scores = rule.by.scores(curves, rule.share)
    order = np.argsort(scores, kind="stable")
    ranks = np.empty(len(order), int)
    ranks[order] = np.arange(len(order))
    finals = np.array([math.nan if curve.final is None else curve.final for curve in curves])
    calibration = Calibration.fit(scores, finals)
    chances = np.full(len(curves), math.nan)
    if calibration is not None:
        chances = calibration.chance_below(scores, float(np.nanmin(finals)))
        chances[~np.isnan(finals)] = math.nan
    return Standing(scores, ranks, finals, calibration, chances)


def to_finish(curves: Sequence[TrainingCurve], rule: Rule) -> list[int]:
    """Numbers of the runs to finish next, most promising first; empty when the rule asks for none.

    A function of the curves up to the share and of the final losses that are there, and of nothing else: an
    interrupted sweep decides again as it did before.
    """
    known = standing(curves, rule)
    order = np.argsort(known.ranks)
    finite = [int(n) for n in order if np.isfinite(known.scores[n])]
    first = finite[: rule.keep]
    rest = finite[rule.keep :]
    if rest and rule.controls:
        spread = np.linspace(0, len(rest) - 1, min(rule.controls, len(rest)) + 1)[1:]
        first += [rest[round(position)] for position in spread]
    waiting = [n for n in dict.fromkeys(first) if curves[n].final is None]
    if waiting or known.calibration is None:
        return waiting
    return [n for n in finite if curves[n].final is None and known.chances[n] > rule.risk]


@dataclass(frozen=True)
class Outcome:
    """What a policy finished of a sweep whose every end is known, what that cost, and what it missed."""

    policy: str
    finished: list[int]
    spent: float
    total: float
    best_found: float
    best_there: float

    @property
    def saved(self) -> float:
        """Share of the compute of the whole sweep that was not spent."""
        return 1 - self.spent / self.total

    @property
    def regret(self) -> float:
        """Loss of the best finished run above the best of all."""
        return self.best_found - self.best_there


def replay(curves: Sequence[TrainingCurve], rule: Rule) -> Outcome:
    """Apply the rule to finished runs whose ends it is shown only as it asks for them."""
    hidden = [_without_end(curve) for curve in curves]
    finished: list[int] = []
    while chosen := to_finish(hidden, rule):
        for n in chosen:
            hidden[n] = curves[n]
        finished += chosen
    return _outcome(f"{rule.by.title}, rule", curves, finished, dict.fromkeys(range(len(curves)), rule.share))


def successive_halving(
    curves: Sequence[TrainingCurve], share: float, *, eta: int = 2, estimator: str = "validation"
) -> Outcome:
    """Keep the best 1/η by the last validation loss at `share`, η·share, …; the last survivors are finished.

    Jamieson and Talwalkar 2016, with the first rung where the estimate is made.

    Args:
        curves: of finished runs.
        share: of the first rung.
        eta: by which runs become fewer and rungs longer.
        estimator: that ranks them.
    """
    alive, rung = list(range(len(curves))), share
    reached = dict.fromkeys(alive, share)
    while rung < 1 and len(alive) > 1:
        scores = ESTIMATORS[estimator].scores([curves[n] for n in alive], rung)
        alive = [alive[k] for k in np.argsort(scores, kind="stable")[: max(1, len(alive) // eta)]]
        rung *= eta
        reached |= {n: min(rung, 1.0) for n in alive}
    return _outcome("successive halving", curves, alive, reached)


def _without_end(curve: TrainingCurve) -> TrainingCurve:
    values = {key: getattr(curve, key) for key in curve.__dataclass_fields__}
    return TrainingCurve(**{**values, "final": None})


def _outcome(
    policy: str, curves: Sequence[TrainingCurve], finished: list[int], reached: dict[int, float]
) -> Outcome:
    finals = [math.inf if curve.final is None else curve.final for curve in curves]
    shares = {**reached, **dict.fromkeys(finished, 1.0)}
    return Outcome(
        policy=policy,
        finished=finished,
        spent=sum(shares[n] * curve.flops for n, curve in enumerate(curves)),
        total=sum(curve.flops for curve in curves),
        best_found=min((finals[n] for n in finished), default=math.inf),
        best_there=min(finals),
    )
