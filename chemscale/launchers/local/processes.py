"""The processes of one start of a point, which begin, are signalled and end together.

They run submitit's entry point and see its local environment, so that a rank is the same program here and
under SLURM. submitit's own local executor does not fit: it waits for ever for a rank whose peer has died,
ends a run two minutes (or what is set) after it began, and gives one second to save after Ctrl-C.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from submitit.core.utils import DelayedSubmission

from chemscale.common.exit_status import START_AGAIN
from chemscale.launchers import worker
from chemscale.launchers.settings import PointJob

LOSS_GRACE_SECONDS = 5.0
"""How long other ranks may go on after one has failed."""
SAVING_GRACE_SECONDS = 60.0
"""The same after one that asked to be started again: ranks of a point that saves itself finish their part."""
KILL_AFTER_SECONDS = 10.0
"""From SIGTERM to SIGKILL for ranks that went on for longer."""


@dataclass
class PointProcesses:
    """The ranks of one start of a point.

    Args:
        job: the point.
        slot: which of the points that run at the same time it is.
        name: of this start, in place of SLURM's job id.
        ranks: their processes.
        logs: their open log files.
        first_loss: when the first rank was seen to have ended badly, in seconds of the monotonic clock.
        terminated: when ranks were sent SIGTERM; infinite where a person stops them, who may wait for long.
    """

    job: PointJob
    slot: int
    name: str
    ranks: list[subprocess.Popen[bytes]]
    logs: list[IO[bytes]]
    first_loss: float | None = None
    terminated: float | None = None

    def exit_codes(self) -> list[int | None]:
        """Exit status of every rank, 128 and its number for a signal; None while it runs."""
        found = [rank.poll() for rank in self.ranks]
        return [128 - code if code is not None and code < 0 else code for code in found]

    @property
    def have_ended(self) -> bool:
        """Whether no rank runs."""
        return None not in self.exit_codes()

    def send_signal(self, number: int) -> None:
        """Send a signal to the ranks that run."""
        for rank in self.ranks:
            if rank.poll() is None:
                rank.send_signal(number)

    def ask_to_save(self) -> None:
        """Let every rank save itself and end, in its own time."""
        self.terminated = self.terminated or float("inf")
        self.send_signal(signal.SIGTERM)

    def end_after_a_loss(self, now: float) -> None:
        """End the ranks that wait for one that is gone.

        Args:
            now: seconds of the monotonic clock.
        """
        bad = [code for code in self.exit_codes() if code]
        if not bad or self.have_ended:
            return
        self.first_loss = self.first_loss or now
        grace = SAVING_GRACE_SECONDS if START_AGAIN in bad else LOSS_GRACE_SECONDS
        if now - self.first_loss > grace and self.terminated is None:
            self.terminated = now
            self.send_signal(signal.SIGTERM)
        if self.terminated is not None and now - self.terminated > KILL_AFTER_SECONDS:
            self.send_signal(signal.SIGKILL)

    def close_logs(self) -> None:
        """Close the log files."""
        for file in self.logs:
            file.close()


def start_processes(
    job: PointJob,
    *,
    slot: int,
    name: str,
    folder: Path,
    log_path: Callable[[str, int], Path],
    environment: Mapping[str, str],
) -> PointProcesses:
    """Start every rank of a point.

    Args:
        job: the point.
        slot: which of the points that run at the same time it is.
        name: of this start.
        folder: where the pickled call is written, absolute.
        log_path: where a rank of a start writes.
        environment: what every rank gets besides this process's own environment.
    """
    call = DelayedSubmission(worker.run_point, job.config, list(job.overrides), str(job.plan.directory))
    call.dump(folder / f"{name}_submitted.pkl")
    command = [sys.executable, "-u", "-m", "submitit.core._submit", str(folder)]
    ranks: list[subprocess.Popen[bytes]] = []
    logs: list[IO[bytes]] = []
    for rank in range(job.world):
        logs.append(log_path(name, rank).open("ab"))
        ranks.append(
            subprocess.Popen(
                command,
                env={**os.environ, **environment, **rank_environment(name, rank, job.world)},
                stdin=subprocess.DEVNULL,
                stdout=logs[-1],
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches the launcher only, which asks ranks to save
            )
        )
    return PointProcesses(job, slot, name, ranks, logs)


def rank_environment(name: str, rank: int, world: int) -> dict[str, str]:
    """Variables by which submitit tells a process which rank it is.

    Args:
        name: of this start.
        rank: counted from 0.
        world: number of ranks.
    """
    return {
        "SUBMITIT_EXECUTOR": "local",
        "SUBMITIT_LOCAL_JOB_ID": name,
        "SUBMITIT_LOCAL_NTASKS": str(world),
        "SUBMITIT_LOCAL_JOB_NUM_NODES": "1",
        "SUBMITIT_LOCAL_NODEID": "0",
        "SUBMITIT_LOCAL_GLOBALID": str(rank),
        "SUBMITIT_LOCAL_LOCALID": str(rank),
    }
