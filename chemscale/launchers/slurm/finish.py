"""The job that ends a sweep: how it is queued, and what it does when all other jobs have ended."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from omegaconf import OmegaConf

from chemscale.launchers import hooks
from chemscale.launchers.ledger import Submission, ledger_lock, load_ledger
from chemscale.launchers.section import LaunchError
from chemscale.launchers.slurm.arrays import array_of, queue_points
from chemscale.launchers.slurm.queue import JobState, job_states, queued_jobs, require_slurm, run_command
from chemscale.launchers.slurm.resources import Site
from chemscale.launchers.slurm.sbatch import SbatchOptions, sbatch, without_devices
from chemscale.launchers.slurm.script import environment_lines
from chemscale.launchers.verdicts import read_verdict
from chemscale.launchers.worker import prepare_process
from chemscale.records import RunRecord, State

log = logging.getLogger(__name__)

T = TypeVar("T")

MAX_MINUTES = 60
"""Time limit of the job, if points have not a shorter one."""

UNFINISHED_STATES = (State.PLANNED, State.RUNNING, State.PREEMPTED)
"""States of a record whose point is to go on."""

RETRY_PAUSES = (10, 30)
"""Seconds between questions to a controller that does not answer."""


# --- queueing it --------------------------------------------------------------------------------------------


def queue_finish(submission: Submission) -> str:
    """Queue the job after all that is in flight, in place of one that waits.

    Args:
        submission: the ledger's content, which learns the id.

    Returns:
        The job's id.

    Raises:
        LaunchError: sbatch refused, or the controller does not answer.
    """
    queued = queued_jobs()
    old = [job for job in submission.finish_jobs if job in queued and queued[job].state == "PENDING"]
    points = [entry.point_job() for entry in submission.entries().values()]
    in_flight = [job for entry in submission.entries().values() for job in entry.jobs_among(queued)]
    site = Site.of(points[0].config)
    options = SbatchOptions(
        {
            "job_name": f"chemscale-{submission.root.name}-law",
            "nodes": 1,
            "ntasks_per_node": 1,
            "cpus_per_task": 1,
            "time": min(MAX_MINUTES, max(point.launcher.minutes for point in points)),
            "setup": environment_lines(site, Path(submission.code)),
            "srun_args": ["--open-mode=append"],
        },
        {"requeue": True, "chdir": submission.cwd},
    )
    options.add_site(site, sorted({array_of(job) for job in in_flight}), without_devices(site.extra))
    root = str(submission.root.absolute())
    (job,) = sbatch(end_sweep, [(root,)], folder=submission.folder.absolute(), site=site, options=options)
    submission.finish_jobs.append(job)
    with contextlib.suppress(LaunchError):  # two of them fit the same law
        if old:
            run_command("scancel", *old)
    return job


# --- within it ----------------------------------------------------------------------------------------------


def end_sweep(root: str) -> None:
    """Run the job; named in pickles, so it stays importable."""
    prepare_process()
    finish_or_requeue(Path(root))


def finish_or_requeue(root: Path) -> None:
    """Start again the points that were lost, else call the function that the sweep named.

    Runs in the job that depends on all others, which SLURM starts even if some of them failed. A point that
    is still in flight (it was queued again meanwhile) is waited for by a new such job. One whose job ended
    without a verdict, because its batch script or its node was lost, gets a new job while
    ``launcher.max_attempts`` allows. Else the sweep's function is called, whose exit status is this job's.

    Args:
        root: the sweep's directory.

    Raises:
        SystemExit: status 1, a point failed or SLURM does not say what is in flight.
    """
    with ledger_lock(root):
        submission = load_ledger(root)
        try:
            goes_on = requeue_lost(submission) if _has_slurm() else False
        except LaunchError as error:
            goes_on = False
            if not all_done(submission):
                log.error(
                    "%s Points may still be in flight: the law is not fitted to a part of the sweep. The "
                    "same command again goes on (%s).",
                    error,
                    " ".join(submission.argv),
                )
                sys.exit(1)
        finally:
            correct_records(submission)
            submission.save()
    if goes_on or submission.finish is None:
        return
    # The report shows the command that made it, which is not this job's.
    sys.argv = list(submission.argv)
    configs = [OmegaConf.create(entry.config) for entry in submission.entries().values()]
    hooks.resolve(submission.finish)(submission.plans(), configs)


def _has_slurm() -> bool:
    try:
        require_slurm()
    except LaunchError as error:  # for instance in a container without SLURM's commands
        log.warning("%s Points that vanished stay so: chemscale launch requeue-failed.", error)
        return False
    return True


def all_done(submission: Submission) -> bool:
    """Whether no point of the sweep can be in flight, whatever SLURM says."""
    found = [submission.record(identity) for identity in submission.sweep]
    return all(record is not None and record.state is State.DONE for record in found)


def with_retries(call: Callable[[], T]) -> T:
    """Return what a call gives, which a busy controller may refuse at first.

    Raises:
        LaunchError: it refused to the end.
    """
    for pause in RETRY_PAUSES:
        try:
            return call()
        except LaunchError as error:
            log.warning("%s Asked again in %d s.", error, pause)
            time.sleep(pause)
    return call()


def requeue_lost(submission: Submission) -> bool:
    """Queue the points again whose jobs were lost.

    Returns:
        Whether a point is in flight, so that the end of the sweep was put off to a new job.

    Raises:
        LaunchError: SLURM does not say what is in flight, or takes no job that would end the sweep later.
    """
    queued = with_retries(queued_jobs)
    names = [entry.name for entry in submission.entries().values() if entry.jobs_among(queued)]
    lost = [submission.points[i].point_job() for i in with_retries(lambda: lost_points(submission))]
    try:
        if lost:
            with_retries(lambda: queue_points(submission, lost, queued))
            names += [job.plan.name for job in lost]
    except LaunchError as error:
        log.warning("%s Points that vanished stay so: chemscale launch requeue-failed.", error)
    if names:
        job = with_retries(lambda: queue_finish(submission))
        log.info("Not at an end yet: %s. Job %s will fit the law.", ", ".join(names), job)
    return bool(names)


def lost_points(submission: Submission) -> list[str]:
    """Identities of points whose job ended without a verdict and that may be started again.

    Raises:
        LaunchError: the controller does not answer.
    """
    last = submission.newest_jobs()
    known = job_states(last.values())
    found = []
    for identity, job in last.items():
        entry, record = submission.points[identity], submission.record(identity)
        state = known.get(job, JobState())
        if (
            entry.cancelled
            or state.in_flight
            or (record is not None and record.state not in UNFINISHED_STATES)
        ):
            continue
        if state.state.startswith("CANCELLED") or has_verdict(submission, identity, state):
            continue
        if entry.attempts_left(record) > 0:
            log.info("%s: job %s ended %s: started again.", entry.name, job, state.describe_end())
            found.append(identity)
    return found


def has_verdict(submission: Submission, identity: str, state: JobState) -> bool:
    """Whether the newest job of a point said itself that it failed, rather than being ended from outside.

    Args:
        submission: the ledger's content.
        identity: of the point.
        state: of the job, as SLURM sees it.
    """
    entry = submission.points[identity]
    if read_verdict(submission.folder, entry.jobs[-1], entry.task) is not None:
        return True
    return entry.task is None and state.exit_code == "1:0"  # else it may be another point that failed


def correct_records(submission: Submission) -> None:
    """Let no record say that its point runs when no job works on it."""
    last = submission.newest_jobs()
    try:
        known = job_states(last.values())
    except LaunchError:
        return
    for identity, job in last.items():
        record, state = submission.record(identity), known.get(job, JobState())
        if record is None or record.state not in UNFINISHED_STATES or state.in_flight:
            continue
        why = read_verdict(submission.folder, job, submission.points[identity].task)
        if why is not None:
            record.state, record.reason = State.FAILED, why
        elif record.state is not State.PREEMPTED:
            record.state = State.PREEMPTED
            record.reason = f"job {job} ended: {state.describe_end()}, start {record.attempts}"
        _save(record, submission.root / identity)


def _save(record: RunRecord, directory: Path) -> None:
    with contextlib.suppress(OSError):  # a full disk: the record keeps what it said
        record.save(directory)
