"""What a person does with a launched sweep: cancel it, find a log, start again what failed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from chemscale.launchers.ledger import Submission, ledger_lock, load_ledger, load_slurm_ledger
from chemscale.launchers.section import LaunchError
from chemscale.launchers.slurm.arrays import all_or_nothing, queue_points
from chemscale.launchers.slurm.finish import queue_finish
from chemscale.launchers.slurm.queue import queued_jobs, require_slurm, run_command
from chemscale.launchers.snapshot import take_snapshot
from chemscale.records import State

RETRIED_STATES = (State.FAILED, State.RUNNING, State.PREEMPTED, State.PLANNED)
"""States of a record whose point, with no job in flight, did not end well."""
LAW = "law"
"""Stands for the job that ends the sweep where a point is named."""


def cancel(root: Path, points: Sequence[str]) -> str:
    """Cancel the jobs of points with all that share them, or of the whole sweep with the job that ends it.

    Args:
        root: the sweep's directory.
        points: names or identities; none for the whole sweep.

    Returns:
        What was done, in words.

    Raises:
        LaunchError: nothing was launched here by SLURM, or a point is unknown.
    """
    with ledger_lock(root):
        submission = load_ledger(root)
        if not submission.has_slurm_jobs():
            submission = load_slurm_ledger(root)
        queued = queued_jobs()
        chosen = [find_point(submission, point) for point in points] or list(submission.points)
        entries = [submission.points[identity] for identity in chosen]
        jobs = list(dict.fromkeys(job for entry in entries for job in entry.jobs_among(queued)))
        beside = [
            entry
            for entry in submission.points.values()
            if entry not in entries and set(entry.jobs_among(queued)) & set(jobs)
        ]
        for entry in (*entries, *beside):
            if entry.jobs_among(queued):
                entry.cancelled = True
        if not points:
            jobs += [job for job in submission.finish_jobs if job in queued]
        submission.save()
        if jobs:
            run_command("scancel", *jobs)
    sharing = f" (shared by {', '.join(entry.name for entry in beside)})" if beside else ""
    return f"cancelled: {', '.join(jobs)}{sharing}" if jobs else "nothing was in flight"


def requeue_failed(root: Path) -> str:
    """Queue again what did not end well, with the code as it is now.

    Args:
        root: the sweep's directory.

    Returns:
        What was done, in words.

    Raises:
        LaunchError: nothing was launched here by SLURM, or it refused a job.
    """
    require_slurm()
    with ledger_lock(root):
        submission = load_slurm_ledger(root)
        queued = queued_jobs()
        chosen = []
        for identity, entry in submission.entries().items():
            record = submission.record(identity)
            if entry.cancelled or entry.jobs_among(queued):
                continue
            if record is None or record.state in RETRIED_STATES:
                entry.reset_attempts(record)
                chosen.append(entry)
        if not chosen:
            return "nothing to start again: every point is done, in flight or cancelled"
        submission.code = str(take_snapshot(submission.root))
        jobs = [entry.point_job() for entry in chosen]
        ending = ""
        try:
            with all_or_nothing(submission, jobs):
                queue_points(submission, jobs, queued)
                if submission.finish is not None:
                    ending = f"\njob {queue_finish(submission)} fits the law"
        finally:
            submission.save()
    return "\n".join(f"{entry.name}: job {entry.jobs[-1]}" for entry in chosen) + ending


def newest_log(root: Path, point: str, rank: int) -> Path:
    """Find the log of a rank of a point's newest job that has one.

    Args:
        root: the sweep's directory.
        point: name or identity, or ``law``.
        rank: counted from 0.

    Raises:
        LaunchError: no such point, or it has written nothing yet.
    """
    submission = load_ledger(root)
    of_a_point = point != LAW
    entry = submission.points[find_point(submission, point)] if of_a_point else None
    jobs = submission.finish_jobs if entry is None else entry.jobs
    first = 0 if entry is None else entry.task or 0
    for job in reversed(jobs):
        path = submission.log_path(job, first + rank)
        if path.exists():
            return path
    raise LaunchError(f"{point}: rank {rank} has written nothing yet (jobs: {', '.join(jobs) or 'none'}).")


def find_point(submission: Submission, point: str) -> str:
    """Find the identity of a point by its name or by how its identity begins.

    Args:
        submission: what was launched.
        point: name, or the beginning of an identity.

    Raises:
        LaunchError: none, or several.
    """
    found = [
        identity
        for identity, entry in submission.points.items()
        if entry.name == point or identity.startswith(point)
    ]
    if len(found) == 1:
        return found[0]
    names = ", ".join(f"{entry.name} ({identity})" for identity, entry in submission.points.items())
    raise LaunchError(f"{point}: {len(found)} points of {submission.root} match. It has {names}.")
