"""Points as SLURM job arrays: one a kind of resources, followers after the points that they begin from."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Container, Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from chemscale.launchers import worker
from chemscale.launchers.ledger import Submission
from chemscale.launchers.section import LaunchError
from chemscale.launchers.settings import PointJob, dependency_levels
from chemscale.launchers.slurm.bundle import Bundle, run_bundle
from chemscale.launchers.slurm.queue import run_command
from chemscale.launchers.slurm.resources import Site, SlurmResources
from chemscale.launchers.slurm.sbatch import SbatchOptions, canonical_name, sbatch
from chemscale.launchers.slurm.script import SHARING_LINES, point_lines

log = logging.getLogger(__name__)

Key = TypeVar("Key", bound=Hashable)
InFlight = Sequence[tuple[PointJob, list[str]]]
"""Points, each with its jobs that wait or run."""

MAX_ARRAY_SIZE = 1000
"""SLURM's MaxArraySize, as it comes, less one."""


@contextlib.contextmanager
def all_or_nothing(submission: Submission, fresh: Sequence[PointJob]) -> Iterator[None]:
    """Where what is within it raises, the jobs that it queued for points are cancelled and forgotten.

    Args:
        submission: the ledger's content, which learns of jobs within the block.
        fresh: points that are queued within it.
    """
    entries = [submission.points[job.plan.identity] for job in fresh]
    before = [(len(entry.jobs), entry.launches) for entry in entries]
    try:
        yield
    except BaseException:
        known = list(zip(entries, before, strict=True))
        queued = sorted({array_of(job) for entry, (jobs, _) in known for job in entry.jobs[jobs:]})
        try:
            if queued:
                run_command("scancel", *queued)
        except LaunchError as error:
            log.error("%s These jobs stay queued: %s. Cancel: chemscale launch cancel.", error, queued)
        else:
            for entry, (jobs, launches) in known:
                del entry.jobs[jobs:]
                entry.launches = launches
        raise


def queue_points(submission: Submission, fresh: Sequence[PointJob], queued: Container[str]) -> None:
    """Queue one array per level and kind of resources, each level after the one before.

    Args:
        submission: the ledger's content, which learns the ids.
        fresh: points to be queued.
        queued: ids in SLURM's queue; a point also comes after those of them that it begins from.

    Raises:
        LaunchError: sbatch refused; what this call had queued is cancelled.
    """
    before: list[str] = []
    others = others_in_flight(submission, fresh, queued)
    with all_or_nothing(submission, fresh):
        for level, same_level in _grouped(fresh, dependency_levels(fresh)).items():
            now: list[str] = []
            keys = [_array_key(submission, job, others) for job in same_level]
            for alike in _grouped(same_level, keys).values():
                after = (before if level else []) + _jobs_before(alike[0], others)
                size = MAX_ARRAY_SIZE * alike[0].launcher.per_gpu
                for begin in range(0, len(alike), size):
                    now.append(_queue_array(submission, alike[begin : begin + size], after))
            before = now


def others_in_flight(submission: Submission, fresh: Sequence[PointJob], queued: Container[str]) -> InFlight:
    """Other points of the sweep, with their jobs that wait or run.

    Args:
        submission: the ledger's content.
        fresh: points that are left out.
        queued: ids in SLURM's queue.
    """
    chosen = {job.plan.identity for job in fresh}
    entries = [entry for identity, entry in submission.entries().items() if identity not in chosen]
    pairs = [(entry.point_job(), entry.jobs_among(queued)) for entry in entries]
    return [(point, jobs) for point, jobs in pairs if jobs]


def array_of(job: str) -> str:
    """The id of the array that a job is an element of; its own id if it is none."""
    return job.split("_")[0]


def _jobs_before(point: PointJob, others: InFlight) -> list[str]:
    """Jobs in flight whose points leave what this one begins from."""
    shorter = [(other, jobs) for other, jobs in others if other.plan.order < point.plan.order]
    return [job for other, jobs in shorter if dependency_levels([other, point]) == [0, 1] for job in jobs]


def _grouped(jobs: Sequence[PointJob], keys: Sequence[Key]) -> dict[Key, list[PointJob]]:
    groups: dict[Key, list[PointJob]] = {key: [] for key in sorted(set(keys), key=str)}
    for job, key in zip(jobs, keys, strict=True):
        groups[key].append(job)
    return groups


def _array_key(submission: Submission, job: PointJob, others: InFlight) -> str:
    """The same text for points that may share an array."""
    cwd = submission.points[job.plan.identity].cwd
    return repr((SlurmResources.of(job), Site.of(job.config), cwd, _jobs_before(job, others)))


def _queue_array(submission: Submission, points: Sequence[PointJob], after: Sequence[str]) -> str:
    """Queue points as one array, write their jobs into the ledger's content, and return the array's id."""
    resources, site = SlurmResources.of(points[0]), Site.of(points[0].config)
    entries = [submission.points[job.plan.identity] for job in points]
    left = [
        entry.attempts_left(submission.record(job.plan.identity))
        for entry, job in zip(entries, points, strict=True)
    ]
    together = resources.per_gpu
    limits = [max(left[begin : begin + together]) for begin in range(0, len(left), together)]
    folder = submission.folder.absolute()
    options = resource_options(resources)
    sharing = SHARING_LINES if together > 1 and resources.with_gpus else []
    options.parameters |= {
        "job_name": f"chemscale-{submission.root.name}",
        "setup": [
            *point_lines(site, Path(submission.code), folder, limits, bundled=together > 1),
            *sharing,
        ],
    }
    if resources.with_gpus and "gpu_bind" not in map(canonical_name, site.extra):
        # Ranks that see each other's GPUs copy between them directly, and each knows its own.
        options.parameters["srun_args"].append("--gpu-bind=none")
    options.additional |= {"requeue": True, "chdir": entries[0].cwd or submission.cwd}
    options.add_site(site, after)
    calls = [(job.config, list(job.overrides), str(job.plan.directory)) for job in points]
    of_sbatch: dict[str, Any] = {"folder": folder, "site": site, "options": options, "resources": resources}
    if together == 1:
        queued = sbatch(worker.run_point, calls, **of_sbatch)
    else:
        bundles: list[Bundle] = [calls[b : b + together] for b in range(0, len(calls), together)]
        queued = sbatch(run_bundle, [(bundle,) for bundle in bundles], **of_sbatch)
    for number, entry in enumerate(entries):
        entry.jobs.append(queued[number // together])
        entry.task = None if together == 1 else number % together
        entry.launches += 1
    return array_of(queued[0])


def resource_options(resources: SlurmResources) -> SbatchOptions:
    """Options of sbatch by which an array asks for what its points need."""
    options = SbatchOptions(
        {
            "nodes": resources.nodes,
            "ntasks_per_node": resources.gpus_per_node * resources.per_gpu,
            "cpus_per_task": resources.cpus_per_rank,
            "time": resources.minutes,
            "signal_delay_s": resources.signal_seconds,
            "array_parallelism": resources.parallel or MAX_ARRAY_SIZE,
            # Ranks end with one another; points that share a job do not.
            "srun_args": [f"--kill-on-bad-exit={int(resources.per_gpu == 1)}", "--open-mode=append"],
        }
    )
    if resources.per_gpu > 1:
        options.parameters["srun_args"].append("--wait=0")
    if resources.with_gpus:
        options.parameters["gpus_per_node"] = resources.gpus_per_node
    if resources.memory_gib is not None:
        options.parameters["mem"] = resources.memory_gib
    return options
