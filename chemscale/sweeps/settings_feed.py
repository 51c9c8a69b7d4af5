"""What a rule asks for, as points that a launcher starts: each no further than asked, and none for ever."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from chemscale.launchers.settings import PointJob
from chemscale.records import RECORD_NAME, PointPlan, RunRecord, State
from chemscale.sweeps.expansion import step_at
from chemscale.sweeps.sweeper import pause_at

log = logging.getLogger(__name__)

Choose = Callable[[Sequence[PointPlan], dict[str, Any], Mapping[int, float], int], list[tuple[int, float]]]
"""A rule: of the plans, its settings, what is busy (number of point → share of its steps that it was given)
and how many more may start, the points to start with the share of each, most wanted first."""


class SettingsFeed:
    """A ``launchers.feed.Feed`` of what a rule asks for.

    The rule decides from records and from what is busy. What it cannot see there is kept here, for as long as
    the command lives: a point that ended short of what it was given (it failed, or a person cancelled it) is
    told to the rule as busy with a share of 0, and is not started again.

    Args:
        jobs: all points of the sweep.
        choose: the rule.
        rule: its settings.
    """

    def __init__(self, jobs: Sequence[PointJob], choose: Choose, rule: dict[str, Any]):
        self.jobs, self.choose, self.rule = list(jobs), choose, rule
        self.plans = [job.plan for job in jobs]
        self.given: dict[int, float] = {}
        self.given_up: set[int] = set()

    def __call__(self, busy: Mapping[str, float], free: int) -> list[PointJob]:
        now = {n: busy[plan.identity] for n, plan in enumerate(self.plans) if plan.identity in busy}
        self._give_up_short(now)
        self.given |= now
        chosen = self._wanted(now, free)
        self.given |= chosen
        for n, share in chosen.items():
            how = "goes on" if (self.plans[n].directory / RECORD_NAME).exists() else "trains"
            log.info("%s %s to %s", self.plans[n].name, how, describe_share(share))
        return [pause_at(self.jobs[n], share) for n, share in chosen.items()]

    def _give_up_short(self, now: Mapping[int, float]) -> None:
        """Note the points that have ended and did not reach what they were given."""
        for n, share in self.given.items():
            plan = self.plans[n]
            if n in now or n in self.given_up or has_reached(plan, share):
                continue
            self.given_up.add(n)
            begun = (plan.directory / RECORD_NAME).exists()
            record = RunRecord.load(plan.directory) if begun else None
            why = (record.reason or record.state.value) if record else "it never began"
            log.warning(
                "%s ended short of %s (%s): this command does not start it again, the next one tries once.",
                plan.name,
                describe_share(share),
                why,
            )

    def _wanted(self, now: Mapping[int, float], free: int) -> dict[int, float]:
        """Numbers of points to start, with the share of each."""
        while True:
            taken = {**dict.fromkeys(self.given_up, 0.0), **now}
            asked = self.choose(self.plans, self.rule, taken, free)
            wanted = {n: min(share, 1.0) for n, share in asked if n not in taken}
            again = [n for n, share in wanted.items() if has_reached(self.plans[n], share)]
            if not again:
                return dict(list(wanted.items())[:free])
            for n in again:  # else a rule that does not take it for reached would start it for ever
                log.warning(
                    "%s has reached %s and is asked for again: left as it is.",
                    self.plans[n].name,
                    describe_share(wanted[n]),
                )
            self.given_up |= set(again)


def has_reached(plan: PointPlan, share: float) -> bool:
    """Whether a point has been trained at least so far; to its end only if it is done."""
    if not (plan.directory / RECORD_NAME).exists():
        return False
    record = RunRecord.load(plan.directory)
    if record.state in (State.DONE, State.FAILED) or share >= 1:
        return record.state is State.DONE
    return record.data.steps >= step_at(share, record.planned_steps)


def describe_share(share: float) -> str:
    """A share of the steps in words."""
    return "its end" if share >= 1 else f"{100 * share:.3g} %"
