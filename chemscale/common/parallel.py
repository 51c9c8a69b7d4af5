"""Work spread over processes in bounded memory, its results in order."""

from __future__ import annotations

import collections
import logging
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any

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
