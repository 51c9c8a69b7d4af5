"""Points of a sweep that decides while it runs, as SLURM jobs: more are queued as others leave the queue."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from chemscale.launchers.feed import Feed, share_of
from chemscale.launchers.ledger import Submission, ledger_lock, load_ledger, load_ledger_or_none
from chemscale.launchers.settings import PointJob
from chemscale.launchers.slurm.arrays import queue_points
from chemscale.launchers.slurm.finish import UNFINISHED_STATES, correct_records, has_verdict, with_retries
from chemscale.launchers.slurm.queue import JobState, queued_jobs, require_slurm
from chemscale.launchers.slurm.resources import Site, SlurmResources
from chemscale.launchers.snapshot import take_snapshot
from chemscale.launchers.status import LiveTable, point_rows
from chemscale.launchers.watch import JobStates, poll_until

log = logging.getLogger(__name__)


class FedQueue:
    """Queues what it is fed and watches, until nothing more comes and nothing is in flight.

    What is in flight, and how far each point was told to go, stands in the ledger: the command may be ended
    at any moment, its jobs go on, and the same command goes on where it stood.

    Args:
        feed: asked for points at first and whenever one has left the queue.
        sweep: all points.

    Raises:
        ConfigurationError: a key of ``launcher`` or ``site`` that makes no sense.
        LaunchError: no SLURM here.
    """

    def __init__(self, feed: Feed, sweep: Sequence[PointJob]):
        require_slurm()
        for job in sweep:
            SlurmResources.of(job), Site.of(job.config)  # refused before anything is queued
        self.feed, self.sweep, self.root = feed, sweep, sweep[0].root
        launcher = sweep[0].launcher
        self.at_once = launcher.points_at_once if launcher.parallel else len(sweep)
        self.states = JobStates()
        self.busy: dict[str, float] = {}

    def run(self) -> None:
        """Queue and watch to the end.

        Raises:
            LaunchError: sbatch refused, or the controller does not answer; what is queued goes on.
            KeyboardInterrupt: a person no longer wants to watch; what is queued goes on.
        """
        known = load_ledger_or_none(self.root)
        if known is not None:
            self.busy = in_flight(self._own(known), self.states.query(self._own(known)))
        asked = self._ask()
        if not asked and not self.busy:
            return
        self._open_ledger()
        try:
            self._queue(asked)
            log.info("Watch from elsewhere: chemscale launch status %s", self.root)
            with LiveTable() as table:
                poll_until(lambda: self._has_ended(table))
        except KeyboardInterrupt:
            log.info(
                "The jobs go on, and the same command decides what comes after them. Cancel: "
                "chemscale launch cancel %s",
                self.root,
            )
            raise

    def _has_ended(self, table: LiveTable) -> bool:
        """Handle what has left the queue; whether nothing is in flight any more."""
        submission = self._own(load_ledger(self.root))
        states = with_retries(lambda: self.states.query(submission))
        table.show(point_rows(submission, states))
        now = in_flight(submission, states)
        if left := self.busy.keys() - now.keys():
            lost = [i for i in left if is_lost(submission, i, states)]
            with_retries(lambda: self._queue_again(lost))
            correct_records(replace(submission, sweep=sorted(left.difference(lost))))
            self.busy = now | {identity: self.busy[identity] for identity in lost}
            asked = self._ask()
            with_retries(lambda: self._queue(asked))
        else:
            self.busy = now
        return not self.busy

    def _ask(self) -> list[PointJob]:
        """What is to be queued now; it counts as busy from here on."""
        free = self.at_once - len(self.busy)
        asked = self.feed(self.busy, free) if free > 0 else []
        self.busy |= {job.plan.identity: share_of(job.config) for job in asked}
        return asked

    def _own(self, submission: Submission) -> Submission:
        """The ledger's content, of the points of this command that it knows."""
        known = [job.plan.identity for job in self.sweep if job.plan.identity in submission.points]
        return replace(submission, sweep=known, finish=None)

    def _open_ledger(self) -> None:
        """Write down what is launched; a point in flight keeps what it was given."""
        with ledger_lock(self.root):
            old = load_ledger_or_none(self.root)
            new = Submission(
                self.root, "slurm", list(sys.argv), None, str(take_snapshot(self.root)), os.getcwd()
            )
            if old is not None:
                new.points, new.finish_jobs = old.points, old.finish_jobs
            new.sweep = [job.plan.identity for job in self.sweep]
            for job in self.sweep:
                if job.plan.identity not in self.busy or job.plan.identity not in new.points:
                    new.add(job)
            new.save()

    def _queue(self, asked: Sequence[PointJob]) -> None:
        """Queue points for the first time in this command, those of one kind of resources as one array."""
        if not asked:
            return
        with ledger_lock(self.root):
            submission, queued = load_ledger(self.root), queued_jobs()
            points = submission.points
            # The same command may run twice: each sees within the lock what the other has queued.
            fresh = [job for job in asked if not points[job.plan.identity].jobs_among(queued)]
            for job in fresh:
                entry = submission.add(job)
                entry.reset_attempts(submission.record(job.plan.identity))
                entry.cancelled = False
            self._queue_in(submission, fresh, queued)

    def _queue_again(self, lost: Collection[str]) -> None:
        """Queue points whose jobs were lost, to the share that they were given."""
        if not lost:
            return
        with ledger_lock(self.root):
            submission, queued = load_ledger(self.root), queued_jobs()
            entries = [submission.points[identity] for identity in lost]
            fresh = [entry.point_job() for entry in entries if not entry.jobs_among(queued)]
            self._queue_in(submission, fresh, queued)

    def _queue_in(
        self, submission: Submission, jobs: Sequence[PointJob], queued: Mapping[str, JobState]
    ) -> None:
        try:
            queue_points(submission, jobs, queued)
        finally:
            submission.save()
        for job in jobs:
            entry = submission.points[job.plan.identity]
            log.info("%-28s %s  job %s", entry.name, job.plan.identity, entry.jobs[-1])


def in_flight(submission: Submission, states: Mapping[str, JobState]) -> dict[str, float]:
    """Identities of points whose newest job waits or runs, with the share that each was given.

    Args:
        submission: the ledger's content.
        states: of jobs, by id.
    """
    return {
        identity: share_of(entry.config)
        for identity, entry in submission.entries().items()
        if entry.jobs and states.get(entry.jobs[-1], JobState()).in_flight
    }


def is_lost(submission: Submission, identity: str, states: Mapping[str, JobState]) -> bool:
    """Whether the job of a point ended without a verdict and the point may be started again.

    Its batch script or its node was lost, for instance; a point that was cancelled or failed is not lost.

    Args:
        submission: the ledger's content.
        identity: of a point whose newest job is not in flight.
        states: of jobs, by id.
    """
    entry, record = submission.points[identity], submission.record(identity)
    job = entry.jobs[-1]
    state = states.get(job, JobState())
    begun = record is not None and record.attempts > entry.attempts_before
    if record is not None and begun and record.state not in UNFINISHED_STATES:
        return False
    if entry.cancelled or state.state.startswith(("CANCELLED", "COMPLETED")):
        return False
    if has_verdict(submission, identity, state) or not entry.attempts_left(record):
        return False
    log.info("%s: job %s ended %s: started again.", entry.name, job, state.describe_end())
    return True
