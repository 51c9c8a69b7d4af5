"""The ledger of launching: which job works on which point, in ``<sweep>/jobs/submission.json``."""

from __future__ import annotations

import json
from collections.abc import Container
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from chemscale.common.files import read_regular, write_json
from chemscale.common.locks import file_lock
from chemscale.launchers.section import LaunchError
from chemscale.launchers.settings import PointJob
from chemscale.launchers.slurm.queue import is_local
from chemscale.objects.address import local_place
from chemscale.records import RECORD_NAME, PointPlan, RunRecord

JOBS_FOLDER = "jobs"
LEDGER_NAME = "submission.json"
SCHEMA = 1


@dataclass
class Entry:
    """One point of a sweep that was launched. Its fields are keys of the file.

    Args:
        plan: the fields of its ``PointPlan``.
        config: the resolved configuration.
        overrides: what it was composed from.
        jobs: ids of the jobs that were given to it, oldest first.
        attempts_before: starts that its record counted when it was launched; the limit counts from there.
        launches: how often it was given a job since then.
        cancelled: a person cancelled it; it is not queued again by itself.
        argv: the command that launched it last.
        cwd: the directory that its relative paths start from.
        task: which task of its newest job it is, where points share a job; None where the job is its own.
    """

    plan: dict[str, Any]
    config: dict[str, Any]
    overrides: list[str]
    jobs: list[str] = field(default_factory=list)
    attempts_before: int = 0
    launches: int = 0
    cancelled: bool = False
    argv: list[str] = field(default_factory=list)
    cwd: str = ""
    task: int | None = None

    @property
    def name(self) -> str:
        """The point's name."""
        return str(self.plan["name"])

    def point_job(self) -> PointJob:
        """The point, ready to be launched again."""
        plan = PointPlan(**{**self.plan, "directory": Path(self.plan["directory"])})
        return PointJob(plan, self.config, list(self.overrides))

    @property
    def max_attempts(self) -> int:
        """Starts that it may have in all."""
        return self.point_job().launcher.max_attempts

    def attempts_left(self, record: RunRecord | None) -> int:
        """Starts that remain; a job that died before its record counted it counts too."""
        started = (record.attempts if record else 0) - self.attempts_before
        return max(0, self.max_attempts - max(started, self.launches))

    def jobs_among(self, queued: Container[str]) -> list[str]:
        """Those of its jobs that wait or run.

        Args:
            queued: ids in SLURM's queue.
        """
        return [job for job in self.jobs if job in queued]

    def reset_attempts(self, record: RunRecord | None) -> None:
        """Count its starts from now on."""
        self.attempts_before, self.launches = record.attempts if record else 0, 0


