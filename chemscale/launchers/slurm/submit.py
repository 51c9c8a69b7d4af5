"""Submitting a sweep to SLURM: what is missing of it and not in flight, and the job that ends it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from chemscale.launchers.ledger import Submission, ledger_lock, load_ledger_or_none
from chemscale.launchers.settings import PointJob
from chemscale.launchers.slurm.arrays import all_or_nothing, queue_points
from chemscale.launchers.slurm.finish import queue_finish
from chemscale.launchers.slurm.queue import queued_jobs, require_slurm
from chemscale.launchers.slurm.resources import Site, SlurmResources
from chemscale.launchers.snapshot import take_snapshot


def submit(
    missing: Sequence[PointJob], sweep: Sequence[PointJob], *, finish: str | None
) -> tuple[Submission, list[str]]:
    """Queue what is missing of a sweep and not in flight, and the job that ends it.

    Args:
        missing: points that are not done.
        sweep: all points, done ones too.
        finish: dotted name of the function that ends the sweep; None where nothing comes after the points.

    Returns:
        The ledger's content, and the identities of the points that were queued now.

    Raises:
        ConfigurationError: a key of ``launcher`` or ``site`` that makes no sense.
        LaunchError: no SLURM here, a value out of its range, or sbatch refused; nothing stays queued.
    """
    require_slurm()
    for job in missing:
        SlurmResources.of(job), Site.of(job.config)  # refused before anything is queued
    root = sweep[0].root
    with ledger_lock(root):
        queued = queued_jobs()
        old = load_ledger_or_none(root)
        new = Submission(root, "slurm", list(sys.argv), finish, str(take_snapshot(root)), os.getcwd())
        if old is not None:
            new.points, new.finish_jobs = old.points, old.finish_jobs
        new.sweep = [job.plan.identity for job in sweep]
        if finish is None and old is not None:  # single points that share a directory
            new.sweep = [*(i for i in old.sweep if i not in new.sweep), *new.sweep]
        entries = {job.plan.identity: new.add(job) for job in sweep}
        fresh = [job for job in missing if not entries[job.plan.identity].jobs_among(queued)]
        for job in fresh:
            entry = entries[job.plan.identity]
            entry.reset_attempts(new.record(job.plan.identity))
            entry.cancelled = False
        try:
            with all_or_nothing(new, fresh):
                queue_points(new, fresh, queued)
                if finish is not None:
                    queue_finish(new)
        finally:
            new.save()  # whatever happened: an id that is not here is a job that nobody watches
    return new, [job.plan.identity for job in fresh]
