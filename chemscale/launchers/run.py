"""Running points on ranks, and waiting for them where the launcher does."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from chemscale.launchers.feed import Feed
from chemscale.launchers.ledger import Submission, load_ledger
from chemscale.launchers.local.fed import FedRunner
from chemscale.launchers.local.runner import LocalRunner
from chemscale.launchers.settings import PointJob, common_launcher
from chemscale.launchers.slurm.fed import FedQueue
from chemscale.launchers.slurm.queue import JobState, ended_jobs, queued_jobs
from chemscale.launchers.slurm.submit import submit
from chemscale.launchers.watch import watch_until_ended
from chemscale.records import RECORD_NAME, RunRecord, State, is_done

log = logging.getLogger(__name__)

SUBMITIT_LINES = ("submitit INFO", "Job completed successfully", "Exiting after successful completion")
"""How lines of a log begin that say nothing of the sweep."""


def run_points(
    missing: Sequence[PointJob], sweep: Sequence[PointJob], *, finish: str | None, wait: bool | None = None
) -> bool:
    """Run what is missing of a sweep.

    Args:
        missing: points to run.
        sweep: all points.
        finish: dotted name of the function that ends the sweep, for a SLURM job of its own; None: nothing
            comes after the points, or the caller sees to it.
        wait: overrules ``launcher.wait`` under SLURM.

    Returns:
        Whether the sweep is still to be ended by the caller: its points have ended and no job does it.

    Raises:
        LaunchError: what cannot be launched.
        SystemExit: status 1, a single point or the job that ended the sweep failed.
        KeyboardInterrupt: a person stopped it, or no longer watches.
    """
    launcher = common_launcher(sweep)
    if launcher.name == "local":
        if missing:
            LocalRunner(missing, sweep, finish).run()
        if finish is None and len(sweep) == 1:
            exit_unless_ended_well(sweep[0])
        return True
    submission, queued = submit(missing, sweep, finish=finish)
    log_submission(submission, queued)
    if not (launcher.wait if wait is None else wait):
        return False
    watch_until_ended(submission.root, [job.plan.identity for job in sweep])
    if finish is not None:
        print_finish_log(load_ledger(submission.root))
        return False
    if len(sweep) == 1:
        exit_unless_ended_well(sweep[0])
    return True


def run_fed(feed: Feed, sweep: Sequence[PointJob]) -> None:
    """Run points of a sweep as they are asked for, until none is asked for and none is busy.

    Args:
        feed: asked for points at first and whenever one has ended.
        sweep: all points.

    Raises:
        LaunchError: what cannot be launched.
        KeyboardInterrupt: a person stopped it, or no longer watches.
    """
    if common_launcher(sweep).name == "slurm":
        FedQueue(feed, sweep).run()
    elif unfinished := [job for job in sweep if not is_done(job.plan.directory)]:
        FedRunner(feed, unfinished, sweep).run()


def log_submission(submission: Submission, queued: Sequence[str]) -> None:
    """Log job ids, and how to watch them.

    Args:
        submission: what is launched.
        queued: identities of the points that were queued now.
    """
    entries = submission.entries()
    for identity, entry in entries.items():
        if entry.jobs and identity in queued:
            log.info("%-28s %s  job %s", entry.name, identity, entry.jobs[-1])
    waiting = queued_jobs()
    in_flight = sum(bool(entry.jobs_among(waiting)) for entry in entries.values())
    log.info("%d points queued now, %d of %d in flight.", len(queued), in_flight, len(entries))
    if submission.finish is not None and submission.finish_jobs:
        log.info("Job %s fits the law when the last of them has ended.", submission.finish_jobs[-1])
    log.info(
        "Watch: chemscale launch status %s   (logs, cancel, requeue-failed: chemscale launch --help)",
        submission.root,
    )


def print_finish_log(submission: Submission) -> None:
    """Print what the job that ended the sweep wrote.

    Raises:
        SystemExit: status 1, a point or the job failed.
    """
    job = submission.finish_jobs[-1]
    path = submission.log_path(job, 0)
    text = path.read_text(errors="replace") if path.exists() else f"{path}: no such file\n"
    print(
        "\n".join(line for line in text.splitlines() if not line.startswith(SUBMITIT_LINES)), file=sys.stderr
    )
    state = ended_jobs([job]).get(job, JobState())
    if state.state and state.state != "COMPLETED":
        sys.exit(1)


def exit_unless_ended_well(job: PointJob) -> None:
    """Leave with status 1 where a single point did not end well.

    Raises:
        SystemExit: it failed.
    """
    directory = job.plan.directory
    record = RunRecord.load(directory) if (directory / RECORD_NAME).exists() else None
    if record is None or record.state not in (State.DONE, State.PAUSED):
        log.error("%s did not end well: %s", job.plan.name, record.reason if record else "it never began")
        sys.exit(1)
    if record.final is not None:
        log.info("%s done: %s · %s", job.plan.name, record.final.headline, directory)
