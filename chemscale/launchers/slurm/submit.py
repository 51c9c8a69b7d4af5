"""Points as SLURM jobs: one array per resource shape, followers after what they begin from, then the law."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import FailedJobError, FailedSubmissionError

from chemscale.launchers import worker as in_job
from chemscale.launchers.ledger import Entry, Submission, ledger_lock, load_or_none
from chemscale.launchers.section import LaunchError
from chemscale.launchers.settings import PointJob, Shape, Site, levels
from chemscale.launchers.slurm.environment import outside_the_job
from chemscale.launchers.slurm.queue import command, queue, require_slurm
from chemscale.launchers.slurm.script import environment_lines, point_lines, python_command
from chemscale.launchers.snapshot import take_snapshot

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
        try:
            with all_or_nothing(new, fresh):
                queue_points(new, fresh, waiting)
                if finish is not None:
                    queue_finish(new)
        finally:
            new.save()  # whatever happened: an id that is not here is a job that nobody watches
    return new, [job.plan.identity for job in fresh]


def in_flight(entry: Entry, waiting: Mapping[str, Any]) -> bool:
    """Whether a job of this point waits or runs."""
    return any(job in waiting for job in entry.jobs)


@contextlib.contextmanager
def all_or_nothing(submission: Submission, fresh: Sequence[PointJob]) -> Iterator[None]:
    """Where what is within it raises, the jobs that it queued for points are cancelled and forgotten."""
    entries = [submission.points[job.plan.identity] for job in fresh]
    before = [(len(entry.jobs), entry.launches) for entry in entries]
    try:
        yield
    except BaseException:
        known = list(zip(entries, before, strict=True))
        queued = sorted({job.split("_")[0] for entry, (jobs, _) in known for job in entry.jobs[jobs:]})
        try:
            if queued:
                command("scancel", *queued)
        except LaunchError as error:
            log.error("%s These jobs stay queued: %s. Cancel: chemscale launch cancel.", error, queued)
        else:
            for entry, (jobs, launches) in known:
                del entry.jobs[jobs:]
                entry.launches = launches
        raise


def queue_points(submission: Submission, fresh: Sequence[PointJob], waiting: Mapping[str, Any]) -> None:
    """One array per level and shape, each level after the one before; the ledger learns the ids.

    Args:
        waiting: jobs in the queue; a point also comes after those of them that it begins from.

    Raises:
        LaunchError: sbatch refused; what this call had queued is cancelled.
    """
    before: list[str] = []
    flying = _flying(submission, fresh, waiting)
    with all_or_nothing(submission, fresh):
        for level, same in _grouped(fresh, levels(fresh)).items():
            now: list[str] = []
            for shaped in _grouped(same, [_key(submission, job, flying) for job in same]).values():
                after = (before if level else []) + _before(shaped[0], flying)
                for begin in range(0, len(shaped), LARGEST_ARRAY):
                    part = shaped[begin : begin + LARGEST_ARRAY]
                    now.append(_queue_array(submission, part, after)[0].split("_")[0])
            before = now


def _flying(
    submission: Submission, fresh: Sequence[PointJob], waiting: Mapping[str, Any]
) -> list[tuple[PointJob, list[str]]]:
    """Other points of the sweep, with their jobs that wait or run."""
    chosen = {job.plan.identity for job in fresh}
    others = [submission.points[i] for i in submission.sweep if i not in chosen]
    pairs = [(entry.job(), [job for job in entry.jobs if job in waiting]) for entry in others]
    return [(point, jobs) for point, jobs in pairs if jobs]


def _before(point: PointJob, flying: Sequence[tuple[PointJob, list[str]]]) -> list[str]:
    """Jobs in flight whose points leave what this one begins from."""
    shorter = [(other, jobs) for other, jobs in flying if other.plan.order < point.plan.order]
    return [job for other, jobs in shorter if levels([other, point]) == [0, 1] for job in jobs]


def _grouped(jobs: Sequence[PointJob], keys: Sequence[Any]) -> dict[Any, list[PointJob]]:
    groups: dict[Any, list[PointJob]] = {key: [] for key in sorted(set(keys), key=str)}
    for job, key in zip(jobs, keys, strict=True):
        groups[key].append(job)
    return groups


def _key(submission: Submission, job: PointJob, flying: Sequence[tuple[PointJob, list[str]]]) -> str:
    cwd = submission.points[job.plan.identity].cwd
    return repr((Shape.of(job.config), Site.of(job.config), cwd, _before(job, flying)))


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
        settings["mem"] = shape.memory_gib
    cwd = entries[0].cwd or submission.cwd
    settings, other = options(settings, {"requeue": True, "chdir": cwd}, site, site.extra, after)
    executor = _executor(folder, site, settings, other)
    try:
        with outside_the_job([*settings, *other]), executor.batch():
            queued = [
                executor.submit(
                    in_job.run_point,
                    job.config,
                    list(job.overrides),
                    entry.argv or submission.argv,
                    str(job.plan.directory),
                )
                for entry, job in zip(entries, points, strict=True)
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
    configs = [submission.points[identity].config for identity in submission.sweep]
    site = Site.of(configs[0])
    settings: dict[str, Any] = {
        "job_name": f"chemscale-{submission.root.name}-law",
        "nodes": 1,
        "ntasks_per_node": 1,
        "cpus_per_task": 1,
        "time": min(FINISH_MINUTES, max(int(config["launcher"]["minutes"]) for config in configs)),
        "setup": environment_lines(site, Path(submission.code)),
        "srun_args": ["--open-mode=append"],
    }
    folder = submission.folder.absolute()
    other: dict[str, Any] = {"requeue": True, "chdir": submission.cwd}
    settings, other = options(settings, other, site, without_devices(site.extra), after)
    executor = _executor(folder, site, settings, other)
    try:
        with outside_the_job([*settings, *other]):
            job = executor.submit(in_job.end_sweep, str(submission.root.absolute()), submission.argv)
    except (FailedSubmissionError, FailedJobError, ValueError) as error:
        raise refused(error, None) from None
    submission.finish_jobs.append(str(job.job_id))
    with contextlib.suppress(LaunchError):  # two of them fit the same law
        if old:
            command("scancel", *old)
    return str(job.job_id)


def _executor(
    folder: Path, site: Site, settings: dict[str, Any], other: dict[str, Any]
) -> submitit.SlurmExecutor:
    executor = submitit.SlurmExecutor(folder=folder, python=python_command(site, sys.executable))
    executor.update_parameters(stderr_to_stdout=True, wckey=None, additional_parameters=other, **settings)
    return executor


RIVALS = {
    "no_requeue": ("requeue",),
    "gpus": ("gpus_per_node",),
    "gpus_per_task": ("gpus_per_node",),
    "gpus_per_socket": ("gpus_per_node",),
    "mem_per_cpu": ("mem",),
    "mem_per_gpu": ("mem",),
}
"""Options of sbatch that do not go with one of ours."""


def options(
    settings: Mapping[str, Any],
    other: Mapping[str, Any],
    site: Site,
    extra: Mapping[str, Any],
    after: Sequence[str],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What submitit is told to ask for, and the other options of sbatch; ``site.extra`` wins over both.

    Args:
        extra: of the site; ``-`` and ``_`` are the same, and a value of null or false takes an option away.
        after: ids of jobs that this one waits for.
    """
    settings, other = dict(settings), dict(other)
    for key in ("partition", "account", "qos", "constraint"):
        if getattr(site, key) is not None:
            settings[key] = getattr(site, key)
    if after:
        other["dependency"] = "afterany:" + ":".join(after)
    for name, value in extra.items():
        key = canonical(name)
        if key == "dependency" and after and value:
            other[key] = f"{other[key]},{value}"
            continue
        gone = (
            key,
            *RIVALS.get(key, ()),
            *(("gpus_per_node",) if key == "gres" and "gpu" in str(value) else ()),
        )
        for taken in gone if value not in (None, False) else (key,):
            settings.pop(taken, None)
            other.pop(taken, None)
        if value is not None and value is not False:
            other["open-mode" if key == "open_mode" else key] = value  # as submitit spells it
    return settings, other


def canonical(option: str) -> str:
    """An option of sbatch as Python spells it."""
    return str(option).lstrip("-").replace("-", "_")


def without_devices(extra: Mapping[str, Any]) -> dict[str, Any]:
    """Other options of a site for a job that needs one core: no GPU and no node of its own."""

    def shapes(key: str) -> bool:
        named = key in ("exclusive", "gres", "gpus", "cpus_per_task", "nodes", "ntasks", "ntasks_per_node")
        return named or key.startswith(("gpus_per_", "gpu_")) or key.endswith("_per_gpu")

    return {key: value for key, value in extra.items() if not shapes(canonical(key))}


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
