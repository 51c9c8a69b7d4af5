"""From points to ranks, and waiting for them."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from chemscale.launchers.ledger import Submission, load
from chemscale.launchers.local import LocalRunner, log_of
from chemscale.launchers.settings import PointJob, launcher_name
from chemscale.launchers.slurm.queue import JobState, ended, is_local, queue
from chemscale.launchers.slurm.submit import submit
from chemscale.launchers.status import Watch, rows, until
from chemscale.records import State

log = logging.getLogger(__name__)

OF_SUBMITIT = ("submitit INFO", "Job completed successfully", "Exiting after successful completion")
"""Lines of a log that say nothing of the sweep."""


def run_points(
    missing: Sequence[PointJob], sweep: Sequence[PointJob], *, finish: str | None, wait: bool | None = None
) -> bool:
    """Run what is missing of a sweep.

    Args:
        finish: dotted name of the function that ends the sweep, for a SLURM job of its own; None: nothing
            comes after the points, or the caller sees to it.
        wait: overrules ``launcher.wait`` under SLURM.

    Returns:
        Whether the sweep is still to be ended by the caller: its points have ended and no job does it.
    """
    if launcher_name(sweep) == "local":
        if missing:
            LocalRunner(missing, sweep, finish).run()
        if finish is None and len(sweep) == 1:
            end_of_one(sweep[0])
        return True
    waits = bool(sweep[0].config["launcher"]["wait"]) if wait is None else wait
    submission, fresh = submit(missing, sweep, finish=finish)
    tell(submission, fresh)
    if not waits:
        return False
    wait_for_end(submission.root, [job.plan.identity for job in sweep])
    if finish is not None:
        show_end(load(submission.root))
        return False
    if len(sweep) == 1:
        end_of_one(sweep[0])
    return True


def tell(submission: Submission, fresh: Sequence[str]) -> None:
    """Job ids, and how to watch them."""
    entries = [submission.points[identity] for identity in submission.sweep]
    for entry, identity in zip(entries, submission.sweep, strict=True):
        if entry.jobs and identity in fresh:
            log.info("%-28s %s  job %s", entry.plan["name"], identity, entry.jobs[-1])
    known = queue()
    flying = sum(any(job in known for job in entry.jobs) for entry in entries)
    log.info("%d points queued now, %d of %d in flight.", len(fresh), flying, len(entries))
    if submission.finish is not None and submission.finish_jobs:
        log.info("Job %s fits the law when the last of them has ended.", submission.finish_jobs[-1])
    log.info(
        "Watch: chemscale launch status %s   (logs, cancel, requeue-failed: chemscale launch --help)",
        submission.root,
    )


class Known:
    """States of jobs; those that have ended are asked for once."""

    def __init__(self) -> None:
        self._ended: dict[str, JobState] = {}

    def of(self, submission: Submission) -> dict[str, JobState]:
        """Of the newest job of every point, and of the newest finish job."""
        wanted = [submission.points[i].jobs[-1] for i in submission.sweep if submission.points[i].jobs]
        wanted += submission.finish_jobs[-1:] if submission.finish is not None else []
        wanted = [job for job in wanted if not is_local(job)]
        if not wanted:
            return {}
        waiting = queue()
        for job in waiting:
            self._ended.pop(job, None)
        gone = ended(job for job in wanted if job not in waiting and job not in self._ended)
        self._ended |= {job: state for job, state in gone.items() if state.state and not state.in_flight}
        known = gone | self._ended | waiting
        return {job: known.get(job, JobState()) for job in wanted}


def wait_for_end(root: Path, only: Sequence[str] | None = None) -> None:
    """A live table until no point is in flight and the job that ends the sweep, if any, has ended.

    Args:
        only: identities of the points that are waited for; None for all.

    Raises:
        KeyboardInterrupt: a person no longer wants to watch; the jobs go on.
    """
    known = Known()

    def ready() -> bool:
        submission = load(root)
        submission.sweep = [i for i in submission.sweep if only is None or i in only]
        states = known.of(submission)
        watch.show(rows(submission, states))
        return not any(state.in_flight for state in states.values())

    try:
        with Watch() as watch:
            until(ready)
    except KeyboardInterrupt:
        log.info(
            "The jobs go on. Watch: chemscale launch status %s   Cancel: chemscale launch cancel …", root
        )
        raise


def show_end(submission: Submission) -> None:
    """What the job that ended the sweep printed; leaves with status 1 where it failed.

    Raises:
        SystemExit: a point or the job failed.
    """
    job = submission.finish_jobs[-1]
    path = log_of(submission.folder, job, 0)
    text = path.read_text(errors="replace") if path.exists() else f"{path}: no such file\n"
    told = [line for line in text.splitlines() if not line.startswith(OF_SUBMITIT)]
    print("\n".join(told), file=sys.stderr)
    state = ended([job]).get(job, JobState())
    if state.state and state.state != "COMPLETED":
        sys.exit(1)


def end_of_one(job: PointJob) -> None:
    """Leave with status 1 where a single point did not end well.

    Raises:
        SystemExit: it failed.
    """
    from chemscale.records import RECORD_NAME, RunRecord

    directory = job.plan.directory
    record = RunRecord.load(directory) if (directory / RECORD_NAME).exists() else None
    if record is None or record.state not in (State.DONE, State.PAUSED):
        log.error("%s did not end well: %s", job.plan.name, record.reason if record else "it never began")
        sys.exit(1)
    if record.final is not None:
        log.info("%s done: %s · %s", job.plan.name, record.final.headline, directory)
