"""The environment that sbatch is run in: without what would win over the script or leak into the job."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping

OF_A_JOB = ("SLURM_", "SLURMD_", "SRUN_", "SUBMITIT_")
KEPT = ("SLURM_CONF", "SLURM_JWT")
"""How SLURM's commands find their controller and prove who asks."""

OF_A_RANK = ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "RANK", "LOCAL_RANK")
DEVICES = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL")
"""Within an allocation these number what was granted to it."""

ALWAYS_OURS = (
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


def foreign(environment: Mapping[str, str], options: Iterable[str]) -> list[str]:
    """Names of variables that sbatch must not see.

    Args:
        options: what the script sets (``partition``, ``gpus_per_node``, …); their ``SBATCH_`` twins go too.
            Others, such as an account in a login profile, stay.
    """
    twins = {f"SBATCH_{option.replace('-', '_').upper()}" for option in options}
    if "SBATCH_MEM" in twins:
        twins |= {"SBATCH_MEM_PER_NODE", "SBATCH_MEM_PER_CPU", "SBATCH_MEM_PER_GPU"}
    dropped = {*OF_A_RANK, *ALWAYS_OURS, *twins}
    if "SLURM_JOB_ID" in environment:
        dropped |= set(DEVICES)
    if environment.get("SUBMITIT_EXECUTOR") == "slurm":  # our own job set it, for its own cores
        dropped.add("OMP_NUM_THREADS")
    return [
        name for name in environment if name in dropped or (name.startswith(OF_A_JOB) and name not in KEPT)
    ]


@contextlib.contextmanager
def outside_the_job(options: Iterable[str]) -> Iterator[None]:
    """Within it, sbatch hands nothing of the allocation that it is called from on to a new job."""
    taken = {name: os.environ.pop(name) for name in foreign(os.environ, options)}
    try:
        yield
    finally:
        os.environ.update(taken)
