"""What others stop settings by, to be replayed beside our rule."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from chemscale.laws.data.curves import TrainingCurve
from chemscale.laws.early_stopping.estimators import ESTIMATORS, Estimator

ALMOST = 1e-9


def ranked(numbers: Sequence[int], seen: Sequence[TrainingCurve], share: float, by: Estimator) -> list[int]:
    """Settings by their score at a share, the best first; by their final loss at 1."""
    if share >= 1:
        scores = np.array([math.inf if seen[n].final is None else seen[n].final for n in numbers])
    else:
        scores = by.scores([seen[n] for n in numbers], share)
    return [numbers[k] for k in np.argsort(scores, kind="stable")]


@dataclass(frozen=True)
class SuccessiveHalving:
    """Keep the best 1/η at each of the rungs r, η r, η² r, … (Jamieson and Talwalkar 2016).

    A rung waits for all of its settings.

    Args:
        first: share of the first rung.
        eta: by which settings become fewer and rungs longer.
        estimator: that ranks.
        members: settings that take part; None for all.
    """

    first: float
    eta: int = 2
    estimator: str = "validation"
    members: tuple[int, ...] | None = None
    title: str = ""

    def __post_init__(self) -> None:
        if not self.title:
            title = f"successive halving, η = {self.eta}, from {self.first:.0%}"
            object.__setattr__(self, "title", title)

    @property
    def rungs(self) -> list[float]:
        """Shares of all rungs, the end last."""
        shares = [self.first]
        while shares[-1] < 1 - ALMOST:
            shares.append(min(1.0, shares[-1] * self.eta))
        return shares

    def steps(
        self, seen: Sequence[TrainingCurve], reached: Sequence[float], busy: Mapping[int, float], free: int
    ) -> list[tuple[int, float]]:
        """The settings of the newest rung that have not reached it."""
        alive = list(range(len(seen)) if self.members is None else self.members)
        shares = self.rungs
        for k, share in enumerate(shares):
            missing = [n for n in alive if reached[n] < share - ALMOST]
            if missing:
                return [(n, share) for n in missing if n not in busy][: max(0, free)]
            if k + 1 < len(shares):
                kept = max(1, len(alive) // self.eta)
                alive = ranked(alive, seen, share, ESTIMATORS[self.estimator])[:kept]
        return []


@dataclass(frozen=True)
class Asha:
    """Promote a setting that is in the best 1/η of its rung so far, else begin a new one (Li et al. 2020).

    Args:
        first: share of the first rung.
        eta: by which settings become fewer and rungs longer.
        estimator: that ranks.
    """

    first: float
    eta: int = 3
    estimator: str = "validation"

    @property
    def title(self) -> str:
        """Its name for readers."""
        return f"ASHA, η = {self.eta}, from {self.first:.0%}"

    def steps(
        self, seen: Sequence[TrainingCurve], reached: Sequence[float], busy: Mapping[int, float], free: int
    ) -> list[tuple[int, float]]:
        """Promotions from the highest rung down, then settings that have not begun."""
        shares = SuccessiveHalving(self.first, self.eta).rungs
        chosen: dict[int, float] = {}
        for k in range(len(shares) - 2, -1, -1):
            there = [n for n in range(len(seen)) if reached[n] >= shares[k] - ALMOST]
            best = ranked(there, seen, shares[k], ESTIMATORS[self.estimator])[: len(there) // self.eta]
            for n in best:
                if reached[n] < shares[k + 1] - ALMOST and n not in busy and n not in chosen:
                    chosen[n] = shares[k + 1]
        for n in range(len(seen)):
            if reached[n] <= 0 and n not in busy:
                chosen[n] = shares[0]
        found = list(chosen.items())[: max(0, free)]
        if found or busy or any(share >= 1 for share in reached):
            return found
        return self._end(seen, reached, shares)

    def _end(
        self, seen: Sequence[TrainingCurve], reached: Sequence[float], shares: Sequence[float]
    ) -> list[tuple[int, float]]:
        """Too few settings for a promotion to the end: the best of the highest rung goes on."""
        top = max(reached)
        there = [n for n in range(len(seen)) if reached[n] >= top - ALMOST]
        best = ranked(there, seen, top, ESTIMATORS[self.estimator])[0]
        return [(best, next(share for share in shares if share > top + ALMOST))]


@dataclass(frozen=True)
class Hyperband:
    """Successive halving from several first rungs, each with its part of the settings (Li et al. 2018).

    Args:
        first: share of the first rung of the most aggressive bracket.
        eta: by which settings become fewer and rungs longer.
        seed: of the draw that deals settings to brackets.
        estimator: that ranks.
    """

    first: float
    eta: int = 3
    seed: int = 0
    estimator: str = "validation"
    _dealt: dict[int, list[SuccessiveHalving]] = field(default_factory=dict, compare=False, repr=False)

    @property
    def title(self) -> str:
        """Its name for readers."""
        return f"Hyperband, η = {self.eta}, from {self.first:.0%}"

    def brackets(self, count: int) -> list[SuccessiveHalving]:
        """The brackets, of sizes in Hyperband's proportions, for so many settings."""
        if count not in self._dealt:
            deepest = math.floor(math.log(1 / self.first) / math.log(self.eta) + ALMOST)
            weights = np.array([(deepest + 1) / (s + 1) * self.eta**s for s in range(deepest, -1, -1)], float)
            sizes = np.maximum(1, np.floor(count * weights / weights.sum())).astype(int)
            sizes[0] += count - sizes.sum()
            order = [int(n) for n in np.random.default_rng(self.seed).permutation(count)]
            ends = np.cumsum(sizes)
            parts = [tuple(order[end - size : end]) for end, size in zip(ends, sizes, strict=True)]
            self._dealt[count] = [
                SuccessiveHalving(float(self.eta) ** -s, self.eta, self.estimator, part)
                for s, part in zip(range(deepest, -1, -1), parts, strict=True)
            ]
        return self._dealt[count]

    def steps(
        self, seen: Sequence[TrainingCurve], reached: Sequence[float], busy: Mapping[int, float], free: int
    ) -> list[tuple[int, float]]:
        """What the brackets ask for, the most aggressive first."""
        wanted = [
            step for bracket in self.brackets(len(seen)) for step in bracket.steps(seen, reached, busy, free)
        ]
        return wanted[: max(0, free)]


