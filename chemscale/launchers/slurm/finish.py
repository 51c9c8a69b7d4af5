"""The end of a sweep under SLURM: points that vanished are started again, then the law is fitted."""

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
from chemscale.launchers.ledger import Submission, ledger_lock, load
from chemscale.launchers.section import LaunchError
from chemscale.launchers.slurm.queue import JobState, queue, require_slurm, states
from chemscale.launchers.slurm.submit import in_flight, queue_finish, queue_points
from chemscale.launchers.worker import verdict
from chemscale.records import RunRecord, State

log = logging.getLogger(__name__)

T = TypeVar("T")

OPEN = (State.PLANNED, State.RUNNING, State.PREEMPTED)
"""States of a record whose point is to go on."""

PAUSES = (10, 30)
"""Seconds between questions to a controller that does not answer."""


def finish(root: Path) -> None:
    """Runs in the job that depends on all others, which SLURM starts even if some of them failed.

    A point that is still in flight (it was queued again meanwhile) is waited for by a new such job. One
    whose job ended without a verdict, because its batch script or its node was lost, gets a new job while
    ``launcher.max_attempts`` allows. Else the function that the sweep named ends it, and its exit status
    is this job's.
    """
    with ledger_lock(root):
        submission = load(root)
        try:
            goes_on = heal(submission) if _slurm_is_here() else False
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
            settle(submission)
            submission.save()
    if goes_on or submission.finish is None:
        return
    entries = [submission.points[identity] for identity in submission.sweep]
    configs = [OmegaConf.create(entry.config) for entry in entries]
    hooks.resolve(submission.finish)(submission.plans(), configs)


def _slurm_is_here() -> bool:
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


def patiently(ask: Callable[[], T]) -> T:
    """What a call gives, which a busy controller may refuse at first.

    Raises:
        LaunchError: it refused to the end.
    """
    for pause in PAUSES:
        try:
            return ask()
        except LaunchError as error:
            log.warning("%s Asked again in %d s.", error, pause)
            time.sleep(pause)
    return ask()


def heal(submission: Submission) -> bool:
    """Queue again what vanished; whether the end of the sweep was put off to a new job.

    Raises:
        LaunchError: SLURM does not say what is in flight, or takes no job that would end the sweep later.
    """
    waiting = patiently(queue)
    entries = [submission.points[identity] for identity in submission.sweep]
    names = [entry.plan["name"] for entry in entries if in_flight(entry, waiting)]
    lost = [submission.points[identity].job() for identity in patiently(lambda: vanished(submission))]
    try:
        if lost:
            patiently(lambda: queue_points(submission, lost, waiting))
            names += [job.plan.name for job in lost]
    except LaunchError as error:
        log.warning("%s Points that vanished stay so: chemscale launch requeue-failed.", error)
    if names:
        job = patiently(lambda: queue_finish(submission))
        log.info("Not at an end yet: %s. Job %s will fit the law.", ", ".join(names), job)
    return bool(names)


def vanished(submission: Submission) -> list[str]:
    """Identities of points that ended without a verdict and may be started again."""
    last = submission.newest_jobs()
    known = states(last.values())
    found = []
    for identity, job in last.items():
        entry, record = submission.points[identity], submission.record(identity)
        state = known.get(job, JobState())
        if entry.cancelled or state.in_flight or (record is not None and record.state not in OPEN):
            continue
        if state.state.startswith("CANCELLED") or has_verdict(submission, job, state):
            continue
        if entry.attempts_left(record) > 0:
            log.info("%s: job %s ended %s: started again.", entry.plan["name"], job, told(state))
            found.append(identity)
    return found


def has_verdict(submission: Submission, job: str, state: JobState) -> bool:
    """Whether a job said itself that its point failed, rather than being ended from outside."""
    return verdict(submission.folder, job) is not None or state.exit_code == "1:0"


def told(state: JobState) -> str:
    """How SLURM says that a job ended."""
    if not state.state:
        return "unknown to SLURM"
    return f"{state.state} ({state.exit_code})" if state.exit_code else state.state


def settle(submission: Submission) -> None:
    """Let no record say that its point runs when no job works on it."""
    last = submission.newest_jobs()
    try:
        known = states(last.values())
    except LaunchError:
        return
    for identity, job in last.items():
        record, state = submission.record(identity), known.get(job, JobState())
        if record is None or record.state not in OPEN or state.in_flight:
            continue
        why = verdict(submission.folder, job)
        if why is not None:
            record.state, record.reason = State.FAILED, why
        elif record.state is not State.PREEMPTED:
            record.state = State.PREEMPTED
            record.reason = f"job {job} ended: {told(state)}, start {record.attempts}"
        _save(record, submission.root / identity)


def _save(record: RunRecord, directory: Path) -> None:
    with contextlib.suppress(OSError):  # a full disk: the record keeps what it said
        record.save(directory)
