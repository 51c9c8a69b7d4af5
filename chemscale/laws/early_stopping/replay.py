"""Policies replayed on sweeps whose every end is known: what each would have spent and missed."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from chemscale.laws.data.curves import TrainingCurve
from chemscale.laws.early_stopping.rule import Rule, next_steps
from chemscale.laws.early_stopping.transitions import Population


class Policy(Protocol):
    """Decides which setting is trained on, from what settings have shown."""

    @property
    def title(self) -> str:
        """Its name for readers."""

    def steps(
        self, seen: Sequence[TrainingCurve], reached: Sequence[float], busy: Mapping[int, float], free: int
    ) -> list[tuple[int, float]]:
        """Settings to train on now, and the share to train each to.

        Args:
            seen: curves up to what each setting has reached; a final loss only where it has ended.
            reached: share of each.
            busy: settings that are being trained, with the share that each is trained to.
            free: how many more may be.
        """


@dataclass(frozen=True)
class Rungs:
    """Our rule as a policy."""

    rule: Rule
    population: Population

    @property
    def title(self) -> str:
        """Its name for readers."""
        return f"rungs at a risk of {self.rule.risk:.0%}"

    def steps(
        self, seen: Sequence[TrainingCurve], reached: Sequence[float], busy: Mapping[int, float], free: int
    ) -> list[tuple[int, float]]:
        """See ``rule.next_steps``."""
        return next_steps(seen, self.rule, self.population, busy=busy, free=free)


@dataclass(frozen=True)
class Outcome:
    """What a policy finished of a sweep whose every end is known, what that cost, and what it missed.

    Args:
        policy: its name.
        finished: numbers of the settings that it trained to their ends.
        reached: share of each setting.
        spent: FLOPs.
        total: FLOPs of the whole sweep.
        best_found: lowest final loss of the finished ones.
        best_there: lowest of all.
        time: until it was over, in times of one whole run.
    """

    policy: str
    finished: list[int]
    reached: list[float]
    spent: float
    total: float
    best_found: float
    best_there: float
    time: float

    @property
    def saved(self) -> float:
        """Share of the compute of the whole sweep that was not spent."""
        return 1 - self.spent / self.total

    @property
    def regret(self) -> float:
        """Loss of the best finished run above the best of all."""
        return self.best_found - self.best_there

    @property
    def relative_regret(self) -> float:
        """Regret as a share of the best loss."""
        return self.regret / self.best_there


def replay(curves: Sequence[TrainingCurve], policy: Policy, *, workers: int = 1) -> Outcome:
    """Apply a policy to finished runs, which it is shown as far as it has asked for them.

    Args:
        curves: of finished runs.
        policy: that decides.
        workers: settings that are trained at the same time, each as fast as every other.
    """
    reached = [0.0] * len(curves)
    busy: dict[int, float] = {}
    ending: list[tuple[float, int]] = []
    now = 0.0
    while True:
        seen = [part_of(curve, share) for curve, share in zip(curves, reached, strict=True)]
        for n, share in policy.steps(seen, reached, busy, workers - len(busy)):
            busy[n] = share
            heapq.heappush(ending, (now + share - reached[n], n))
        if not ending:
            break
        now, n = heapq.heappop(ending)
        reached[n] = busy.pop(n)
    finals = [math.inf if curve.final is None else curve.final for curve in curves]
    finished = [n for n, share in enumerate(reached) if share >= 1]
    return Outcome(
        policy=policy.title,
        finished=finished,
        reached=reached,
        spent=sum(share * curve.flops for share, curve in zip(reached, curves, strict=True)),
        total=sum(curve.flops for curve in curves),
        best_found=min((finals[n] for n in finished), default=math.inf),
        best_there=min(finals),
        time=now,
    )


def part_of(curve: TrainingCurve, share: float) -> TrainingCurve:
    """What a run has shown up to a share of it."""
    if share >= 1:
        return curve
    seen, loss = curve.until(share)
    within = curve.validated <= share * curve.planned * (1 + 1e-9)
    return replace(
        curve, seen=seen, loss=loss, validated=curve.validated[within], validation=curve.validation[within],
        final=None, spent=share * curve.flops,
    )  # fmt: skip
