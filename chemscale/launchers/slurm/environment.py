"""The environment that sbatch is run in: without what would win over the script or leak into the job."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping

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
