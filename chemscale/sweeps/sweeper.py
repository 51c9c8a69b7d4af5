"""Our Hydra sweeper: a list of points, a ledger of what is done, and a law at the end."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from chemscale.launchers import hooks
from chemscale.launchers.hydra_launcher import PointLauncher, compose_point
from chemscale.launchers.settings import PointJob
from chemscale.records import PointPlan, find_run, is_done, keep_plan
from chemscale.sweeps.expansion import SweepError, expand, is_swept, override_text

log = logging.getLogger(__name__)


class PointSweeper(Sweeper):
    """Runs what is missing of a sweep. Every point is composed, checked and built once.

    Args:
        axes: override key to the list of its values; their product is swept.
        points: list of mappings, for values that go together.
        plan: dotted name of a function that takes the points' configurations, their overrides and the command
            line, checks and shows them, and returns a ``PointJob`` for each. Named and not imported: a sweep
            knows nothing of training.
        finish: dotted name of a function that is given the plans and the configurations when the last point
            has ended.
        parent: overrides of a point that is trained before the others are planned, or the path of a model
            that is trained already. In points ``model.from: parent`` begins from it, and ``data.tokenizer:
            parent`` writes molecules in its vocabulary.
    """

    def __init__(self, axes: Any, points: Any, plan: str, finish: str, parent: Any = None):
        self.axes = OmegaConf.to_container(axes) if isinstance(axes, DictConfig) else dict(axes)
        self.points = OmegaConf.to_container(points) if OmegaConf.is_config(points) else list(points)
        self.plan, self.finish = plan, finish
        self.parent = OmegaConf.to_container(parent) if isinstance(parent, DictConfig) else parent

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra before ``sweep``."""
        self.context, self.composed = hydra_context, config
        self.point_launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Plan all points, run the missing ones, then finish.

        Raises:
            SweepError: no sweep, or two points that are the same.
        """
        overrides = expand(arguments, self.axes, self.points)  # type: ignore[arg-type]
        if self.parent:
            named = of_parent(self.find_parent(arguments))
            overrides = [[named.get(word, word) for word in own] for own in overrides]
        configs = [compose_point(self.context, self.composed, point) for point in overrides]
        jobs = self.make_jobs(configs, overrides, arguments)
        check_distinct(jobs)
        keep_plan([job.plan for job in jobs])
        if not self.run_points(jobs):
            return None  # a job of its own ends the sweep
        return self.end([job.plan for job in jobs], configs)

    def find_parent(self, arguments: Sequence[str]) -> Path:
        """The model that points of the sweep begin from; trained first where it is described and not done.

        Args:
            arguments: the command line, which holds for the parent too but for keys that it sets itself.

        Raises:
            SweepError: its training did not end well.
        """
        if not isinstance(self.parent, Mapping):
            return Path(str(self.parent))
        axes, points = cast(Any, (self.axes, self.points))
        swept = {*axes, *(key for point in points for key in point)}
        overrides = parent_overrides(arguments, self.parent, swept)
        config = compose_point(self.context, self.composed, overrides)
        log.info("First the model that points of this sweep begin from:")
        (job,) = hooks.resolve(hooks.PLAN_POINTS)([config], [overrides], overrides)
        keep_plan([job.plan])
        if not is_done(job.plan.directory):
            self.launch([job], [job], wait=True)
        if not is_done(job.plan.directory):
            raise SweepError(
                f"{job.plan.name}, which points of this sweep begin from, is not done "
                f"({job.plan.directory}). The same command continues it."
            )
        return Path(job.plan.directory)

    def make_jobs(
        self, configs: Sequence[DictConfig], overrides: Sequence[Sequence[str]], typed: Sequence[str]
    ) -> list[PointJob]:
        """Check the points, show what they will cost, and make them ready to run."""
        jobs: list[PointJob] = hooks.resolve(self.plan)(configs, overrides, typed)
        return jobs

    def end(self, plans: Sequence[PointPlan], configs: Sequence[DictConfig]) -> Any:
        """What becomes of the sweep when its last point has ended."""
        return hooks.resolve(self.finish)(plans, configs)

    def run_points(self, jobs: Sequence[PointJob]) -> bool:
        """Run what is missing; a subclass may decide while it goes.

        Returns:
            Whether all has ended and the sweep is to be ended here.
        """
        missing = [job for job in jobs if not is_done(job.plan.directory)]
        return self.launch(missing, jobs, finish=self.finish)

    def launch(
        self,
        chosen: Sequence[PointJob],
        jobs: Sequence[PointJob],
        *,
        finish: str | None = None,
        wait: bool | None = None,
    ) -> bool:
        """Hand points to the launcher, those that others begin from first.

        Args:
            chosen: points to run.
            jobs: all points of the sweep; a chosen one takes the place of its like.
            finish: what a launcher that does not wait is to do at the end.
            wait: overrules the launcher's own setting.

        Returns:
            Whether the points have ended and nothing else ends the sweep.
        """
        if not chosen:
            return True
        ordered = sorted(chosen, key=lambda job: job.plan.order)
        if not isinstance(self.point_launcher, PointLauncher):  # one that the user chose
            self.point_launcher.launch([job.overrides for job in ordered], initial_job_idx=0)
            return True
        changed = {job.plan.identity: job for job in ordered}
        whole = [changed.get(job.plan.identity, job) for job in jobs]
        return self.point_launcher.launch_points(ordered, whole, finish=finish, wait=wait)


def of_parent(run: Path) -> dict[str, str]:
    """Overrides that name the parent of a sweep → the same with its path.

    Args:
        run: directory of a run, or a folder with a model.
    """
    run = find_run(run)
    folder = run / "model" if (run / "model").is_dir() else run
    paths = {"model.from": run, "data.tokenizer": folder}
    return {f"{key}=parent": override_text(key, str(path)) for key, path in paths.items()}


def parent_overrides(arguments: Sequence[str], own: Mapping[Any, Any], swept: Collection[Any]) -> list[str]:
    """Overrides of the model that is trained first: the command line's, and its own, which win.

    Args:
        arguments: of the command line.
        own: keys of the parent and their values: a group leaves out all keys of it, a budget other units.
        swept: keys that differ between points of the sweep, which are none of the parent's.
    """
    left_out = {str(key) for key in own} | {str(key) for key in swept}
    left_out |= {"budget"} if any(str(key).startswith("budget.") for key in own) else set()

    def is_kept(word: str) -> bool:
        key = word.split("=", 1)[0].lstrip("+~")
        return not (is_swept(word) or key in left_out or key.split(".")[0] in left_out)

    return [*filter(is_kept, arguments), *(override_text(key, value) for key, value in own.items())]


def pause_at(job: PointJob, share: float) -> PointJob:
    """The same point, trained to a share of its steps only; as it is where that is all of them."""
    if share >= 1:
        return job
    return replace(
        job,
        config={**job.config, "pause": share},
        overrides=[*job.overrides, f"pause={share}"],
    )


def check_distinct(jobs: Sequence[PointJob]) -> None:
    """Two points never share a directory.

    Raises:
        SweepError: two lists of overrides describe the same point.
    """
    seen: dict[Path, int] = {}
    for number, job in enumerate(jobs):
        first = seen.setdefault(job.plan.directory, number)
        if first != number:
            raise SweepError(
                f"Points {first} ({' '.join(jobs[first].overrides)}) and {number} "
                f"({' '.join(job.overrides)}) are the same point {job.plan.identity}: remove one of them "
                "from the sweep."
            )
