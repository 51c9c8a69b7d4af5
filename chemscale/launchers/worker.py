"""A rank of a point, as a launcher starts it. Its function is named in pickles, so it stays importable.

The exit status of a rank is its verdict (``chemscale.common.exit_status``): done, start again, failed.
"""

from __future__ import annotations

import atexit
import ctypes
import logging
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

from chemscale.common.exit_status import START_AGAIN, exit_now
from chemscale.common.locks import PointBusyError
from chemscale.common.logs import show_logs
from chemscale.launchers import hooks
from chemscale.launchers.verdicts import is_lost_peer, record_lost_peer, write_verdict
from chemscale.objects.errors import Unreachable

log = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


def run_point(config: dict[str, Any], overrides: list[str], directory: str) -> None:
    """Train one point as one of its ranks.

    Args:
        config: the resolved configuration, plain dictionaries.
        overrides: what the point was composed from.
        directory: of the point.
    """
    prepare_process()
    try:
        hooks.resolve(hooks.RUN_RANK)(config, overrides)
    except (PointBusyError, Unreachable) as error:
        # An earlier start has not let go of the point yet, on a node that SLURM took for dead; or the object
        # store that has the point is silent.
        log.error("%s", error)
        exit_now(START_AGAIN)
    except Exception as error:
        if is_lost_peer(error):
            first_line = str(error).strip().splitlines()[0]
            message = re.sub(r"^\[[^]]*\]\s*", "", first_line)  # less the source file that raised it
            why = f"another rank is gone ({message})"
            log.error("%s: start again", why)
            record_lost_peer(Path(directory), why)
            exit_now(START_AGAIN)
        write_verdict(error)
        raise
    atexit.register(os._exit, 0)  # taking the libraries down takes seconds, and a thread of theirs may hang


def prepare_process() -> None:
    """Set up signals and logs in a process that a launcher started."""
    for number in SIGNALS:
        # Until the trainer listens there is nothing to save. It also takes the signals from submitit, whose
        # handlers requeue on rank 0 alone.
        signal.signal(number, _exit_at_once)
    if os.environ.get("SUBMITIT_EXECUTOR") == "local":
        _end_with_parent()
    show_logs()


def _exit_at_once(number: int, frame: object) -> None:
    os._exit(START_AGAIN)  # and nothing else: the signal may have come in the midst of a log line


def _end_with_parent() -> None:
    """Let a rank of this machine not outlive the command that started it, even if that is killed (Linux)."""
    if sys.platform == "linux":
        set_death_signal = 1
        ctypes.CDLL(None).prctl(set_death_signal, signal.SIGTERM)
