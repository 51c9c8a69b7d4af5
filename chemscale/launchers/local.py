"""Points as processes of this machine: several ranks each, several points at once on GPUs of their own.

The processes run submitit's entry point and see its local environment, so that a rank is the same program
here and under SLURM. submitit's own local executor does not fit: it waits for ever for a rank whose peer has
died, ends a run two minutes (or what is set) after it began, and gives one second to save after Ctrl-C.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import IO, Any

from submitit.core.utils import DelayedSubmission

from chemscale.common.exit_status import START_AGAIN
from chemscale.launchers import worker as in_job
from chemscale.launchers.ledger import Submission, ledger_lock, load, load_or_none
from chemscale.launchers.section import LaunchError
from chemscale.launchers.settings import PointJob, levels, whole
from chemscale.launchers.slurm.queue import queue
from chemscale.launchers.status import Watch, rows
from chemscale.records import State

log = logging.getLogger(__name__)

POLL_SECONDS = 0.1
SHOW_SECONDS = 0.5
AFTER_A_LOSS = {START_AGAIN: 60.0}
"""Seconds for the other ranks to end by themselves: those of a saving point finish their part."""
AFTER_ANY_LOSS = 5.0
TO_KILL = 10.0


class Stop:
    """Within ``with Stop() as stop`` Ctrl-C and SIGTERM are counted instead of raised."""

    def __init__(self) -> None:
        self.count = 0
        self.name = ""
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        self.name = signal.Signals(number).name


@dataclass
class Attempt:
    """The ranks of one start of a point."""

    job: PointJob
    slot: int
    name: str
    ranks: list[subprocess.Popen[bytes]]
    logs: list[IO[bytes]]
    first_end: float | None = None
    told: list[float] = field(default_factory=list)

    def codes(self) -> list[int | None]:
        """Exit status of every rank as a shell tells it, None while it runs."""
        found = [rank.poll() for rank in self.ranks]
        return [128 - code if code is not None and code < 0 else code for code in found]

    def signal(self, number: int) -> None:
        for rank in self.ranks:
            if rank.poll() is None:
                rank.send_signal(number)

    def end_with_the_first(self, now: float) -> None:
        """No rank waits for ever for one that is gone."""
        bad = [code for code in self.codes() if code]
        if not bad or None not in self.codes():
            return
        self.first_end = self.first_end or now
        patience = max(AFTER_A_LOSS.get(code, AFTER_ANY_LOSS) for code in bad)
        if now - self.first_end > patience and not self.told:
            self.told.append(now)
            self.signal(signal.SIGTERM)
        if self.told and now - self.told[0] > TO_KILL:
            self.signal(signal.SIGKILL)


class LocalRunner:
    """Runs points to their end.

    Args:
        jobs: points that are not done.
        sweep: all points of the sweep, for the table.
    """

    def __init__(self, jobs: Sequence[PointJob], sweep: Sequence[PointJob], finish: str | None):
        settings = sweep[0].config["launcher"]
        self.parallel = whole(settings, "parallel")
        self.ranks_per_point = max(job.world for job in jobs)
        check(jobs)
        self.gpus = slots(jobs, self.parallel, self.ranks_per_point)
        self.waiting = [
            job for _, job in sorted(zip(levels(jobs), jobs, strict=True), key=lambda pair: pair[0])
        ]
        self.level = dict(zip((job.plan.identity for job in jobs), levels(jobs), strict=True))
        self.running: list[Attempt] = []
        self.stopping = False
        root = sweep[0].root
        with ledger_lock(root):
            old = load_or_none(root)
            self.ledger = Submission(root, "local", list(sys.argv), finish, "", os.getcwd())
            self.ledger.sweep = [job.plan.identity for job in sweep]
            others_fly = False
            if old is not None:
                others_fly = refuse_points_in_the_queue(old, jobs)
                self.ledger.points, self.ledger.finish_jobs = old.points, old.finish_jobs
            for job in sweep:
                entry, record = self.ledger.put(job), self.ledger.record(job.plan.identity)
                entry.attempts_before, entry.launches = record.attempts if record else 0, 0
            kept = self.ledger  # while SLURM works on other points, the ledger stays its own
            if old is not None and others_fly:
                kept = replace(old, points=self.ledger.points)
            kept.save()

    def run(self) -> None:
        """Until every point has ended, or a person stops it.

        Raises:
            KeyboardInterrupt: a person or a signal stopped it; every rank has saved itself.
        """
        shown = 0.0
        with Stop() as stop, Watch() as watch:
            while self.waiting or self.running:
                now = time.monotonic()
                if not stop.count:
                    self.start_what_fits()
                self.look(now, stop)
                if now - shown > SHOW_SECONDS:
                    watch.show(rows(self.ledger))
                    shown = now
                time.sleep(POLL_SECONDS)
            watch.show(rows(self.ledger))
        if stop.count:
            log.info(
                "Stopped by %s: every running point saved itself. The same command continues.", stop.name
            )
            raise KeyboardInterrupt

    def look(self, now: float, stop: Stop) -> None:
        """Pass signals on, notice what has ended."""
        if stop.count and not self.stopping:
            self.stopping = True
            self.waiting.clear()
            log.info("Stopping: running points save themselves. A second Ctrl-C kills them.")
            for attempt in self.running:
                attempt.told.append(float("inf"))
                attempt.signal(signal.SIGTERM)
        for attempt in list(self.running):
            if stop.count > 1:
                attempt.signal(signal.SIGKILL)
            attempt.end_with_the_first(now)
            if None not in attempt.codes():
                self.running.remove(attempt)
                self.ended(attempt, stopped=stop.count > 0)

    def start_what_fits(self) -> None:
        free = set(range(self.parallel)) - {attempt.slot for attempt in self.running}
        for job in list(self.waiting):
            if not free:
                return
            if self.is_ready(job):
                self.waiting.remove(job)
                self.running.append(self.start(job, free.pop()))

    def is_ready(self, job: PointJob) -> bool:
        """Whether all that it may begin from has ended."""
        level = self.level[job.plan.identity]
        others = [*self.waiting, *(attempt.job for attempt in self.running)]
        return all(self.level[other.plan.identity] >= level for other in others)

    def start(self, job: PointJob, slot: int) -> Attempt:
        """The ranks of a point, on the GPUs of a slot."""
        entry = self.ledger.points[job.plan.identity]
        entry.launches += 1
        name = f"local-{os.getpid()}-{job.plan.identity}-{entry.launches}"
        entry.jobs.append(name)
        folder = self.ledger.folder.absolute()
        DelayedSubmission(
            in_job.run_point, job.config, list(job.overrides), list(sys.argv), str(job.plan.directory)
        ).dump(folder / f"{name}_submitted.pkl")
        self.note(job.plan.identity)
        command = [sys.executable, "-u", "-m", "submitit.core._submit", str(folder)]
        ranks: list[subprocess.Popen[bytes]] = []
        logs: list[IO[bytes]] = []
        for rank in range(job.world):
            environment = os.environ | self.variables(name, rank, job.world, slot)
            logs.append(log_of(folder, name, rank).open("ab"))
            ranks.append(
                subprocess.Popen(
                    command,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=logs[-1],
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # Ctrl-C reaches the launcher only, which asks ranks to save
                )
            )
        return Attempt(job, slot, name, ranks, logs)

    def note(self, identity: str) -> None:
        """Write down a start of a point, and leave what other commands wrote meanwhile as it is."""
        with ledger_lock(self.ledger.root):
            disk = load(self.ledger.root)
            entry, known = self.ledger.points[identity], disk.points.get(identity)
            entry.jobs[:0] = [job for job in known.jobs if job not in entry.jobs] if known else []
            disk.points[identity] = entry
            disk.save()

    def variables(self, name: str, rank: int, world: int, slot: int) -> dict[str, str]:
        """What tells a process which rank it is."""
        found = {
            "SUBMITIT_EXECUTOR": "local",
            "SUBMITIT_LOCAL_JOB_ID": name,
            "SUBMITIT_LOCAL_NTASKS": str(world),
            "SUBMITIT_LOCAL_JOB_NUM_NODES": "1",
            "SUBMITIT_LOCAL_NODEID": "0",
            "SUBMITIT_LOCAL_GLOBALID": str(rank),
            "SUBMITIT_LOCAL_LOCALID": str(rank),
        }
        if self.gpus is not None:
            found["CUDA_VISIBLE_DEVICES"] = ",".join(self.gpus[slot])
        if world * self.parallel > 1:
            # Ranks share the cores; threads that spin for each other on one core are many times slower.
            share = max(1, len(os.sched_getaffinity(0)) // (self.ranks_per_point * self.parallel))
            found["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", str(share))
        return found

    def ended(self, attempt: Attempt, *, stopped: bool) -> None:
        """Start a point again that was killed or asked for it; tell why one failed."""
        for file in attempt.logs:
            file.close()
        job, codes = attempt.job, [code or 0 for code in attempt.codes()]
        entry, record = self.ledger.points[job.plan.identity], self.ledger.record(job.plan.identity)
        failed = in_job.verdict(self.ledger.folder, attempt.name)
        again = failed is None and any(code == START_AGAIN or code >= 128 for code in codes)
        if not any(codes) or stopped:
            return
        if again and entry.attempts_left(record):
            log.info("%s ended with %s: started again.", job.plan.name, max(codes))
            self.waiting.insert(0, job)
            return
        if record is not None and record.state in (State.RUNNING, State.PREEMPTED):
            record.state = State.FAILED if failed else State.PREEMPTED
            record.reason = failed or f"ended with {max(codes)} at start {record.attempts}, given up"
            record.save(self.ledger.root / job.plan.identity)
        why = failed or (record.reason if record and record.reason else f"exit status {max(codes)}")
        path = log_of(self.ledger.folder, attempt.name, codes.index(max(codes)))
        log.error("%s failed: %s. Log: %s", job.plan.name, why, path)


def check(jobs: Sequence[PointJob]) -> None:
    """Refuse what this machine cannot be.

    Raises:
        LaunchError: more than one node, or a number that makes no sense.
    """
    for job in jobs:
        launcher = job.config["launcher"]
        whole(launcher, "gpus_per_node")
        whole(launcher, "max_attempts")
        if whole(launcher, "nodes") > 1:
            raise LaunchError(
                f"launcher.nodes={launcher['nodes']}: this machine is one node. Use launcher.gpus_per_node "
                "for several ranks, or launcher=slurm."
            )


def slots(jobs: Sequence[PointJob], parallel: int, ranks: int) -> list[list[str]] | None:
    """GPUs of each slot; None where no GPU is used.

    Raises:
        LaunchError: more are asked for than there are.
    """
    if all(job.config["trainer"]["accelerator"] == "cpu" for job in jobs):
        return None
    found = visible_gpus()
    if not found:
        return None
    if parallel * ranks > len(found):
        raise LaunchError(
            f"launcher.parallel={parallel} points on launcher.gpus_per_node={ranks} GPUs each need "
            f"{parallel * ranks} GPUs, this machine shows {len(found)}. Lower one of them, or set "
            "trainer.accelerator=cpu."
        )
    return [found[slot * ranks : (slot + 1) * ranks] for slot in range(parallel)]


def visible_gpus() -> list[str]:
    """GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip() not in ("", "-1")]
    if shutil.which("nvidia-smi") is None:
        return []
    told = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False, timeout=60)
    return read_gpus(told.stdout)


