"""What ranks tell each other at a step boundary, and what ends a run whose ranks no longer meet.

Sums go over a group of their own on the CPU (gloo): they never wait for a GPU's queue, and a rank that hangs
in its GPU work is missed by the others here.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta

import torch
import torch.distributed as dist

from chemscale.training.ranks import Ranks

log = logging.getLogger(__name__)

TEMPORARY_FAILURE = 75
"""Exit status (EX_TEMPFAIL of sysexits.h) of a run that should simply be started again."""


class Control:
    """Sums over the ranks of a point. With one rank everything is what it is.

    Args:
        ranks: of this process.
        limit: seconds within which all ranks must meet.
    """

    def __init__(self, ranks: Ranks, limit: float = 1800.0):
        self.ranks, self.limit = ranks, limit
        self._group: dist.ProcessGroup | None = None

    def open(self) -> None:
        """Make the group; every rank does so once the process group of the strategy exists."""
        if self.ranks.world > 1 and self._group is None:
            self._group = dist.new_group(backend="gloo", timeout=timedelta(seconds=self.limit))

    def total(self, values: Sequence[float]) -> list[float]:
        """Each value summed over ranks, in float64: whole numbers below 2⁵³ stay exact."""
        if self.ranks.world == 1:
            return list(values)
        vector = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(vector, group=self._group)
        return vector.tolist()

    def total_rows(self, rows: Sequence[Sequence[float]]) -> list[list[float]]:
        """The same for a table that has one shape on every rank."""
        if self.ranks.world == 1 or not rows:
            return [list(row) for row in rows]
        table = torch.tensor(rows, dtype=torch.float64)
        dist.all_reduce(table, group=self._group)
        return table.tolist()

    def any(self, flag: bool) -> bool:
        """Whether it holds on at least one rank."""
        return self.total([float(flag)])[0] > 0

    def gather(self, value: object) -> list[object]:
        """Every rank's value, on every rank."""
        if self.ranks.world == 1:
            return [value]
        box: list[object] = [None] * self.ranks.world
        dist.all_gather_object(box, value, group=self._group)
        return box

    def share(self, value: object) -> object:
        """Rank 0's value, on every rank."""
        if self.ranks.world == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, group=self._group)
        return box[0]


class Watchdog:
    """Ends the process when the next step boundary does not come in time, and names the ranks that are late.

    Every rank writes the step that it has reached into the rendezvous store; a rank that waits in vain
    reads there who did not arrive. It leaves with ``TEMPORARY_FAILURE``, so that a launcher starts it again.

    Args:
        limit: seconds that a step, a validation and a checkpoint together may take.
        leave: what ends the process; ``os._exit``, for the main thread may hang in a collective for ever.
    """

    def __init__(self, ranks: Ranks, limit: float, leave: Callable[[int], object] = os._exit):
        self.ranks, self.limit, self.leave = ranks, limit, leave
        self._step, self._since = 0, time.monotonic()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._store: dist.Store | None = None

    def start(self, step: int) -> None:
        """Watch from now on; a single rank has nobody to wait for and is not watched."""
        if self.ranks.world == 1 or self._thread is not None:
            return
        store = dist.distributed_c10d._get_default_store()
        self._store = dist.PrefixStore("chemscale/steps", store)
        self.reached(step)
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()

    def reached(self, step: int) -> None:
        """This rank stands at a step boundary."""
        self._step, self._since = step, time.monotonic()
        if self._store is not None:
            self._store.set(str(self.ranks.rank), str(step))

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(min(1.0, self.limit / 4)):
            if time.monotonic() - self._since > self.limit:
                print(f"rank {self.ranks.rank}: {self.verdict()}", file=sys.stderr, flush=True)
                self.leave(TEMPORARY_FAILURE)
                return

    def verdict(self) -> str:
        """Who is missing, as far as the store tells."""
        assert self._store is not None
        steps: dict[int, int] = {}
        for rank in range(self.ranks.world):
            try:
                if self._store.check([str(rank)]):
                    steps[rank] = int(self._store.get(str(rank)))
            except RuntimeError:
                return f"no step for {self.limit:g} s, and rank 0, who keeps the store, is gone."
        late = [
            rank for rank in range(self.ranks.world) if steps.get(rank, -1) < max(steps.values(), default=0)
        ]
        names = ", ".join(f"rank {rank} (step {steps.get(rank, 'none')})" for rank in late)
        if not late:
            names = "all ranks, in the same step: the network, or a step longer than strategy.hang_minutes"
        return (
            f"no step finished for {self.limit:g} s (strategy.hang_minutes). Missing: {names}. "
            "Ended; the launcher starts the run again from its newest checkpoint."
        )
