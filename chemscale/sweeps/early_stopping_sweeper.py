"""A sweep over settings that trains all of them a little, and to the end only what is promising."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from chemscale.launchers import hooks
from chemscale.launchers.hydra_launcher import PointLauncher
from chemscale.launchers.settings import PointJob
from chemscale.records import PointPlan
from chemscale.sweeps.expansion import SweepError
from chemscale.sweeps.settings_feed import SettingsFeed
from chemscale.sweeps.sweeper import PointSweeper

log = logging.getLogger(__name__)


class EstimatingSweeper(PointSweeper):
    """Trains points as far as a rule asks for, each as soon as there is room, until it asks for none.

    The rule sees records and what is busy only, so the same command continues an interrupted sweep. Such a
    sweep compares settings of one model and one budget; it never feeds a law.

    Args:
        rule: settings of the rule.
        choose: dotted name of the rule, a ``sweeps.settings_feed.Choose``.
    """

    def __init__(self, rule: Any, choose: str, **rest: Any):
        super().__init__(**rest)
        self.rule: dict[str, Any] = (
            OmegaConf.to_container(rule) if isinstance(rule, DictConfig) else dict(rule)  # type: ignore[assignment]
        )
        self.choose = choose

    def run_points(self, jobs: Sequence[PointJob]) -> bool:
        """Train what the rule asks for, which is asked again whenever a point has ended.

        Raises:
            SweepError: a point is paused by hand.
        """
        if any(override.lstrip("+").startswith("pause=") for job in jobs for override in job.overrides):
            raise SweepError("pause is set by the sweep itself: set hydra.sweeper.rule.rungs instead.")
        if jobs[0].launcher.name == "slurm" and not jobs[0].launcher.wait:
            log.info(
                "This sweep decides from what its points reach which go on: launcher.wait=true is forced."
            )
        feed = SettingsFeed(jobs, hooks.resolve(self.choose), self.rule)
        if isinstance(self.point_launcher, PointLauncher):
            self.point_launcher.launch_fed(feed, jobs)
        else:  # one that the user chose returns when all that it was given has ended
            while chosen := feed({}, len(jobs)):
                self.launch(chosen, jobs)
        return True

    def make_jobs(
        self, configs: Sequence[DictConfig], overrides: Sequence[Sequence[str]], typed: Sequence[str]
    ) -> list[PointJob]:
        jobs: list[PointJob] = hooks.resolve(self.plan)(configs, overrides, typed, self.rule)
        return jobs

    def end(self, plans: Sequence[PointPlan], configs: Sequence[DictConfig]) -> Any:
        return hooks.resolve(self.finish)(plans, configs, self.rule)
