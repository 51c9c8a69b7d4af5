"""How ranks agree at a step boundary, and what ends a run one of whose ranks hangs.

Sums go over a group of their own on the CPU (gloo): they never wait for a GPU's queue, and a rank that hangs
in its GPU work is missed by the others here.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta

import torch
import torch.distributed as dist

from chemscale.common.exit_status import START_AGAIN
from chemscale.training.distributed.ranks import Ranks

log = logging.getLogger(__name__)

GRACE = 60.0
"""Seconds that a collective waits longer than the watchdog, for its verdict to come first."""


class Control:
    """Sums over the ranks of a point. With one rank everything is what it is.

    Args:
        ranks: of this process.
        limit: seconds within which all ranks must come to a step boundary.
    """

    def __init__(self, ranks: Ranks, limit: float = 1800.0):
        self.ranks, self.limit = ranks, limit
        self._group: dist.ProcessGroup | None = None

    def open(self) -> None:
        """Make the group; every rank does so once the process group of the strategy exists."""
        if self.ranks.world > 1 and self._group is None:
            self._group = dist.new_group(backend="gloo", timeout=timedelta(seconds=self.limit + GRACE))

    def total(self, values: Sequence[float]) -> list[float]:
        """Each value summed over ranks, in float64: whole numbers below 2⁵³ stay exact."""
        if self.ranks.world == 1:
            return list(values)
        return self._sum(torch.tensor(values, dtype=torch.float64)).tolist()

    def total_rows(self, rows: Sequence[Sequence[float]]) -> list[list[float]]:
        """The same for a table that has one shape on every rank."""
        if self.ranks.world == 1 or not rows:
            return [list(row) for row in rows]
        return self._sum(torch.tensor(rows, dtype=torch.float64)).tolist()

    def _sum(self, mine: torch.Tensor) -> torch.Tensor:
        """A sum in the order of ranks, whatever else is summed with it.

        An all-reduce of three ranks and more adds each part of a tensor in another order: what a step summed
        would depend on how many steps wait, that is on the clock.
        """
        parts = [torch.empty_like(mine) for _ in range(self.ranks.world)]
        dist.all_gather(parts, mine, group=self._group)
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total

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


class Meetings:
    """Steps at which the ranks tell each other of signals and of the clock although nothing else is due.

    About every ``PERIOD`` seconds, by the clock of rank 0: a sum over many ranks at the end of each step
    would cost a small model more than the step. One rank alone meets itself at every step, for nothing.

    Args:
        ranks: of this process.
    """

    PERIOD = 0.5
    FARTHEST = 1000
    """Steps from one meeting to the next at most."""

    def __init__(self, ranks: Ranks):
        self.ranks = ranks
        self._next = 0
        self._last, self._since = 0, time.monotonic()

    def start(self, step: int) -> None:
        """Training begins, or goes on: steps of earlier sessions say nothing of how fast this one is.

        Args:
            step: optimizer steps done.
        """
        self._last, self._since = step, time.monotonic()

    def due(self, step: int) -> bool:
        """Whether all ranks meet after this step.

        Args:
            step: optimizer steps done.
        """
        return self.ranks.world == 1 or step >= self._next

    def proposal(self, step: int) -> int:
        """How many steps there are to the next meeting: rank 0 says it, the others say 0, and it is summed.

        Args:
            step: optimizer steps done.
        """
        if not self.ranks.is_first:
            return 0
        now = time.monotonic()
        rate = (step - self._last) / max(now - self._since, 1e-6)
        self._last, self._since = step, now
        return max(1, min(self.FARTHEST, int(rate * self.PERIOD)))

    def agreed(self, step: int, ahead: float) -> None:
        """Note the next meeting.

        Args:
            step: optimizer steps done.
            ahead: ``proposal`` summed over ranks.
        """
        self._next = step + int(ahead)


class Watchdog:
    """Ends the process when the next step boundary does not come in time, and names the ranks it waited for.

    A thread of every rank writes how far its rank has come into the rendezvous store, again and again. A rank
    that waits in vain reads there who is behind, and whose thread has fallen silent. It leaves with
    ``START_AGAIN``, so that a launcher starts the run again.

    Args:
        ranks: of this process.
        limit: seconds that a step, a validation and a checkpoint together may take.
        leave: what ends the process; ``os._exit``, for the main thread may hang in a collective for ever.
    """

    def __init__(self, ranks: Ranks, limit: float, leave: Callable[[int], object] = os._exit):
        self.ranks, self.limit, self.leave = ranks, limit, leave
        self.step = self.ticks = 0
        self._since = time.monotonic()
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._store: dist.Store | None = None

    @property
    def interval(self) -> float:
        """Seconds between two signs of life."""
        return min(2.0, self.limit / 8)

    def start(self, step: int) -> None:
        """Watch from now on; a single rank has nobody to wait for and is not watched."""
        if self.ranks.world == 1 or self._threads:
            return
        self._store = dist.PrefixStore("chemscale/watchdog", dist.distributed_c10d._get_default_store())
        self.reached(step)
        for work in (self._show_life, self._watch):
            thread = threading.Thread(target=work, name="watchdog", daemon=True)
            thread.start()
            self._threads.append(thread)

    def reached(self, step: int) -> None:
        """This rank has finished a step."""
        self.step, self._since = step, time.monotonic()
        self.tick()

    def tick(self) -> None:
        """This rank has come one stage further; all ranks go through the same stages."""
        self.ticks += 1

    def stop(self) -> None:
        """Watch no longer."""
        self._stop.set()
        for thread in self._threads:
            thread.join(self.interval)

    def _show_life(self) -> None:
        assert self._store is not None
        beats = 0
        with contextlib.suppress(RuntimeError):  # the store is gone: the verdict says so
            while not self._stop.wait(self.interval):
                beats += 1
                self._store.set(str(self.ranks.rank), f"{self.step} {self.ticks} {beats}")

    def _watch(self) -> None:
        while not self._stop.wait(self.interval):
            if time.monotonic() - self._since <= self.limit:
                continue
            verdict = self._verdict_in_time()
            if self._stop.is_set():
                return
            print(
                f"rank {self.ranks.rank}: no step finished for {self.limit:g} s (strategy.hang_minutes). "
                f"{verdict} Ended; the launcher starts the run again from its newest checkpoint.",
                file=sys.stderr,
                flush=True,
            )
            self.leave(START_AGAIN)
            return

    def _verdict_in_time(self) -> str:
        """The verdict; reading a store behind a cut network never returns."""
        found = ["Rank 0, who keeps the store, does not answer."]

        def ask() -> None:
            with contextlib.suppress(RuntimeError):
                found.append(self.verdict())

        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        asking.join(10 * self.interval)
        return found[-1]

    def verdict(self) -> str:
        """Which ranks are missing, as far as the store shows."""
        before = self._read()
        time.sleep(3 * self.interval)
        states = self._read()
        time.sleep(3 * self.interval)  # the others look at us, too
        most = max([self.ticks, *(ticks for _, ticks, _ in states.values())])
        missing = []
        for rank in range(self.ranks.world):
            if rank == self.ranks.rank:
                continue
            if rank not in states or states[rank] == before.get(rank):
                missing.append(f"rank {rank} shows no sign of life")
            elif states[rank][1] < most:
                missing.append(f"rank {rank} is behind, in the step after {states[rank][0]}")
        if self.ticks < most:
            missing.append("this rank is behind")
        return f"{'; '.join(missing)}." if missing else "All ranks wait at the same place: the network?"

    def _read(self) -> dict[int, tuple[int, int, int]]:
        """Step, stages and signs of life of every rank that has written them."""
        assert self._store is not None
        found = {}
        for rank in range(self.ranks.world):
            if self._store.check([str(rank)]):
                step, ticks, beats = (int(part) for part in self._store.get(str(rank)).split())
                found[rank] = (step, ticks, beats)
        return found
