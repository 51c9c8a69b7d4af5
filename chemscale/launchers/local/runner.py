"""Runs points of a sweep as processes of this machine, to their end or until a person stops it."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from types import FrameType
from typing import Any

from chemscale.common.exit_status import START_AGAIN
from chemscale.launchers.ledger import Submission, ledger_lock, load_ledger_or_none
from chemscale.launchers.local.gpus import assign_gpus
from chemscale.launchers.local.processes import PointProcesses, start_processes
from chemscale.launchers.local.sharing import SharingService
from chemscale.launchers.section import LaunchError
from chemscale.launchers.settings import PointJob, dependency_levels
from chemscale.launchers.slurm.queue import LOCAL_PREFIX, queued_jobs
from chemscale.launchers.status import LiveTable, point_rows
from chemscale.launchers.verdicts import read_verdict
from chemscale.records import RunRecord, State

log = logging.getLogger(__name__)

POLL_SECONDS = 0.1
SHOW_SECONDS = 0.5


class StopSignals:
    """Within ``with StopSignals() as stop`` Ctrl-C and SIGTERM are counted instead of raised."""

    def __init__(self) -> None:
        self.count = 0
        self.name = ""
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
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


class LocalRunner:
    """Runs points to their end.

    Args:
        jobs: points that are not done.
        sweep: all points of the sweep, for the table.
        finish: dotted name of the function that ends the sweep, for the ledger.

    Raises:
        LaunchError: this machine cannot run them, or SLURM works on one of them.
    """

    def __init__(self, jobs: Sequence[PointJob], sweep: Sequence[PointJob], finish: str | None):
        refuse_several_nodes(jobs)
        launcher = sweep[0].launcher
        self.parallel = launcher.points_at_once
        self.ranks_per_point = max(job.world for job in jobs)
        apart = self.parallel // launcher.per_gpu
        self.gpus = assign_gpus(jobs, apart, self.ranks_per_point, launcher.per_gpu)
        self.service = SharingService(self.gpus or [], launcher.per_gpu)
        levels = dependency_levels(jobs)
        ordered = sorted(zip(levels, jobs, strict=True), key=lambda pair: pair[0])
        self.waiting = [job for _, job in ordered]
        self.level = {job.plan.identity: level for level, job in ordered}
        self.running: list[PointProcesses] = []
        self.stopping = False
        self.ledger = open_ledger(jobs, sweep, finish)

    def run(self) -> None:
        """Run until every point has ended, or a person stops it.

        Raises:
            KeyboardInterrupt: a person or a signal stopped it; every rank has saved itself.
        """
        shown = 0.0
        with StopSignals() as stop, self.service, LiveTable() as table:
            self.start_ready_points()
            while self.waiting or self.running:
                now = time.monotonic()
                self.poll(now, stop)
                if not stop.count:
                    self.start_ready_points()
                if now - shown > SHOW_SECONDS:
                    table.show(point_rows(self.ledger))
                    shown = now
                time.sleep(POLL_SECONDS)
            table.show(point_rows(self.ledger))
        if stop.count:
            log.info(
                "Stopped by %s: every running point saved itself. The same command continues.", stop.name
            )
            raise KeyboardInterrupt

    def poll(self, now: float, stop: StopSignals) -> None:
        """Pass signals on, and handle what has ended."""
        if stop.count and not self.stopping:
            self.stopping = True
            self.waiting.clear()
            log.info("Stopping: running points save themselves. A second Ctrl-C kills them.")
            for processes in self.running:
                processes.ask_to_save()
        for processes in list(self.running):
            if stop.count > 1:
                processes.send_signal(signal.SIGKILL)
            processes.end_after_a_loss(now)
            if processes.have_ended:
                self.running.remove(processes)
                self.handle_end(processes, stopped=stop.count > 0)

    def start_ready_points(self) -> None:
        """Start points in free slots, those that others begin from first."""
        free = set(range(self.parallel)) - {processes.slot for processes in self.running}
        for job in list(self.waiting):
            if not free:
                return
            if self.is_ready(job):
                self.waiting.remove(job)
                slot = min(free)  # the first slots lie on different GPUs
                free.remove(slot)
                self.running.append(self.start(job, slot))

    def is_ready(self, job: PointJob) -> bool:
        """Whether all that it may begin from has ended."""
        level = self.level[job.plan.identity]
        others = [*self.waiting, *(processes.job for processes in self.running)]
        return all(self.level[other.plan.identity] >= level for other in others)

    def start(self, job: PointJob, slot: int) -> PointProcesses:
        """Start the ranks of a point on the GPUs of a slot."""
        entry = self.ledger.points[job.plan.identity]
        entry.launches += 1
        name = f"{LOCAL_PREFIX}{os.getpid()}-{job.plan.identity}-{len(entry.jobs) + 1}"
        entry.jobs.append(name)
        self.ledger.save_entry(job.plan.identity)
        return start_processes(
            job,
            slot=slot,
            name=name,
            folder=self.ledger.folder.absolute(),
            log_path=self.ledger.log_path,
            environment=self.shared_environment(job.world, slot),
        )

    def shared_environment(self, world: int, slot: int) -> dict[str, str]:
        """Variables by which points that run at the same time share GPUs and cores.

        Args:
            world: ranks of the point.
            slot: which of the points that run at the same time it is.
        """
        found = {}
        if self.gpus is not None:
            found["CUDA_VISIBLE_DEVICES"] = ",".join(self.gpus[slot])
            found |= self.service.environment(self.gpus[slot])
        if world * self.parallel > 1:
            # Ranks share the cores; threads that spin for each other on one core are many times slower.
            share = max(1, len(os.sched_getaffinity(0)) // (self.ranks_per_point * self.parallel))
            found["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", str(share))
        return found

    def handle_end(self, processes: PointProcesses, *, stopped: bool) -> None:
        """Start a point again that was killed or asked for it; log why one failed.

        Args:
            processes: of the point, all of which have ended.
            stopped: whether a person stopped it.
        """
        processes.close_logs()
        job, codes = processes.job, [code or 0 for code in processes.exit_codes()]
        if not any(codes) or stopped:
            return
        entry, record = self.ledger.points[job.plan.identity], self.ledger.record(job.plan.identity)
        failed = read_verdict(self.ledger.folder, processes.name)
        retry = failed is None and any(code == START_AGAIN or code >= 128 for code in codes)
        if retry and entry.attempts_left(record):
            log.info("%s ended with %s: started again.", job.plan.name, max(codes))
            self.waiting.insert(0, job)
            return
        why = self._record_failure(job, record, failed, max(codes))
        path = self.ledger.log_path(processes.name, codes.index(max(codes)))
        log.error("%s failed: %s. Log: %s", job.plan.name, why, path)

    def _record_failure(self, job: PointJob, record: RunRecord | None, failed: str | None, code: int) -> str:
        """Let no record say that its point goes on; the reason why it does not."""
        if record is not None and record.state in (State.RUNNING, State.PREEMPTED):
            record.state = State.FAILED if failed else State.PREEMPTED
            record.reason = failed or f"ended with {code} at start {record.attempts}, given up"
            record.save(self.ledger.root / job.plan.identity)
        return failed or (record.reason if record and record.reason else f"exit status {code}")


def open_ledger(jobs: Sequence[PointJob], sweep: Sequence[PointJob], finish: str | None) -> Submission:
    """Write down what is about to be launched here.

    Args:
        jobs: points that are not done.
        sweep: all points of the sweep.
        finish: dotted name of the function that ends the sweep.

    Raises:
        LaunchError: SLURM works on one of the points.
    """
    root = sweep[0].root
    with ledger_lock(root):
        old = load_ledger_or_none(root)
        ledger = Submission(root, "local", list(sys.argv), finish, "", os.getcwd())
        ledger.sweep = [job.plan.identity for job in sweep]
        if old is not None:
            ledger.points, ledger.finish_jobs = old.points, old.finish_jobs
        others_in_flight = refuse_queued_points(old, jobs) if old is not None else False
        for job in sweep:
            ledger.add(job).reset_attempts(ledger.record(job.plan.identity))
        if old is not None and others_in_flight:  # while SLURM works on other points, the file stays its own
            replace(old, points=ledger.points).save()
        else:
            ledger.save()
    return ledger


def refuse_several_nodes(jobs: Sequence[PointJob]) -> None:
    """This machine is one node.

    Raises:
        LaunchError: a point asks for more.
    """
    for job in jobs:
        if job.launcher.nodes > 1:
            raise LaunchError(
                f"launcher.nodes={job.launcher.nodes}: this machine is one node. Use "
                "launcher.gpus_per_node for several ranks, or launcher=slurm."
            )


def refuse_queued_points(old: Submission, jobs: Sequence[PointJob]) -> bool:
    """One point, one process: what SLURM works on is not started here as well.

    Args:
        old: the ledger of earlier commands.
        jobs: points to be started here.

    Returns:
        Whether SLURM has jobs for other points of the ledger.

    Raises:
        LaunchError: SLURM has a job for one of the points.
    """
    if not old.has_slurm_jobs() or shutil.which("squeue") is None:
        return False
    try:
        queued = queued_jobs()
    except LaunchError as error:
        log.warning("%s Whether SLURM works on points of %s is not known.", error, old.root)
        return False
    in_flight = {identity for identity, entry in old.points.items() if entry.jobs_among(queued)}
    names = [job.plan.name for job in jobs if job.plan.identity in in_flight]
    if names:
        raise LaunchError(
            f"SLURM has jobs for {', '.join(names)}: wait for them, or chemscale launch cancel {old.root}."
        )
    return bool(in_flight)
