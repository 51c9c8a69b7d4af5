"""Data are made by one process; others that want the same wait for it and then find them there."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

log = logging.getLogger(__name__)


@contextlib.contextmanager
def one_maker(made: Path, folder: Path) -> Iterator[bool]:
    """Whether to make something now: within it no other process makes it, on this machine or another.

    Ranks, points and sweeps that begin together would else write into each other's parts. What is there
    already needs no lock, so that a folder of data may be read-only.

    Args:
        made: what is there only once it is complete.
        folder: where the lock lies, named after `made`.
    """
    import fcntl

    if made.exists():
        yield False
        return
    folder.mkdir(parents=True, exist_ok=True)
    name = made.parent.name if made.parent != folder else made.name
    with open(folder / f".{name}.lock", "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("Another process prepares %s: waiting for it.", folder / name)
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:  # Lustre without -o flock, NFS without its lock daemon
            log.warning("%s cannot be locked (%s): prepare data before ranks are started.", folder, error)
        yield not made.exists()
