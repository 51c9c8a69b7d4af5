"""Our Hydra launcher: in the command's own process, on several ranks of this machine, or through SLURM."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from chemscale.common.locks import PointBusyError
from chemscale.common.sections import read_section
from chemscale.launchers import hooks
from chemscale.launchers.feed import Feed
from chemscale.launchers.section import LaunchError, LauncherSettings
from chemscale.launchers.settings import PointJob
from chemscale.objects.errors import StoreError

log = logging.getLogger(__name__)


class PointLauncher(Launcher):
    """Chosen by ``launcher=local|slurm``.

    Args:
        plan: dotted name of the function that plans points, for sweepers that have not done so.
    """

    def __init__(self, plan: str):
        self.plan = plan

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.context, self.config = hydra_context, config
        self.basic = BasicLauncher()
        self.basic.setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run points that another sweeper than ours asks for, and that nobody has planned."""
        configs = [compose_point(self.context, self.config, overrides) for overrides in job_overrides]
        if all(launcher_of(config).in_process for config in configs):
            return self.basic.launch(job_overrides, initial_job_idx)
        own = [list(overrides) for overrides in job_overrides]
        jobs: list[PointJob] = hooks.resolve(self.plan)(configs, own, list(self.config.hydra.overrides.task))
        self.launch_points(jobs, jobs, finish=None)
        return []

    def launch_points(
        self,
        missing: Sequence[PointJob],
        sweep: Sequence[PointJob],
        *,
        finish: str | None,
        wait: bool | None = None,
    ) -> bool:
        """Run planned points; see ``chemscale.launchers.run.run_points``.

        Returns:
            Whether the caller is still to end the sweep.
        """
        if all(job.launcher.in_process for job in sweep):
            for job in missing:
                train_here(job)
            return True
        from chemscale.launchers.run import run_points

        return run_points(missing, sweep, finish=finish, wait=wait)

    def launch_fed(self, feed: Feed, sweep: Sequence[PointJob]) -> None:
        """Run planned points as they are asked for; see ``chemscale.launchers.run.run_fed``."""
        if all(job.launcher.in_process for job in sweep):
            while chosen := feed({}, 1):
                train_here(chosen[0])
            return
        from chemscale.launchers.run import run_fed

        run_fed(feed, sweep)


def train_here(job: PointJob) -> None:
    """Train a point in this process; one that fails says so in its record and does not lose the others."""
    assert job.train is not None
    try:
        job.train(job)
    except (PointBusyError, StoreError) as error:  # it has not begun: no record says why
        log.error("%s", error)
    except Exception:  # recorded and logged where it happened
        pass


def compose_point(context: HydraContext, composed: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """A point's configuration without Hydra's own part."""
    config = context.config_loader.load_sweep_config(composed, list(overrides))
    with_hydra = OmegaConf.to_container(config, resolve=False)
    assert isinstance(with_hydra, dict)
    with_hydra.pop("hydra", None)
    return OmegaConf.create(with_hydra)


def launcher_of(config: DictConfig) -> LauncherSettings:
    """The section ``launcher`` of a composed configuration.

    Raises:
        LaunchError: it does not say how to launch.
        ConfigurationError: a key or value that makes no sense.
    """
    if "launcher" not in config:
        raise LaunchError("The configuration has no launcher: set launcher=local or launcher=slurm.")
    values: Any = OmegaConf.to_container(config.launcher, resolve=True, throw_on_missing=True)
    return read_section(LauncherSettings, values, "launcher")
