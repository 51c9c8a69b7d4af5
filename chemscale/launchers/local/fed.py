"""Points of a sweep that decides while it runs, as processes: a free slot asks for the next one."""

from __future__ import annotations

from collections.abc import Sequence

from chemscale.launchers.feed import Feed, share_of
from chemscale.launchers.local.processes import PointProcesses
from chemscale.launchers.local.runner import LocalRunner
from chemscale.launchers.settings import PointJob


class FedRunner(LocalRunner):
    """Runs what it is fed, until nothing more comes.

    Args:
        feed: asked for points at first and whenever one has ended.
        jobs: points that may be asked for: those that are not done.
        sweep: all points of the sweep, for the table.

    Raises:
        LaunchError: this machine cannot run them, or SLURM works on one of them.
    """

    def __init__(self, feed: Feed, jobs: Sequence[PointJob], sweep: Sequence[PointJob]):
        super().__init__(jobs, sweep, finish=None)
        self.feed = feed
        self.waiting = []
        self.asks = True

    def start_ready_points(self) -> None:
        """Start what waits, then ask for points for the slots that are still free."""
        super().start_ready_points()
        busy = [*self.waiting, *(processes.job for processes in self.running)]
        free = self.parallel - len(busy)
        if not self.asks or free < 1:
            return
        self.asks = False
        for job in self.feed({job.plan.identity: share_of(job.config) for job in busy}, free):
            self.ledger.add(job).reset_attempts(self.ledger.record(job.plan.identity))
            self.waiting.append(job)
        super().start_ready_points()

    def handle_end(self, processes: PointProcesses, *, stopped: bool) -> None:
        """Ask for more points once one has ended, unless it is started again."""
        super().handle_end(processes, stopped=stopped)
        self.asks = True
