"""Points of one rank that share a job and its GPU: each is a task of the job, and alone in it.

Its function is named in pickles, so it stays importable.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import submitit

from chemscale.launchers.verdicts import TASK_VARIABLE, read_verdict
from chemscale.launchers.worker import run_point

Bundle = Sequence[tuple[dict[str, Any], list[str], str]]
"""Arguments of ``run_point`` for each point of a job."""

ALONE = {
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_NTASKS": "1",
    "SLURM_NODEID": "0",
    "SLURM_JOB_NUM_NODES": "1",
}
"""What submitit reads of SLURM, as a job of one task has it."""


def run_bundle(points: Bundle) -> None:
    """Train the point of this task, unless an earlier start of the job has brought it to its end.

    Args:
        points: of the job, a task each; tasks beyond them have nothing to do.

    Raises:
        SystemExit: status 1, an earlier start of the job failed for good.
    """
    environment = submitit.JobEnvironment()
    job, task = environment.job_id, environment.global_rank
    folder = Path(os.environ["SUBMITIT_FOLDER"])
    if task >= len(points) or ended_path(folder, job, task).exists():
        return
    if read_verdict(folder, job, task) is not None:
        sys.exit(1)
    os.environ.update(ALONE | {TASK_VARIABLE: str(task)})
    if "CHEMSCALE_MPS" in os.environ:
        os.environ["CUDA_VISIBLE_DEVICES"] = "0"  # the one that the service was started with
    run_point(*points[task])
    ended_path(folder, job, task).touch()


def ended_path(folder: Path, job: str, task: int) -> Path:
    """The note that the point of a task is at its end: its job may start again for the others."""
    return folder / f"{job}.{task}.ended"
