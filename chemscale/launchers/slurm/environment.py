"""The environment that sbatch is run in, without what would win over the script or leak into the job.

And what a process that SLURM started reads of its own.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

JOB_PREFIXES = ("SLURM_", "SLURMD_", "SRUN_", "SUBMITIT_")
"""How variables begin that describe the allocation that a process runs in."""
KEPT_VARIABLES = ("SLURM_CONF", "SLURM_JWT")
"""How SLURM's commands find their controller and prove who asks."""

RANK_VARIABLES = ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "RANK", "LOCAL_RANK")
DEVICE_VARIABLES = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL")
"""Within an allocation these number what was granted to it."""

OVERRIDING_VARIABLES = (
    "SBATCH_TIMELIMIT",
    "SBATCH_NO_REQUEUE",
    "SBATCH_SIGNAL",
    "SBATCH_OPEN_MODE",
    "SBATCH_ARRAY_INX",
    "SBATCH_JOB_NAME",
    "SBATCH_OUTPUT",
    "SBATCH_ERROR",
    "SBATCH_WAIT",
)
"""sbatch takes these before what its script says (man sbatch, INPUT ENVIRONMENT VARIABLES)."""


def variables_to_drop(environment: Mapping[str, str], options: Iterable[str]) -> list[str]:
    """Names of variables that sbatch must not see.

    Args:
        environment: of this process.
        options: what the script sets (``partition``, ``gpus_per_node``, …); their ``SBATCH_`` twins go too.
            Others, such as an account in a login profile, stay.
    """
    twins = {f"SBATCH_{option.replace('-', '_').upper()}" for option in options}
    if "SBATCH_MEM" in twins:
        twins |= {"SBATCH_MEM_PER_NODE", "SBATCH_MEM_PER_CPU", "SBATCH_MEM_PER_GPU"}
    dropped = {*RANK_VARIABLES, *OVERRIDING_VARIABLES, *twins}
    if "SLURM_JOB_ID" in environment:
        dropped |= set(DEVICE_VARIABLES)
    if environment.get("SUBMITIT_EXECUTOR") == "slurm":  # our own job set it, for its own cores
        dropped.add("OMP_NUM_THREADS")
    return [
        name
        for name in environment
        if name in dropped or (name.startswith(JOB_PREFIXES) and name not in KEPT_VARIABLES)
    ]


@contextlib.contextmanager
def clean_environment(options: Iterable[str]) -> Iterator[None]:
    """Within it, sbatch hands nothing of the allocation that it is called from on to a new job.

    Args:
        options: what the batch script sets.
    """
    removed = {name: os.environ.pop(name) for name in variables_to_drop(os.environ, options)}
    try:
        yield
    finally:
        os.environ.update(removed)


@dataclass(frozen=True)
class Allocation:
    """What SLURM says to a process that it started of those beside it.

    Args:
        tasks: of the job step, 1 outside of one.
        name: of this process among all of its job or array; empty outside of SLURM.
        session: the same for processes that were started together, another after they were queued again;
            None outside of SLURM.
        cores: of this process; None where SLURM was not asked for a number.
        is_first: whether it is the first of its step and of its array; true outside of SLURM.
    """

    tasks: int = 1
    name: str = ""
    session: str | None = None
    cores: int | None = None
    is_first: bool = True

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Allocation:
        """Read it from the variables of a process."""
        job = environment.get("SLURM_ARRAY_JOB_ID") or environment.get("SLURM_JOB_ID")
        if not job:
            return cls()
        element, rank = environment.get("SLURM_ARRAY_TASK_ID"), environment.get("SLURM_PROCID", "0")
        # Only srun sets it. SLURM_NTASKS stands in the shell of a job too, where one process is started.
        tasks = _number(environment, "SLURM_STEP_NUM_TASKS") or 1
        step = "" if element else environment.get("SLURM_STEP_ID", "")
        cores = _number(environment, "SLURM_CPUS_PER_TASK")
        return cls(
            tasks,
            f"{job}_{element}" if element else f"{job}.{rank}",
            f"{job}.{step}.{environment.get('SLURM_RESTART_COUNT', '0')}",
            min(cores, len(os.sched_getaffinity(0))) if cores else None,
            rank == "0" and element in (None, environment.get("SLURM_ARRAY_TASK_MIN", "0")),
        )


def _number(environment: Mapping[str, str], name: str) -> int | None:
    value = environment.get(name, "")
    return int(value) if value.isdigit() and int(value) else None
