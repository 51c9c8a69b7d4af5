"""A sweep over settings that trains all of them a little, and to the end only what is promising."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from chemscale.launchers import hooks
from chemscale.launchers.settings import PointJob
from chemscale.records import RECORD_NAME, PointPlan, RunRecord, State
from chemscale.sweeps.expansion import SweepError, step_at
from chemscale.sweeps.sweeper import PointSweeper, pause_at

log = logging.getLogger(__name__)


class EstimatingSweeper(PointSweeper):
    """Every point to a share of its steps, then those that a rule asks for, until it asks for none.

    The rule sees records only, so the same command continues an interrupted sweep. Such a sweep compares
    settings of one model and one budget; it never feeds a law.

    Args:
        rule: of ``laws.early_stopping.rule.Rule``; ``share`` is the part that every point is trained.
        choose: dotted name of a function of the plans and the rule that returns numbers of points to finish.
    """

    def __init__(self, rule: Any, choose: str, **rest: Any):
        super().__init__(**rest)
        self.rule: dict[str, Any] = (
            OmegaConf.to_container(rule) if isinstance(rule, DictConfig) else dict(rule)  # type: ignore[assignment]
        )
        self.choose = choose

    def run_points(self, jobs: Sequence[PointJob]) -> bool:
        """Train every point to the share, then finish those that the rule asks for.

        Raises:
            SweepError: a point is paused by hand.
        """
        share, plans = float(self.rule["share"]), [job.plan for job in jobs]
        if any(override.lstrip("+").startswith("pause=") for job in jobs for override in job.overrides):
            raise SweepError("pause is set by the sweep itself: set hydra.sweeper.rule.share instead.")
        if jobs[0].launcher.name == "slurm" and not jobs[0].launcher.wait:
            log.info(
                "This sweep decides from what its points reach which go on: launcher.wait=true is forced."
            )
        waiting = [pause_at(job, share) for job in jobs if not has_reached(job.plan, share)]
        self.launch(waiting, jobs, wait=True)
        tried: set[int] = set()
        while chosen := [n for n in hooks.resolve(self.choose)(plans, self.rule) if n not in tried]:
            tried |= set(chosen)  # a point that fails is not asked for for ever
            self.launch([jobs[n] for n in chosen], jobs, wait=True)
        return True

    def make_jobs(
        self, configs: Sequence[DictConfig], overrides: Sequence[Sequence[str]], typed: Sequence[str]
    ) -> list[PointJob]:
        jobs: list[PointJob] = hooks.resolve(self.plan)(configs, overrides, typed, self.rule)
        return jobs

    def end(self, plans: Sequence[PointPlan], configs: Sequence[DictConfig]) -> Any:
        return hooks.resolve(self.finish)(plans, configs, self.rule)


def has_reached(plan: PointPlan, share: float) -> bool:
    """Whether a point has been trained at least so far."""
    if not (plan.directory / RECORD_NAME).exists():
        return False
    record = RunRecord.load(plan.directory)
    if record.state in (State.DONE, State.FAILED):
        return record.state is State.DONE
    return record.data.steps >= step_at(share, record.planned_steps)
