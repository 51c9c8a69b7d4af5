"""Work spread over processes in bounded memory, with progress that people can read."""

from __future__ import annotations

import collections
import logging
import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

log = logging.getLogger(__name__)


def worker_count(asked: int | None) -> int:
    """As asked, else one a core that this process may use."""
    return asked if asked is not None else len(os.sched_getaffinity(0))


def ordered_map(function: Callable[[Any], Any], tasks: Iterable[Any], workers: int) -> Iterator[Any]:
    """Results in the order of the tasks; at most a few tasks a worker wait at a time.

    One worker is this process itself.
    """
    if workers <= 1:
        yield from map(function, tasks)
        return
    # A fork would copy the threads' locks of torch and OpenMP: start clean.
    context = multiprocessing.get_context("forkserver")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_one_thread)
    try:
        waiting: collections.deque[Future] = collections.deque()
        for task in tasks:
            waiting.append(pool.submit(function, task))
            if len(waiting) >= 3 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
        pool.shutdown()
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise


def _one_thread() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    # Ctrl-C belongs to the parent, which ends the pool.
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)


class WorkProgress:
    """A bar on a terminal, else a line every ten seconds. ``total`` None: unknown."""

    def __init__(self, title: str, total: int | None, unit: str, *, every: float = 10.0):
        self.title, self.total, self.unit, self.every = title, total, unit, every
        self.done = 0
        self._bar: Progress | None = None

    def __enter__(self) -> WorkProgress:
        self._started = self._last = time.monotonic()
        console = Console(stderr=True)
        if console.is_terminal:
            columns = (
                BarColumn(),
                TextColumn("{task.fields[text]}"),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
            )
            self._bar = Progress(TextColumn("{task.description}"), *columns, console=console)
            self._bar.start()
            self._task = self._bar.add_task(self.title, total=self.total, text="")
        return self

    def advance(self, amount: int) -> None:
        self.done += amount
        seconds = max(1e-9, time.monotonic() - self._started)
        of = f"/{self.total:,}" if self.total else ""
        text = f"{self.done:,}{of} {self.unit} ({self.done / seconds:,.0f}/s)"
        if self._bar is not None:
            self._bar.update(self._task, advance=amount, text=text)
        elif time.monotonic() - self._last >= self.every:
            self._last = time.monotonic()
            log.info("%s %s", self.title, text)

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.stop()
