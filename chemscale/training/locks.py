"""One process per point: a second one is told so instead of writing over the first."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import IO

log = logging.getLogger(__name__)


class PointBusyError(ValueError):
    """Another live process is training this point."""


class PointLock:
    """Holds ``.lock`` in the point's directory; the system frees it however the process ends."""

    def __init__(self, directory: Path):
        self.path = Path(directory) / ".lock"
        self._file: IO[str] | None = None

    def __enter__(self) -> PointLock:
        import fcntl

        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(self.path, "a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.seek(0)
            owner = self._file.read().strip() or "unknown"
            self._file.close()
            raise PointBusyError(
                f"{self.path.parent} is being trained by another process ({owner}). Wait for it or stop it."
            ) from None
        except OSError as error:  # Lustre without -o flock, NFS without its lock daemon
            log.warning(
                "%s cannot be locked (%s): see that no second process trains there.", self.path.parent, error
            )
        self._file.truncate(0)
        self._file.write(f"pid {os.getpid()} on {os.uname().nodename}")
        self._file.flush()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._file is not None:
            self._file.close()
