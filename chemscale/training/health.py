"""What is done about a sick run, by rule: leave a step out, go back to an earlier checkpoint, or give up.

- A step whose gradient is not finite is left out: weights and moments stay as they are.
- After ``skips`` of them in a row, or when the logged loss lies ``spike`` robust standard deviations above
  the median of the last ones, the run goes back to the newest checkpoint from before and skips the data
  in between (as Chowdhery et al. 2022 did for PaLM): the same data would do the same again.
- This happens at most ``roll_backs`` times. Then a spike is only logged, and steps that stay without a finite
  gradient fail the run.

A healthy run is never touched by any of it, so the rule is not part of a point's identity; what it did stands
in the record.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chemscale.common.sections import Count, Index, Positive

WINDOW = 20
"""Logged losses that a new one is compared with."""
MIN_SPREAD = 0.02
"""Of the median: the least standard deviation that is believed, for a loss that hardly moves."""
TO_SIGMA = 1.4826
"""Median absolute deviation to standard deviation of a normal distribution."""


REMEDY = (
    "A lower optimizer.lr or a longer schedule.warmup helps a run that diverges; labels far off those of the "
    "other data do not go away by it."
)
"""What a person can do about a run that does not recover."""


class DivergedError(RuntimeError):
    """A run that does not recover."""


class RolledBack(Exception):
    """The run goes on from an earlier checkpoint; its newer ones are gone."""


@dataclass(frozen=True)
class HealthPolicy:
    """When a run goes back to an earlier checkpoint (section ``trainer.health``).

    Args:
        skips: steps in a row without a finite gradient before it does, judged at logs, validations and every
            so many steps: where a run is stopped and goes on plays no part.
        spike: standard deviations of the logged loss above its median that send it back; None: none do.
        roll_backs: how often it may.
    """

    skips: Count = 20
    spike: Positive | None = 20.0
    roll_backs: Index = 2


def skipped_data(roll_backs: Sequence[dict[str, Any]]) -> list[tuple[int, int]]:
    """(step, count) of data skipped after roll-backs: from the step on, so many steps' worth.

    Args:
        roll_backs: of a record, in order. One that lands before an earlier one skips what that one did.
    """
    skipped: list[tuple[int, int]] = []
    for back in roll_backs:
        again = sum(count for begin, count in skipped if begin >= back["to"])
        skipped = [(begin, count) for begin, count in skipped if begin < back["to"]]
        skipped.append((back["to"], back["from"] - back["to"] + again))
    return skipped


class Health:
    """Watches gradient norms and logged losses, which are the same on every rank.

    Args:
        policy: what it watches for.
    """

    def __init__(self, policy: HealthPolicy):
        self.policy = policy
        self.in_a_row = 0
        self.recent: deque[float] = deque(maxlen=WINDOW)

    def left_out(self, norm: float | None) -> bool:
        """Whether the step that had this gradient norm was left out."""
        bad = norm is not None and not math.isfinite(norm)
        self.in_a_row = self.in_a_row + 1 if bad else 0
        return bad

    def stuck(self) -> str:
        """Why the run does not get on, or an empty text."""
        if self.in_a_row < self.policy.skips:
            return ""
        return f"{self.in_a_row} steps in a row had no finite gradient"

    def spiked(self, loss: float) -> str:
        """Why a logged loss is out of line with those before it, or an empty text."""
        if self.policy.spike is None or not math.isfinite(loss):
            return ""
        if len(self.recent) == WINDOW:
            middle = statistics.median(self.recent)
            spread = TO_SIGMA * statistics.median(abs(value - middle) for value in self.recent)
            sigma = max(spread, MIN_SPREAD * abs(middle))
            if sigma > 0 and loss - middle > self.policy.spike * sigma:
                return f"the loss rose from about {middle:.4g} to {loss:.4g}"
        self.recent.append(loss)
        return ""

    def state_dict(self) -> dict[str, Any]:
        return {"in_a_row": self.in_a_row, "recent": list(self.recent)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.in_a_row = state["in_a_row"]
        self.recent = deque(state["recent"], maxlen=WINDOW)
