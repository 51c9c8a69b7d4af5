"""Our Hydra sweeper: a list of points, a ledger of what is done, and a law at the end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from chemscale.launchers import hooks
from chemscale.launchers.hydra_launcher import PointLauncher, compose_point, plain
from chemscale.launchers.settings import PointJob
from chemscale.records import RECORD_NAME, PointPlan, RunRecord, State, keep_plan
from chemscale.sweeps.expansion import SweepError, expand


class PointSweeper(Sweeper):
    """Runs what is missing of a sweep.

    Args:
        axes: override key to the list of its values; their product is swept.
        points: list of mappings, for values that go together.
        plan: dotted name of a function that takes the points' configurations, checks and shows them, and
            returns a ``PointPlan`` for each. Named and not imported: a sweep knows nothing of training.
        finish: dotted name of a function that is given the plans when the last point has ended.
    """

    def __init__(self, axes: Any, points: Any, plan: str, finish: str):
        self.axes = OmegaConf.to_container(axes) if isinstance(axes, DictConfig) else dict(axes)
        self.points = OmegaConf.to_container(points) if OmegaConf.is_config(points) else list(points)
        self.plan, self.finish = plan, finish

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.context, self.composed = hydra_context, config
        self.point_launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Plan all points, run the missing ones, then finish."""
        overrides = expand(arguments, self.axes, self.points)  # type: ignore[arg-type]
        configs = [self._compose(point) for point in overrides]
        plans = self.make_plans(configs)
        check_distinct(plans, overrides)
        keep_plan(plans)
        if not self.run_points(plans, overrides):
            return None  # a job of its own ends the sweep
        return self.end(plans, configs)

    def make_plans(self, configs: Sequence[DictConfig]) -> list[PointPlan]:
        """Check and show what the points will cost."""
        return hooks.resolve(self.plan)(configs)

    def end(self, plans: Sequence[PointPlan], configs: Sequence[DictConfig]) -> Any:
        """What becomes of the sweep when its last point has ended."""
        return hooks.resolve(self.finish)(plans, configs)

    def run_points(self, plans: Sequence[PointPlan], overrides: Sequence[Sequence[str]]) -> bool:
        """Run what is missing; a subclass may decide while it goes.

        Returns:
            Whether all has ended and the sweep is to be ended here.
        """
        missing = [n for n, plan in enumerate(plans) if not is_done(plan.directory)]
        return self.launch(missing, plans, overrides, finish=self.finish)

    def launch(
        self,
        numbers: Sequence[int],
        plans: Sequence[PointPlan],
        overrides: Sequence[Sequence[str]],
        extra: Sequence[str] = (),
        finish: str | None = None,
        wait: bool | None = None,
    ) -> bool:
        """Hand the points of these numbers to the launcher, those that others begin from first.

        Args:
            extra: overrides that these points get besides their own.
            finish: what a launcher that does not wait is to do at the end.
            wait: overrules the launcher's own setting.

        Returns:
            Whether the points have ended and nothing else ends the sweep.
        """
        if not numbers:
            return True
        chosen = sorted(numbers, key=lambda number: plans[number].order)
        with_extra = {number: [*overrides[number], *extra] for number in chosen}
        if not isinstance(self.point_launcher, PointLauncher):  # one that the user chose
            self.point_launcher.launch(list(with_extra.values()), initial_job_idx=0)
            return True
        jobs = [
            PointJob(
                plan,
                plain(self._compose(with_extra.get(n, overrides[n]))),
                list(with_extra.get(n, overrides[n])),
            )
            for n, plan in enumerate(plans)
        ]
        return self.point_launcher.launch_points([jobs[n] for n in chosen], jobs, finish=finish, wait=wait)

    def _compose(self, overrides: Sequence[str]) -> DictConfig:
        return compose_point(self.context, self.composed, overrides)


def check_distinct(plans: Sequence[PointPlan], overrides: Sequence[Sequence[str]]) -> None:
    """Two points never share a directory.

    Raises:
        SweepError: two lists of overrides describe the same point.
    """
    seen: dict[Path, int] = {}
    for number, plan in enumerate(plans):
        first = seen.setdefault(plan.directory, number)
        if first != number:
            raise SweepError(
                f"Points {first} ({' '.join(overrides[first])}) and {number} ({' '.join(overrides[number])}) "
                f"are the same point {plan.identity}: remove one of them from the sweep."
            )


def is_done(directory: Path) -> bool:
    """Whether the ledger, the point's own record, says that it has ended well."""
    return (directory / RECORD_NAME).exists() and RunRecord.load(directory).state is State.DONE
