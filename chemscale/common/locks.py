"""File locks between processes, and data that one process makes while others wait for it."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

log = logging.getLogger(__name__)


class PointBusyError(ValueError):
    """Another live process is training a point."""


@contextlib.contextmanager
def file_lock(
    path: Path,
    *,
    busy: Callable[[str], BaseException | None] | None = None,
    without: str = "see that no second process of chemscale writes there",
    shared: bool = False,
) -> Iterator[IO[str]]:
    """Hold a lock on `path` (``flock``); the system frees it however the process ends.

    Where the file system has no locks (Lustre without ``-o flock``, NFS without its lock daemon) it warns
    once and goes on: a warning is worth more than a run that cannot begin.

    Args:
        path: of the lock file; its folder is made, and the file stays.
        busy: called once where another process holds the lock, with what that process wrote into the file; an
            error that it returns is raised, else this process waits. None: wait silently.
        without: what the user has to see to where there are no locks.
        shared: others may hold it too, if they also share it; else it is exclusive.

    Yields:
        The open lock file, for a note on its owner.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    with open(path, "a+") as file:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            refusal = busy(file.read().strip()) if busy is not None else None
            if refusal is not None:
                raise refusal from None
            fcntl.flock(file, kind)
        except OSError as error:
            _warn_once(path.parent, str(error), without)
        yield file


@functools.cache
def _warn_once(folder: Path, problem: str, advice: str) -> None:
    log.warning("%s cannot be locked (%s): %s.", folder, problem, advice)


_held = threading.local()
"""Locks of ``make_once`` that this thread holds."""


@contextlib.contextmanager
def make_once(made: Path, folder: Path, *, shared: bool = False) -> Iterator[bool]:
    """Whether to make something now: within the block no other process makes it, here or on another node.

    Ranks, points and sweeps that begin together would else write into each other's parts. What is there
    already needs no lock, so that a folder of data may be read-only. Within the block it may be used again.

    Args:
        made: what is there only once it is complete.
        folder: where the lock lies, named after `made`.
        shared: processes that also share it make it together; one that does not waits for all of them.
    """
    if made.exists():
        yield False
        return
    held: set[Path] = _held.__dict__.setdefault("locks", set())
    name = made.parent.name if made.parent != folder else made.name

    def wait(_: str) -> None:
        log.info("Another process prepares %s: waiting for it.", folder / name)

    lock = (folder / f".{name}.lock").absolute()
    if lock in held:  # by a caller on this thread: a second lock would wait for the first
        yield not made.exists()
        return
    with file_lock(lock, busy=wait, without="prepare data before ranks are started", shared=shared):
        held.add(lock)
        try:
            yield not made.exists()
        finally:
            held.discard(lock)
