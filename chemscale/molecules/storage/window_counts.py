"""How many blocks each window of an order has, kept for whoever begins or goes on late in the same order.

A run that goes on at a late step has to know which window its next block is in: without the counts it would
walk all windows before. They are a pure function of what the file names, so any process may write it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from chemscale.common.locks import file_lock
from chemscale.molecules.storage.tables import read_tables, write_tables

log = logging.getLogger(__name__)

FORMAT = 1
MIN_MOLECULES = 1 << 22
"""Molecules of windows of which nothing is kept if there are fewer: counting them takes half a second."""


class WindowCounts:
    """A file of the numbers of blocks of the first windows of an order.

    Args:
        folders: where it may lie, the better place first; one that cannot be written is passed over.
        of: what decides the blocks: corpus, molecules, block, seed, window and look-ahead.
        per_window: molecules of a window.
    """

    def __init__(self, folders: Sequence[Path], of: dict[str, Any], per_window: int):
        self.of, self.per_window = {"blocks of windows": FORMAT, **of}, per_window
        self.writes = True
        """Whether windows are added while training reads them: one rank does so."""
        name = hashlib.sha256(json.dumps(self.of, sort_keys=True).encode()).hexdigest()[:16]
        self.files = [folder / f"blocks-{name}.index" for folder in folders]
        self._kept, self._written = 0, time.monotonic()

    def read(self) -> list[int]:
        """Blocks of each of the first windows; none where nothing is kept."""
        found: list[int] = []
        for file in self.files:
            tables = read_tables(file, self.of)
            if tables is not None and len(tables[0]) > len(found):
                found = tables[0].tolist()
        self._kept = max(self._kept, len(found))
        return found

    def worth_keeping(self, windows: int) -> bool:
        """Whether so many windows take longer to count than a file is worth."""
        return windows * self.per_window >= MIN_MOLECULES

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Within the block no other process counts, where a lock can be had."""
        with contextlib.ExitStack() as stack:
            for file in self.files:
                with contextlib.suppress(OSError):  # a read-only corpus: the next place, or each for itself
                    lock = file_lock(file.with_name(f".{file.name}.lock"), busy=_tell_waiting)
                    stack.enter_context(lock)
                    break
            yield

    def keep(self, counts: Sequence[int] | np.ndarray, *, every: float = 0.0) -> None:
        """Write the counts if they are more than what is kept; where nothing can be written, do nothing.

        Args:
            counts: of the first windows.
            every: seconds that must have gone by since the last time.
        """
        known, now = len(counts), time.monotonic()
        if known <= self._kept or now - self._written < every or not self.worth_keeping(known):
            return
        self._written = now
        for file in self.files:
            with contextlib.suppress(OSError):
                write_tables(file, self.of, [np.asarray(counts, dtype=np.int64)])
                self._kept = known
                return


def _tell_waiting(_: str) -> None:
    log.info("Another process counts the blocks of this order: waiting for it.")


def ordered_threads(function: Callable[[int], int], tasks: Iterable[int]) -> Iterator[int]:
    """Results of a function over tasks in their order, on a thread a core.

    It is worth it where the function leaves the interpreter to others for most of its time.

    Args:
        function: of one task.
        tasks: drawn one by one.
    """
    cores = len(os.sched_getaffinity(0))
    if cores == 1:
        yield from map(function, tasks)
        return
    pool, waiting = ThreadPoolExecutor(cores), deque[Future[int]]()
    try:
        for task in tasks:
            waiting.append(pool.submit(function, task))
            if len(waiting) > 2 * cores:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