@dataclass
class Submission:
    """What was launched of a sweep: the content of the ledger. Its fields are keys of the file.

    Args:
        root: the sweep's directory.
        launcher: ``local`` or ``slurm``.
        argv: the command that launched it.
        finish: dotted name of the function that ends the sweep, None for a single point.
        code: the snapshot that its jobs run.
        cwd: the directory that relative paths of the configuration start from.
        sweep: identities of the points of the newest command, in its order; ``points`` may hold older ones.
        points: every point that was ever launched here, by identity.
        finish_jobs: ids of the jobs that end the sweep, oldest first.
    """

    root: Path
    launcher: str
    argv: list[str]
    finish: str | None
    code: str
    cwd: str
    sweep: list[str] = field(default_factory=list)
    points: dict[str, Entry] = field(default_factory=dict)
    finish_jobs: list[str] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        """Where logs, pickles and batch scripts lie."""
        return self.root / JOBS_FOLDER

    def log_path(self, job: str, rank: int) -> Path:
        """Where a rank of a job writes, with the name that submitit gives it."""
        return self.folder / f"{job}_{rank}_log.out"

    def save(self) -> None:
        """Write the file; the caller holds ``ledger_lock``."""
        content = asdict(self) | {"schema": SCHEMA, "root": str(self.root)}
        write_json(self.folder / LEDGER_NAME, content)

    def save_entry(self, identity: str) -> None:
        """Write one entry, and leave what other commands wrote meanwhile as it is."""
        with ledger_lock(self.root):
            on_disk = load_ledger(self.root)
            entry, known = self.points[identity], on_disk.points.get(identity)
            entry.jobs[:0] = [job for job in known.jobs if job not in entry.jobs] if known else []
            on_disk.points[identity] = entry
            on_disk.save()

    def entries(self) -> dict[str, Entry]:
        """Points of the newest command by identity, in its order."""
        return {identity: self.points[identity] for identity in self.sweep}

    def record(self, identity: str) -> RunRecord | None:
        """A point's record, None before it began."""
        directory = self.root / identity
        return RunRecord.load(directory) if (directory / RECORD_NAME).exists() else None

    def newest_jobs(self) -> dict[str, str]:
        """SLURM's newest job of every point of the sweep; none for one that this machine started later."""
        last = {identity: entry.jobs[-1] for identity, entry in self.entries().items() if entry.jobs}
        return {identity: job for identity, job in last.items() if not is_local(job)}

    def has_slurm_jobs(self) -> bool:
        """Whether SLURM was ever given a job of it."""
        jobs = [job for entry in self.points.values() for job in entry.jobs]
        return bool(self.finish_jobs) or any(not is_local(job) for job in jobs)

    def plans(self) -> list[PointPlan]:
        """Of the sweep's points, in order."""
        return [entry.point_job().plan for entry in self.entries().values()]

    def add(self, job: PointJob) -> Entry:
        """The entry of a point, new or brought up to date."""
        plan = asdict(job.plan) | {"directory": str(job.plan.directory)}
        known = self.points.get(job.plan.identity)
        entry = Entry(plan, job.config, list(job.overrides), jobs=known.jobs if known else [])
        if known is not None:
            entry.attempts_before, entry.launches = known.attempts_before, known.launches
            entry.cancelled, entry.task = known.cancelled, known.task
        entry.argv, entry.cwd = list(self.argv), self.cwd
        self.points[job.plan.identity] = entry
        return entry


def load_ledger(root: Path) -> Submission:
    """Read the ledger of a sweep.

    Raises:
        LaunchError: nothing was launched there, or the file cannot be read.
    """
    root = local_place(root)
    path = root / JOBS_FOLDER / LEDGER_NAME
    try:
        raw = json.loads(read_regular(path))
    except FileNotFoundError:
        raise LaunchError(
            f"{root}: nothing was launched here ({path} does not exist). Give the directory of a sweep, "
            "runs/NAME, that was started with launcher=slurm or several local ranks."
        ) from None
    except ValueError as error:
        raise LaunchError(f"{path}: not valid JSON ({error}). Delete it and launch again.") from None
    except OSError as error:
        raise LaunchError(f"{path}: cannot be read ({error.strerror or error}).") from None
    if raw.pop("schema", None) != SCHEMA:
        raise LaunchError(f"{path}: written by another version of chemscale. Use that one.")
    raw["root"] = Path(root)
    raw["points"] = {identity: Entry(**entry) for identity, entry in raw["points"].items()}
    return Submission(**raw)


def load_ledger_or_none(root: Path) -> Submission | None:
    """Read the ledger of a sweep; None where nothing was launched."""
    return load_ledger(root) if (Path(root) / JOBS_FOLDER / LEDGER_NAME).exists() else None


def load_slurm_ledger(root: Path) -> Submission:
    """Read the ledger of a sweep that SLURM runs.

    Raises:
        LaunchError: nothing was launched there, or by another launcher.
    """
    submission = load_ledger(root)
    if submission.launcher != "slurm":
        raise LaunchError(
            f"{root} was launched with launcher={submission.launcher}: Ctrl-C stops it, the same command "
            "continues it."
        )
    return submission


def ledger_lock(root: Path) -> AbstractContextManager[IO[str]]:
    """One process changes the ledger at a time: the command, the job that ends the sweep, `launch cancel`."""
    return file_lock(
        local_place(root) / JOBS_FOLDER / ".lock",
        without="give one command of chemscale at a time to this sweep",
    )
