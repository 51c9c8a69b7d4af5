"""Our Hydra launcher: in the command's own process, on several ranks of this machine, or through SLURM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from chemscale.launchers import hooks, in_process
from chemscale.launchers.section import LaunchError
from chemscale.launchers.settings import PointJob


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

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """The configuration of a point."""
        return compose_point(self.context, self.config, overrides)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """What another sweeper than ours calls: points that nobody has planned."""
        configs = [self.compose(overrides) for overrides in job_overrides]
        if all(in_process(plain(config)) for config in configs):
            return self.basic.launch(job_overrides, initial_job_idx)
        plans = hooks.resolve(self.plan)(configs)
        jobs = [
            PointJob(plan, plain(config), list(overrides))
            for plan, config, overrides in zip(plans, configs, job_overrides, strict=True)
        ]
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
        """Run points; see ``chemscale.launchers.run.run_points``.

        Returns:
            Whether the caller is still to end the sweep.
        """
        if all(in_process(job.config) for job in sweep):
            if missing:
                self.basic.launch([job.overrides for job in missing], initial_job_idx=0)
            return True
        from chemscale.launchers.run import run_points

        return run_points(missing, sweep, finish=finish, wait=wait)


def compose_point(context: HydraContext, composed: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """A point's configuration without Hydra's own part."""
    config = context.config_loader.load_sweep_config(composed, list(overrides))
    with_hydra = OmegaConf.to_container(config, resolve=False)
    assert isinstance(with_hydra, dict)
    with_hydra.pop("hydra", None)
    return OmegaConf.create(with_hydra)


def plain(config: DictConfig) -> dict[str, Any]:
    """The resolved configuration as dictionaries.

    Raises:
        LaunchError: it does not say how to launch.
    """
    found: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    if "launcher" not in found:
        raise LaunchError("The configuration has no launcher: set launcher=local or launcher=slurm.")
    return found
