"""Turns of several processes, one after the other, and what follows from them: medians and ratios."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class Turn:
    """What was done in one turn.

    Args:
        seconds: that it took.
        steps: whole ones.
        amount: of work, in the work's unit.
    """

    seconds: float
    steps: int
    amount: float

    @property
    def rate(self) -> float:
        """Amount a second."""
        return self.amount / self.seconds


@dataclass
class Timing:
    """The turns of one that does a work.

    Args:
        facts: what it said of itself: parameters, versions, FLOPs and bytes of a unit.
        turns: in order.
        memory: ``peak_mib`` of the process or of the GPU, and ``step_mib``, what steps added.
    """

    facts: dict[str, Any]
    turns: list[Turn] = field(default_factory=list)
    memory: dict[str, float] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Median over turns, amount a second."""
        return statistics.median(turn.rate for turn in self.turns)

    @property
    def step_seconds(self) -> float:
        """Median over turns of the mean seconds of a step."""
        return statistics.median(turn.seconds / turn.steps for turn in self.turns)


class Participant(Protocol):
    """One that does a work in turns (``processes.WorkerProcess``)."""

    name: str

    def turn(self, seconds: float, steps: int) -> Turn:
        """Do the work for at least so long and so many steps."""
        ...


def interleave(
    participants: Sequence[Participant],
    timings: Mapping[str, Timing],
    *,
    rounds: int,
    seconds: float,
    steps: int,
    progress: Callable[[str], None],
) -> None:
    """Let all take turns; every other round goes backwards, so that a drift of the machine hits all alike.

    Args:
        participants: who take turns.
        timings: where the turns of each are kept, by name.
        rounds: turns of each.
        seconds: of a turn, at least.
        steps: of a turn, at least.
        progress: told after each turn whose it was.
    """
    for number in range(rounds):
        for one in participants if number % 2 == 0 else reversed(participants):
            timings[one.name].turns.append(one.turn(seconds, steps))
            progress(one.name)


@dataclass(frozen=True)
class Ratio:
    """How many times faster one was than another, over turns of the same round.

    Args:
        median: over rounds.
        least: of all rounds.
        most: of all rounds.
    """

    median: float
    least: float
    most: float

    def __str__(self) -> str:
        return f"{self.median:.2f}× ({self.least:.2f} to {self.most:.2f})"


def ratio(one: Timing, other: Timing) -> Ratio:
    """Rate of one over that of another, round by round.

    Args:
        one: whose rate is the numerator.
        other: timed in the same rounds.
    """
    found = [a.rate / b.rate for a, b in zip(one.turns, other.turns, strict=True)]
    return Ratio(statistics.median(found), min(found), max(found))
