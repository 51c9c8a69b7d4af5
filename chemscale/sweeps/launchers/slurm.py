"""Points as SLURM jobs: one array per resource shape, followers after what they begin from, then the law."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import FailedJobError, FailedSubmissionError

from chemscale.sweeps.launchers import jobs as in_job
from chemscale.sweeps.launchers.script import environment_lines, point_lines, python_command
from chemscale.sweeps.launchers.settings import LaunchError, PointJob, Shape, Site, levels
from chemscale.sweeps.launchers.snapshot import take_snapshot
from chemscale.sweeps.launchers.states import command, queue, require_slurm
from chemscale.sweeps.launchers.submission import Entry, Submission, ledger_lock, load_or_none

log = logging.getLogger(__name__)

FINISH_MINUTES = 60
NO_SUCH_NODES = ("node configuration is not available", "generic resource (gres)")
LARGEST_ARRAY = 1000
"""MaxArraySize, as SLURM comes."""


def submit(
    missing: Sequence[PointJob], sweep: Sequence[PointJob], *, finish: str | None
) -> tuple[Submission, list[str]]:
    """Queue what is missing of a sweep and not in flight, and the job that ends it.

    Args:
        missing: points that are not done.
        sweep: all points, done ones too.
        finish: dotted name of the function that ends the sweep; None where nothing comes after the points.

    Returns:
        The ledger, and the identities of the points that were queued now.

    Raises:
        LaunchError: no SLURM here, a setting that makes no sense, or sbatch refused; nothing stays queued.
    """
    require_slurm()
    for job in missing:
        Shape.of(job.config), Site.of(job.config)  # refused before anything is queued
    root = sweep[0].root
    with ledger_lock(root):
        waiting = queue()
        old = load_or_none(root)
        new = Submission(root, "slurm", list(sys.argv), finish, str(take_snapshot(root)), os.getcwd())
        if old is not None:
            new.points, new.finish_jobs = old.points, old.finish_jobs
        new.sweep = [job.plan.identity for job in sweep]
        if finish is None and old is not None:  # single points that share a directory
            new.sweep = [*(i for i in old.sweep if i not in new.sweep), *new.sweep]
        entries = {job.plan.identity: new.put(job) for job in sweep}
        fresh = [job for job in missing if not in_flight(entries[job.plan.identity], waiting)]
        for job in fresh:
            entry, record = entries[job.plan.identity], new.record(job.plan.identity)
            entry.attempts_before = record.attempts if record else 0
            entry.launches, entry.cancelled = 0, False
        queue_points(new, fresh)
        if finish is not None:
            queue_finish(new)
        new.save()
    return new, [job.plan.identity for job in fresh]


def in_flight(entry: Entry, waiting: Mapping[str, Any]) -> bool:
    """Whether a job of this point waits or runs."""
    return any(job in waiting for job in entry.jobs)


def queue_points(submission: Submission, fresh: Sequence[PointJob]) -> list[str]:
    """One array per level and shape, each level after the one before; the ledger learns the ids.

    Raises:
        LaunchError: sbatch refused; what this call had queued is cancelled.
    """
    queued: list[str] = []
    before: list[str] = []
    try:
        for level, same in _grouped(fresh, levels(fresh)).items():
            now = []
            for shaped in _grouped(same, [_key(job) for job in same]).values():
                for begin in range(0, len(shaped), LARGEST_ARRAY):
                    part = shaped[begin : begin + LARGEST_ARRAY]
                    ids = _queue_array(submission, part, before if level else [])
                    now.append(ids[0].split("_")[0])
                    queued.append(now[-1])
            before = now
    except BaseException:
        if queued:
            command("scancel", *queued)
        raise
    return queued


def _grouped(jobs: Sequence[PointJob], keys: Sequence[Any]) -> dict[Any, list[PointJob]]:
    groups: dict[Any, list[PointJob]] = {key: [] for key in sorted(set(keys), key=str)}
    for job, key in zip(jobs, keys, strict=True):
        groups[key].append(job)
    return groups


def _key(job: PointJob) -> str:
    return repr((Shape.of(job.config), Site.of(job.config)))


def _queue_array(submission: Submission, points: Sequence[PointJob], after: Sequence[str]) -> list[str]:
    shape, site = Shape.of(points[0].config), Site.of(points[0].config)
    entries = [submission.points[job.plan.identity] for job in points]
    limits = [
        entry.attempts_left(submission.record(job.plan.identity))
        for entry, job in zip(entries, points, strict=True)
    ]
    folder = submission.folder.absolute()
    settings: dict[str, Any] = {
        "job_name": f"chemscale-{submission.root.name}",
        "nodes": shape.nodes,
        "ntasks_per_node": shape.gpus_per_node,
        "cpus_per_task": shape.cpus_per_rank,
        "time": shape.minutes,
        "signal_delay_s": shape.signal_seconds,
        "array_parallelism": shape.parallel or LARGEST_ARRAY,
        "setup": point_lines(site, Path(submission.code), folder, limits),
        "srun_args": ["--kill-on-bad-exit=1", "--open-mode=append"],
    }
    if shape.with_gpus:
        settings["gpus_per_node"] = shape.gpus_per_node
    if shape.memory_gib is not None:
        settings["mem_gb"] = shape.memory_gib
    executor = _executor(folder, submission, site, settings, after)
    try:
        with executor.batch():
            queued = [
                executor.submit(
                    in_job.run_point,
                    job.config,
                    list(job.overrides),
                    submission.argv,
                    str(job.plan.directory),
                )
                for job in points
            ]
    except (FailedSubmissionError, FailedJobError, ValueError) as error:
        raise refused(error, shape) from None
    for entry, job in zip(entries, queued, strict=True):
        entry.jobs.append(str(job.job_id))
        entry.launches += 1
    return [job.job_id for job in queued]


def queue_finish(submission: Submission) -> str:
    """The job that ends the sweep, after all that is in flight; it takes the place of one that waits."""
    waiting = queue()
    old = [job for job in submission.finish_jobs if job in waiting and waiting[job].state == "PENDING"]
    own = [job for identity in submission.sweep for job in submission.points[identity].jobs]
    after = sorted({job.split("_")[0] for job in own if job in waiting})
    first = submission.points[submission.sweep[0]].config
    site = Site.of(first)
    settings: dict[str, Any] = {
        "job_name": f"chemscale-{submission.root.name}-law",
        "nodes": 1,
        "ntasks_per_node": 1,
        "time": FINISH_MINUTES,
        "setup": environment_lines(site, Path(submission.code)),
        "srun_args": ["--open-mode=append"],
    }
    folder = submission.folder.absolute()
    executor = _executor(folder, submission, site, settings, after)
    try:
        job = executor.submit(in_job.end_sweep, str(submission.root.absolute()), submission.argv)
    except (FailedSubmissionError, FailedJobError, ValueError) as error:
        raise refused(error, None) from None
    submission.finish_jobs.append(str(job.job_id))
    if old:
        command("scancel", *old)
    return str(job.job_id)


def _executor(
    folder: Path, submission: Submission, site: Site, settings: dict[str, Any], after: Sequence[str]
) -> submitit.SlurmExecutor:
    python = python_command(site, sys.executable)
    executor = submitit.SlurmExecutor(folder=folder, python=python)
    other: dict[str, Any] = {"requeue": True, "chdir": submission.cwd}
    for key in ("partition", "account", "qos", "constraint"):
        if getattr(site, key) is not None:
            settings[key] = getattr(site, key)
    if after:
        other["dependency"] = "afterany:" + ":".join(after)
    other |= {str(key).replace("_", "-"): value for key, value in site.extra.items() if value is not False}
    settings["wckey"] = None
    executor.update_parameters(stderr_to_stdout=True, additional_parameters=other, **settings)
    return executor


def refused(error: Exception, shape: Shape | None) -> LaunchError:
    """What sbatch said, and what it usually means."""
    said = " ".join(line.strip() for line in str(error).splitlines() if "sbatch: error" in line)
    said = said or str(error).strip().splitlines()[-1]
    hint = "Check the site profile (site=NAME, launch/site/)."
    if shape is not None and shape.with_gpus and any(words in said for words in NO_SUCH_NODES):
        hint = (
            f"No node has {shape.gpus_per_node} GPUs, {shape.cpus_per_rank} cores a rank and this memory: "
            "check launcher.* and site.*; for nodes without GPUs set trainer.accelerator=cpu."
        )
    return LaunchError(f"SLURM refused the job: {said} {hint}")
