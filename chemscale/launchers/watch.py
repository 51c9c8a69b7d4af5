"""Watching a launched sweep: its state once, or a live table until it has ended."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from chemscale.launchers.ledger import Submission, load_ledger
from chemscale.launchers.slurm.queue import JobState, ended_jobs, is_local, queued_jobs
from chemscale.launchers.status import LiveTable, point_rows, status_console, status_table

log = logging.getLogger(__name__)

POLL_SECONDS, SLOW_POLL_SECONDS = 2.0, 20.0
SLOW_AFTER_SECONDS = 60.0
"""From when on the controller, which others ask as well, is asked less often."""


class JobStates:
    """States of the jobs of a sweep; SLURM is asked once only for one that has ended."""

    def __init__(self) -> None:
        self._ended: dict[str, JobState] = {}

    def query(self, submission: Submission) -> dict[str, JobState]:
        """States of the newest job of every point and of the newest finish job, by id.

        Raises:
            LaunchError: the controller does not answer.
        """
        wanted = [entry.jobs[-1] for entry in submission.entries().values() if entry.jobs]
        wanted += submission.finish_jobs[-1:] if submission.finish is not None else []
        wanted = [job for job in wanted if not is_local(job)]
        if not wanted:
            return {}
        queued = queued_jobs()
        for job in queued:
            self._ended.pop(job, None)
        gone = ended_jobs(job for job in wanted if job not in queued and job not in self._ended)
        self._ended |= {job: state for job, state in gone.items() if state.state and not state.in_flight}
        known = gone | self._ended | queued
        return {job: known.get(job, JobState()) for job in wanted}


def watch_until_ended(root: Path, only: Sequence[str] | None = None) -> None:
    """Show a live table until no point is in flight and the job that ends the sweep, if any, has ended.

    Args:
        root: the sweep's directory.
        only: identities of the points that are waited for; None for all.

    Raises:
        LaunchError: nothing was launched there, or the controller does not answer.
        KeyboardInterrupt: a person no longer wants to watch; the jobs go on.
    """
    states = JobStates()

    def has_ended() -> bool:
        submission = load_ledger(root)
        submission.sweep = [i for i in submission.sweep if only is None or i in only]
        now = states.query(submission)
        table.show(point_rows(submission, now))
        return not any(state.in_flight for state in now.values())

    try:
        with LiveTable() as table:
            poll_until(has_ended)
    except KeyboardInterrupt:
        log.info(
            "The jobs go on. Watch: chemscale launch status %s   Cancel: chemscale launch cancel …", root
        )
        raise


def show_status(root: Path) -> None:
    """Print the table of a sweep's points, and what becomes of its law.

    Raises:
        LaunchError: nothing was launched there, or the controller does not answer.
    """
    submission = load_ledger(root)
    states = JobStates().query(submission) if submission.launcher == "slurm" else {}
    screen = status_console()
    screen.print(status_table(point_rows(submission, states)))
    for job in submission.finish_jobs[-1:]:
        if job in states:  # else no law ends it, or the newest command was a local one
            shown = f"{states[job].state or 'unknown to SLURM'} {states[job].exit_code}".strip()
            screen.print(f"Law: job {job} {shown}", highlight=False)
    screen.print(f"Code: {submission.code or 'as it is'} · logs: {submission.folder}", highlight=False)


def poll_until(ready: Callable[[], bool]) -> None:
    """Ask again and again until the answer is yes, less often after the first minute."""
    begin = time.monotonic()
    while not ready():
        time.sleep(POLL_SECONDS if time.monotonic() - begin < SLOW_AFTER_SECONDS else SLOW_POLL_SECONDS)
