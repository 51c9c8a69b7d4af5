"""One process trains a point: a second one is refused instead of writing over the first."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from chemscale.common.locks import PointBusyError, file_lock


@contextlib.contextmanager
def point_lock(directory: Path) -> Iterator[None]:
    """Hold the point in `directory`; the lock file ``.lock`` names the process that does.

    Args:
        directory: the point's own.

    Raises:
        PointBusyError: another process holds it.
    """

    def refuse(owner: str) -> PointBusyError:
        return PointBusyError(
            f"{directory} is being trained by another process ({owner or 'unknown'}). Wait for it or stop it."
        )

    with file_lock(
        Path(directory) / ".lock", busy=refuse, without="see that no second process trains there"
    ) as file:
        file.truncate(0)
        file.write(f"pid {os.getpid()} on {os.uname().nodename}")
        file.flush()
        yield
