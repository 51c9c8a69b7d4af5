"""Asking sbatch for a job through submitit: options of ours and of the site, and what a refusal means."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import FailedJobError, FailedSubmissionError

from chemscale.launchers.section import LaunchError
from chemscale.launchers.slurm.environment import clean_environment
from chemscale.launchers.slurm.resources import Site, SlurmResources
from chemscale.launchers.slurm.script import python_command

CONFLICTING_OPTIONS = {
    "no_requeue": ("requeue",),
    "gpus": ("gpus_per_node",),
    "gpus_per_task": ("gpus_per_node",),
    "gpus_per_socket": ("gpus_per_node",),
    "mem_per_cpu": ("mem",),
    "mem_per_gpu": ("mem",),
}
"""Options of sbatch that do not go with one of ours."""

DEVICE_OPTIONS = ("exclusive", "gres", "gpus", "cpus_per_task", "nodes", "ntasks", "ntasks_per_node")
"""Options that ask for more than one core, beside those of GPUs."""

NO_SUCH_NODES = ("node configuration is not available", "generic resource (gres)")
"""What sbatch says where no node has the resources that a job asks for."""


@dataclass
class SbatchOptions:
    """Options of one call of sbatch.

    Args:
        parameters: those that submitit has a name for.
        additional: others, as sbatch spells them.
    """

    parameters: dict[str, Any] = field(default_factory=dict)
    additional: dict[str, Any] = field(default_factory=dict)

    def names(self) -> list[str]:
        """Names of all of them."""
        return [*self.parameters, *self.additional]

    def remove(self, name: str) -> None:
        """Take an option away, if it is there."""
        self.parameters.pop(name, None)
        self.additional.pop(name, None)

    def add_site(self, site: Site, after: Sequence[str], extra: Mapping[str, Any] | None = None) -> None:
        """Add what a site asks for, which wins over what is there, and the jobs that this one waits for.

        Args:
            site: the profile of the cluster.
            after: ids of jobs that have to end first.
            extra: in place of ``site.extra``. ``-`` and ``_`` are the same, and a value of null or false
                takes an option away.
        """
        for key in ("partition", "account", "qos", "constraint"):
            if getattr(site, key) is not None:
                self.parameters[key] = getattr(site, key)
        if after:
            self.additional["dependency"] = "afterany:" + ":".join(after)
        for name, value in (site.extra if extra is None else extra).items():
            self._add_extra(canonical_name(name), value)

    def _add_extra(self, key: str, value: Any) -> None:
        if key == "dependency" and key in self.additional and value:
            self.additional[key] += f",{value}"
            return
        self.remove(key)
        if value is None or value is False:
            return
        for other in CONFLICTING_OPTIONS.get(key, ()):
            self.remove(other)
        if key == "gres" and "gpu" in str(value):
            self.remove("gpus_per_node")
        self.additional["open-mode" if key == "open_mode" else key] = value  # as submitit spells it


def canonical_name(option: str) -> str:
    """An option of sbatch as Python spells it."""
    return str(option).lstrip("-").replace("-", "_")


def without_gpus(extra: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a site for a job that has no use for a GPU.

    Args:
        extra: ``site.extra``.
    """

    def asks_for_gpus(key: str, value: Any) -> bool:
        of_gpus = key.startswith(("gpus", "gpu_")) or key.endswith("_per_gpu")
        return of_gpus or (key == "gres" and "gpu" in str(value))

    return {key: value for key, value in extra.items() if not asks_for_gpus(canonical_name(key), value)}


def without_devices(extra: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a site for a job that needs one core: no GPU and no node of its own.

    Args:
        extra: ``site.extra``.
    """

    def asks_for_devices(key: str) -> bool:
        return key in DEVICE_OPTIONS or key.startswith(("gpus_per_", "gpu_")) or key.endswith("_per_gpu")

    return {key: value for key, value in extra.items() if not asks_for_devices(canonical_name(key))}


def sbatch(
    function: Callable[..., None],
    arguments: Sequence[tuple[Any, ...]],
    *,
    folder: Path,
    site: Site,
    options: SbatchOptions,
    resources: SlurmResources | None = None,
) -> list[str]:
    """Queue calls of a function, several as one job array.

    Args:
        function: named in pickles, so importable.
        arguments: of each call.
        folder: where scripts, pickles and logs lie, absolute.
        site: the profile of the cluster.
        options: of sbatch.
        resources: what a point asks for, to explain a refusal.

    Returns:
        Their job ids.

    Raises:
        LaunchError: sbatch refused.
    """
    executor = submitit.SlurmExecutor(folder=folder, python=python_command(site, sys.executable))
    executor.update_parameters(
        stderr_to_stdout=True, wckey=None, additional_parameters=options.additional, **options.parameters
    )
    try:
        with clean_environment(options.names()), executor.batch():
            queued = [executor.submit(function, *each) for each in arguments]
    except (FailedSubmissionError, FailedJobError, ValueError) as error:
        raise submission_error(error, resources) from None
    return [str(job.job_id) for job in queued]


def submission_error(error: Exception, resources: SlurmResources | None) -> LaunchError:
    """What sbatch printed, and what it usually means.

    Args:
        error: of submitit.
        resources: what a point asked for; None for the job that ends a sweep.
    """
    printed = " ".join(line.strip() for line in str(error).splitlines() if "sbatch: error" in line)
    printed = printed or str(error).strip().splitlines()[-1]
    hint = "Check the site profile (site=NAME, launch/site/)."
    no_such_nodes = any(words in printed for words in NO_SUCH_NODES)
    if resources is not None and resources.with_gpus and no_such_nodes:
        hint = (
            f"No node has {resources.gpus_per_node} GPUs, {resources.cpus_per_rank} cores a rank and this "
            "memory: check launcher.* and site.*; for nodes without GPUs set trainer.accelerator=cpu."
        )
    return LaunchError(f"SLURM refused the job: {printed} {hint}")
