"""What runs inside a job: a rank of a point, or the end of a sweep. Named in pickles, so it stays importable.

The exit status of a rank is its verdict: 0 the point is done, 75 start it again, 1 it failed for good. A rank
that fails for good also leaves ``<job>.<rank>.failed`` beside the logs: srun kills the other ranks, and
their signals would otherwise hide its verdict.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import logging
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

import submitit

from chemscale.common.exit_status import START_AGAIN, exit_now
from chemscale.common.logs import show_logs
from chemscale.launchers import hooks
from chemscale.records import RECORD_NAME, RunRecord, State

log = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
BUSY = "PointBusyError"
"""An earlier start has not let go of the point yet, on a node that SLURM took for dead."""
LOST_PEER = (
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


FOR_GOOD = (
    "ncclinvalid",
    "duplicate gpu",
    "no socket interface",
    "out of memory",
    "unhandled cuda error",
)
"""What it says of faults that starting again does not cure."""


def run_point(config: dict[str, Any], overrides: list[str], argv: list[str], directory: str) -> None:
    """Train one point as one of its ranks.

    Args:
        directory: of the point.
        argv: the command line that launched it, for what has to know which keys were typed.
    """
    prepare_process(argv)
    try:
        hooks.resolve(hooks.RUN_RANK)(config, overrides)
    except Exception as error:
        if type(error).__name__ == BUSY:
            log.error("%s", error)
            exit_now(START_AGAIN)
        if lost_peer(error):
            said = re.sub(r"^\[[^]]*\]\s*", "", str(error).strip().splitlines()[0])  # less its source file
            why = f"another rank is gone ({said})"
            log.error("%s: start again", why)
            note_lost_peer(Path(directory), why)
            exit_now(START_AGAIN)
        write_verdict(error)
        raise
    atexit.register(os._exit, 0)  # taking the libraries down takes seconds, and a thread of theirs may hang


def end_sweep(root: str, argv: list[str]) -> None:
    """Start again what vanished, else fit the law; see ``chemscale.launchers.slurm.finish``."""
    prepare_process(argv)
    hooks.resolve(hooks.END_SWEEP)(Path(root))


def prepare_process(argv: list[str]) -> None:
    """Signals, logs and the command line of a process that a launcher started."""
    for number in SIGNALS:
        # Until the trainer listens there is nothing to save. It also takes the signals from submitit, whose
        # handlers requeue on rank 0 alone.
        signal.signal(number, _leave)
    if os.environ.get("SUBMITIT_EXECUTOR") == "local":
        _end_with_parent()
    sys.argv = list(argv)
    show_logs()


def _leave(number: int, frame: object) -> None:
    os._exit(START_AGAIN)  # and nothing else: the signal may have come in the midst of a log line


def _end_with_parent() -> None:
    """A rank of this machine does not outlive the command that started it, even if that is killed (Linux)."""
    if sys.platform == "linux":
        set_death_signal = 1
        ctypes.CDLL(None).prctl(set_death_signal, signal.SIGTERM)


def lost_peer(error: BaseException) -> bool:
    """Whether an error only says that another rank is gone."""
    seen: BaseException | None = error
    while seen is not None:
        text = str(seen).lower()
        if any(words in text for words in FOR_GOOD):
            return False
        named = type(seen).__name__ in ("DistBackendError", "DistNetworkError", "DistStoreError")
        if named or any(words in text for words in LOST_PEER):
            return True
        seen = seen.__cause__
    return False


def note_lost_peer(directory: Path, why: str) -> None:
    """A run whose other rank was killed did not fail: its record says that it goes on."""
    if submitit.JobEnvironment().global_rank == 0 and (directory / RECORD_NAME).exists():
        record = RunRecord.load(directory)
        record.state, record.reason = State.PREEMPTED, why
        record.save(directory)


def write_verdict(error: BaseException) -> None:
    """Leave a note beside the logs that this point failed for good, and why."""
    environment = submitit.JobEnvironment()
    path = verdict_path(Path(os.environ["SUBMITIT_FOLDER"]), environment.job_id, environment.global_rank)
    with contextlib.suppress(OSError):  # a full disk: the exit status says it as well
        path.write_text(f"{type(error).__name__}: {error}\n")


def verdict_path(folder: Path, job: str, rank: int) -> Path:
    return folder / f"{job}.{rank}.failed"


def verdict(folder: Path, job: str) -> str | None:
    """Why a job failed for good; None if it did not."""
    for path in sorted(Path(folder).glob(f"{job}.*.failed")):
        return path.read_text().strip()
    return None
