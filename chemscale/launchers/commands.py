"""What a person does with a launched sweep: cancel, read logs, start again what failed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from chemscale.launchers.ledger import Submission, ledger_lock, load
from chemscale.launchers.local import log_of
from chemscale.launchers.section import LaunchError
from chemscale.launchers.slurm.queue import command, queue, require_slurm
from chemscale.launchers.slurm.submit import all_or_nothing, in_flight, queue_finish, queue_points
from chemscale.launchers.snapshot import take_snapshot
from chemscale.records import State

AGAIN = (State.FAILED, State.RUNNING, State.PREEMPTED, State.PLANNED)
"""States of a record whose point, with no job in flight, did not end well."""


def cancel(root: Path, points: Sequence[str]) -> str:
    """Cancel the jobs of points, or of the whole sweep with the job that ends it.

    Returns:
        What was done, in words.

    Raises:
        LaunchError: nothing was launched here by SLURM, or a point is unknown.
    """
    with ledger_lock(root):
        submission = load(root)
        if not submission.has_slurm_jobs():
            submission = by_slurm(root)
        waiting = queue()
        chosen = [identity_of(submission, point) for point in points] or list(submission.points)
        jobs = [job for identity in chosen for job in submission.points[identity].jobs if job in waiting]
        if not points:
            jobs += [job for job in submission.finish_jobs if job in waiting]
        for identity in chosen:
            if in_flight(submission.points[identity], waiting):
                submission.points[identity].cancelled = True
        submission.save()
        if jobs:
            command("scancel", *jobs)
    return f"cancelled: {', '.join(jobs)}" if jobs else "nothing was in flight"


def requeue_failed(root: Path) -> str:
    """Queue again what did not end well, with the code as it is now.

    Returns:
        What was done, in words.

    Raises:
        LaunchError: nothing was launched here by SLURM.
    """
    require_slurm()
    with ledger_lock(root):
        submission = by_slurm(root)
        waiting = queue()
        chosen = []
        for identity in submission.sweep:
            entry, record = submission.points[identity], submission.record(identity)
            if entry.cancelled or in_flight(entry, waiting):
                continue
            if record is None or record.state in AGAIN:
                entry.attempts_before, entry.launches = record.attempts if record else 0, 0
                chosen.append(identity)
        if not chosen:
            return "nothing to start again: every point is done, in flight or cancelled"
        submission.code = str(take_snapshot(root))
        fresh = [submission.points[identity].job() for identity in chosen]
        ending = ""
        try:
            with all_or_nothing(submission, fresh):
                queue_points(submission, fresh, waiting)
                if submission.finish is not None:
                    ending = f"\njob {queue_finish(submission)} fits the law"
        finally:
            submission.save()
    names = [f"{submission.points[i].plan['name']}: job {submission.points[i].jobs[-1]}" for i in chosen]
    return "\n".join(names) + ending


def log_path(root: Path, point: str, rank: int) -> Path:
    """The log of a rank of a point's newest job that has one.

    Raises:
        LaunchError: no such point, or it has written nothing yet.
    """
    submission = load(root)
    jobs = (
        submission.finish_jobs if point == "law" else submission.points[identity_of(submission, point)].jobs
    )
    for job in reversed(jobs):
        path = log_of(submission.folder, job, rank)
        if path.exists():
            return path
    raise LaunchError(f"{point}: rank {rank} has written nothing yet (jobs: {', '.join(jobs) or 'none'}).")


def identity_of(submission: Submission, point: str) -> str:
    """A point by its name or the beginning of its identity.

    Raises:
        LaunchError: none, or several.
    """
    found = [
        identity
        for identity, entry in submission.points.items()
        if entry.plan["name"] == point or identity.startswith(point)
    ]
    if len(found) == 1:
        return found[0]
    names = ", ".join(f"{entry.plan['name']} ({i})" for i, entry in submission.points.items())
    raise LaunchError(f"{point}: {len(found)} points of {submission.root} match. It has {names}.")


def by_slurm(root: Path) -> Submission:
    """The ledger of a sweep that SLURM runs.

    Raises:
        LaunchError: another launcher.
    """
    submission = load(root)
    if submission.launcher != "slurm":
        raise LaunchError(
            f"{root} was launched with launcher={submission.launcher}: Ctrl-C stops it, the same command "
            "continues it."
        )
    return submission
