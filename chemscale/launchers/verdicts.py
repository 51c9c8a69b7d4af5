"""Why a rank ended: a fault of its own, which leaves a note beside the logs, or the loss of another rank.

srun kills the other ranks of a point when one fails, and their signals would hide the exit status of the one
that knows why. That one leaves ``<job>.<rank>.failed``.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import submitit

from chemscale.common.files import read_regular
from chemscale.records import RECORD_NAME, RunRecord, State

LOST_PEER_MESSAGES = (
    "connection closed by peer",
    "connection reset by peer",
    "connection refused",
    "broken pipe",
    "remote process exited",
    "nccl communicator was aborted",
    "ncclremoteerror",
    "ncclsystemerror",
    "watchdog caught collective operation timeout",
    "socket timeout",
    "timed out waiting",
)
"""What torch.distributed says when another rank is gone: that rank knows why, this one only starts again."""

TASK_VARIABLE = "CHEMSCALE_TASK"
"""Which task of its job a point is, where several points share one."""

LOST_PEER_ERRORS = ("DistBackendError", "DistNetworkError", "DistStoreError")
"""Classes of torch.distributed's errors, by name: this package does without torch."""

PERMANENT_ERRORS = (
    "ncclinvalid",
    "duplicate gpu",
    "no socket interface",
    "out of memory",
    "unhandled cuda error",
)
"""What it says of faults that starting again does not cure."""


def is_lost_peer(error: BaseException) -> bool:
    """Whether an error, or one that caused it, only says that another rank is gone."""
    seen: BaseException | None = error
    while seen is not None:
        text = str(seen).lower()
        if any(words in text for words in PERMANENT_ERRORS):
            return False
        if type(seen).__name__ in LOST_PEER_ERRORS or any(words in text for words in LOST_PEER_MESSAGES):
            return True
        seen = seen.__cause__
    return False


def record_lost_peer(directory: Path, why: str) -> None:
    """Let the record of a run whose other rank was killed say that it goes on, rather than that it failed.

    Args:
        directory: of the point.
        why: the reason to be recorded.
    """
    if submitit.JobEnvironment().global_rank == 0 and (directory / RECORD_NAME).exists():
        record = RunRecord.load(directory)
        record.state, record.reason = State.PREEMPTED, why
        record.save(directory)


def write_verdict(error: BaseException) -> None:
    """Leave a note beside the logs that this rank failed for good, and why."""
    environment = submitit.JobEnvironment()
    task = int(os.environ.get(TASK_VARIABLE, environment.global_rank))
    path = verdict_path(Path(os.environ["SUBMITIT_FOLDER"]), environment.job_id, task)
    with contextlib.suppress(OSError):  # a full disk: the exit status says it as well
        path.write_text(f"{type(error).__name__}: {error}\n")


def read_verdict(folder: Path, job: str, task: int | None = None) -> str | None:
    """Why a job failed for good; None if it did not.

    Args:
        folder: of the logs.
        job: its id.
        task: of several points that share the job, the one that is asked for.
    """
    which = "*" if task is None else str(task)
    for path in sorted(Path(folder).glob(f"{job}.{which}.failed")):
        return read_regular(path).decode(errors="replace").strip()
    return None


def verdict_path(folder: Path, job: str, rank: int) -> Path:
    """Where a rank leaves its note; the batch script looks for ``<job>.*.failed``."""
    return folder / f"{job}.{rank}.failed"