@dataclass(frozen=True)
class EarlyBest:
    """Train all to a share, and the best few of them to their ends: early stopping by one look.

    Args:
        share: of the look.
        keep: settings that are finished.
        estimator: that ranks; the validation loss is the usual one, TSE that of Frey et al. 2023.
    """

    share: float = 0.2
    keep: int = 1
    estimator: str = "validation"

    @property
    def title(self) -> str:
        """Its name for readers."""
        return f"{ESTIMATORS[self.estimator].title} at {self.share:.0%}, best {self.keep} finished"

    def steps(
        self, seen: Sequence[TrainingCurve], reached: Sequence[float], busy: Mapping[int, float], free: int
    ) -> list[tuple[int, float]]:
        """All to the share, then the best."""
        everyone = list(range(len(seen)))
        missing = [n for n in everyone if reached[n] < self.share - ALMOST]
        if missing:
            return [(n, self.share) for n in missing if n not in busy][: max(0, free)]
        best = ranked(everyone, seen, self.share, ESTIMATORS[self.estimator])[: self.keep]
        return [(n, 1.0) for n in best if reached[n] < 1 - ALMOST and n not in busy][: max(0, free)]


def usual_policies() -> list[SuccessiveHalving | Asha | Hyperband | EarlyBest]:
    """What people stop settings by, with their usual constants."""
    return [
        SuccessiveHalving(0.125, 2),
        SuccessiveHalving(0.0625, 2),
        SuccessiveHalving(1 / 27, 3),
        Asha(1 / 27, 3),
        Hyperband(1 / 27, 3),
        EarlyBest(0.2, 1),
        EarlyBest(0.2, 3),
        EarlyBest(0.2, 1, "tse"),
        EarlyBest(0.1, 1),
    ]
