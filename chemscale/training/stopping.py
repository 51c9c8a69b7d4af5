"""Whether a run goes on: one state for every reason to stop, the same on all ranks."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from chemscale.records import State


class Stop(IntEnum):
    """How a run stands; of several reasons to stop at one step the highest counts."""

    RUNNING = 0
    PAUSED = 1
    """At a share of its steps, for a sweep to decide on."""
    INTERRUPTED = 2
    """By a signal; the same command continues it."""
    FINISHED = 3
    """At the end of its budget."""
    ENDED_EARLY = 4
    """By its schedule."""


RECORDED = {
    Stop.RUNNING: State.FAILED,
    Stop.PAUSED: State.PAUSED,
    Stop.INTERRUPTED: State.PREEMPTED,
    Stop.FINISHED: State.DONE,
    Stop.ENDED_EARLY: State.DONE,
}
"""State of the record once the fit is left: a run that nobody stopped has failed."""


@dataclass
class Stopping:
    """The state, and the reason as the record gives it. Only what all ranks agree on is requested."""

    stop: Stop = Stop.RUNNING
    reason: str = ""

    def request(self, stop: Stop, reason: str = "") -> None:
        """Stop at this step, unless there is a weightier reason already.

        Args:
            stop: why.
            reason: in words.
        """
        if stop > self.stop:
            self.stop, self.reason = stop, reason

    @property
    def requested(self) -> bool:
        """Whether the run ends at this step."""
        return self.stop is not Stop.RUNNING

    @property
    def state(self) -> State:
        """What the record says of a run that has left its fit."""
        return RECORDED[self.stop]
