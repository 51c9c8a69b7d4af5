"""The ledger of launching: which job works on which point, in ``<sweep>/jobs/submission.json``."""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from chemscale.common.files import write_json
from chemscale.launchers.section import LaunchError
from chemscale.launchers.settings import PointJob
from chemscale.launchers.slurm.queue import is_local
from chemscale.records import RECORD_NAME, PointPlan, RunRecord

FOLDER = "jobs"
NAME = "submission.json"
SCHEMA = 1
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)

log = logging.getLogger(__name__)


@dataclass
class Entry:
    """One point of a sweep that was launched.

    Args:
        jobs: ids of the jobs that were given to it, oldest first.
        attempts_before: starts that its record counted when it was launched; the limit counts from there.
        launches: how often it was given a job since then.
        cancelled: a person cancelled it; it is not healed.
        argv: the command that launched it last.
        cwd: the directory that its relative paths start from.
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

    def job(self) -> PointJob:
        """Ready to be launched again."""
        plan = PointPlan(**{**self.plan, "directory": Path(self.plan["directory"])})
        return PointJob(plan, self.config, list(self.overrides))

    @property
    def max_attempts(self) -> int:
        return int(self.config["launcher"]["max_attempts"])

    def attempts_left(self, record: RunRecord | None) -> int:
        """Starts that remain; a job that died before its record counted it counts too."""
        started = (record.attempts if record else 0) - self.attempts_before
        return max(0, self.max_attempts - max(started, self.launches))


@dataclass
class Submission:
    """What was launched of a sweep.

    Args:
        argv: the command that launched it.
        finish: dotted name of the function that ends the sweep, None for a single point.
        code: the snapshot that its jobs run.
        cwd: the directory that relative paths of the configuration start from.
        sweep: identities of the points of the newest command, in its order; ``points`` may hold older ones.
        finish_jobs: ids, oldest first.
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
        return self.root / FOLDER

    def save(self) -> None:
        content = asdict(self) | {"schema": SCHEMA, "root": str(self.root)}
        write_json(self.folder / NAME, content)

    def record(self, identity: str) -> RunRecord | None:
        """A point's record, None before it began."""
        directory = self.root / identity
        return RunRecord.load(directory) if (directory / RECORD_NAME).exists() else None

    def newest_jobs(self) -> dict[str, str]:
        """SLURM's newest job of every point of the sweep; none for one that this machine started later."""
        last = {i: self.points[i].jobs[-1] for i in self.sweep if self.points[i].jobs}
        return {identity: job for identity, job in last.items() if not is_local(job)}

    def has_slurm_jobs(self) -> bool:
        """Whether SLURM was ever given a job of it."""
        jobs = [job for entry in self.points.values() for job in entry.jobs]
        return bool(self.finish_jobs) or any(not is_local(job) for job in jobs)

    def plans(self) -> list[PointPlan]:
        """Of the sweep's points, in order."""
        return [self.points[identity].job().plan for identity in self.sweep]

    def put(self, job: PointJob) -> Entry:
        """The entry of a point, new or brought up to date."""
        plan = asdict(job.plan) | {"directory": str(job.plan.directory)}
        known = self.points.get(job.plan.identity)
        entry = Entry(plan, job.config, list(job.overrides), jobs=known.jobs if known else [])
        if known is not None:
            entry.attempts_before, entry.launches = known.attempts_before, known.launches
            entry.cancelled = known.cancelled
        entry.argv, entry.cwd = list(self.argv), self.cwd
        self.points[job.plan.identity] = entry
        return entry


def load(root: Path) -> Submission:
    """The ledger of a sweep.

    Raises:
        LaunchError: nothing was launched there, or the file cannot be read.
    """
    path = Path(root) / FOLDER / NAME
    try:
        raw = json.loads(path.read_text())
    except FileNotFoundError:
        raise LaunchError(
            f"{root}: nothing was launched here ({path} does not exist). Give the directory of a sweep, "
            "runs/NAME, that was started with launcher=slurm or several local ranks."
        ) from None
    except json.JSONDecodeError as error:
        raise LaunchError(f"{path}: not valid JSON ({error}). Delete it and launch again.") from None
    if raw.pop("schema", None) != SCHEMA:
        raise LaunchError(f"{path}: written by another version of chemscale. Use that one.")
    raw["root"] = Path(root)
    raw["points"] = {identity: Entry(**entry) for identity, entry in raw["points"].items()}
    return Submission(**raw)


def load_or_none(root: Path) -> Submission | None:
    """The ledger of a sweep, None where nothing was launched."""
    return load(root) if (Path(root) / FOLDER / NAME).exists() else None


@contextlib.contextmanager
def ledger_lock(root: Path) -> Iterator[None]:
    """One process changes the ledger at a time: the command, a finish job that heals, `launch cancel`."""
    import fcntl

    folder = Path(root) / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            _warn_of_no_locks(folder)
        yield


@functools.cache
def _warn_of_no_locks(folder: Path) -> None:
    log.warning(
        "%s: this file system has no locks (Lustre: mount with -o flock). Give one command of chemscale at a "
        "time to this sweep.",
        folder,
    )
