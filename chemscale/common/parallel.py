"""Work spread over processes in bounded memory, its results in order."""

from __future__ import annotations

import collections
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing.context import ForkServerContext, ForkServerProcess
from types import ModuleType
from typing import Any, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


def worker_count(asked: int | None) -> int:
    """Number of processes: as asked, else one a core that this process may use.

    Args:
        asked: by the user; None if not.
    """
    return asked if asked is not None else len(os.sched_getaffinity(0))


def ordered_map(
    function: Callable[[Task], Result], tasks: Iterable[Task], workers: int
) -> Generator[Result, None, None]:
    """Results of a function over tasks, in their order; at most a few tasks a worker wait at a time.

    Args:
        function: of one task; processes import it by its name.
        tasks: drawn one by one.
        workers: processes; one worker is this process itself.
    """
    if workers <= 1:
        yield from map(function, tasks)
        return
    pool = process_pool(workers)
    try:
        waiting: collections.deque[Future[Result]] = collections.deque()
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


def process_pool(workers: int, *, with_main: bool = False) -> ProcessPoolExecutor:
    """Processes of one thread each that leave Ctrl-C to this one and end with it; the caller shuts them down.

    Args:
        workers: number of processes.
        with_main: let them import the script that runs, where tasks are functions of it; such a script
            needs ``if __name__ == "__main__":``. Otherwise a plain script of a user works as it is.
    """
    # A fork would copy the threads' locks of torch and OpenMP: start clean.
    context = multiprocessing.get_context("forkserver") if with_main else _WithoutMain()
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_one_thread)
    # All start before the first task: one that starts while another dies is not ended with the rest, and
    # whoever ends the pool waits for it for ever (seen on Python 3.11).
    pool._safe_to_dynamically_spawn_children = False  # type: ignore[attr-defined]
    return pool


class _ProcessWithoutMain(ForkServerProcess):
    """A process that does not run the parent's script again to import what is not in it."""

    @staticmethod
    def _Popen(process_obj: Any) -> Any:
        with _STARTING:
            main = sys.modules["__main__"]
            sys.modules["__main__"] = ModuleType("__main__")
            try:
                return ForkServerProcess._Popen(process_obj)
            finally:
                sys.modules["__main__"] = main


class _WithoutMain(ForkServerContext):
    Process = _ProcessWithoutMain


_STARTING = threading.Lock()


def _one_thread() -> None:
    # Two OpenMP threads on a busy core are many times slower than one.
    os.environ["OMP_NUM_THREADS"] = "1"
    # Ctrl-C belongs to the parent, which ends the pool.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A killed parent closes no queue: its workers would wait for tasks for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