def read_gpus(told: str) -> list[str]:
    """Identifiers in ``nvidia-smi -L``: of every GPU, or of its MIG instances where it is divided."""
    found: list[str] = []
    for kind, identifier in re.findall(r"UUID: ((?:MIG|GPU))-([^)\s]+)", told):
        if kind == "MIG" and found and found[-1].startswith("GPU-"):
            found.pop()  # the line before is the GPU that it is a part of
        found.append(f"{kind}-{identifier}")
    return found


def refuse_points_in_the_queue(old: Submission, jobs: Sequence[PointJob]) -> bool:
    """One point, one process: what SLURM works on is not started here as well.

    Returns:
        Whether SLURM has jobs for other points of the ledger.

    Raises:
        LaunchError: with the way out.
    """
    if not old.has_slurm_jobs() or shutil.which("squeue") is None:
        return False
    try:
        waiting = queue()
    except LaunchError as error:
        log.warning("%s Whether SLURM works on points of %s is not known.", error, old.root)
        return False
    found = {i for i, entry in old.points.items() if any(job in waiting for job in entry.jobs)}
    flying = [job.plan.name for job in jobs if job.plan.identity in found]
    if flying:
        raise LaunchError(
            f"SLURM has jobs for {', '.join(flying)}: wait for them, or chemscale launch cancel {old.root}."
        )
    return bool(found)


def log_of(folder: Path, job: str, rank: int) -> Path:
    """Where a rank of a job writes."""
    return folder / f"{job}_{rank}_log.out"
