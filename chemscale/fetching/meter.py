"""Progress of bytes, in megabytes, and lengths as people read them."""

from __future__ import annotations

import math
import time
from types import TracebackType

from chemscale.common.progress import ProgressBar

MEGABYTE = 1_000_000
MIN_SHOWN = 5 * MEGABYTE
"""Bytes below which nothing is shown: it is over before one could read it."""


class Meter:
    """A bar of megabytes on a terminal, a line now and then elsewhere.

    Args:
        title: what is going on.
        total: bytes in all; None where they are not known.
        done: bytes that an earlier attempt left.
    """

    def __init__(self, title: str, total: int | None, done: int = 0):
        small = total is not None and total < MIN_SHOWN
        megabytes = None if total is None else math.ceil(total / MEGABYTE)
        self._bar = ProgressBar(title, megabytes, "MB", silent=small)
        self._begin = self._done = done
        self._started = time.monotonic()

    def __enter__(self) -> Meter:
        self._bar.start(self._done // MEGABYTE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def advance(self, amount: int) -> None:
        """So many more bytes are done."""
        self._done += amount
        seconds = max(1e-9, time.monotonic() - self._started)
        rate = (self._done - self._begin) / MEGABYTE / seconds
        self._bar.update(self._done // MEGABYTE, f"({rate:,.1f} MB/s)")


def format_bytes(count: int) -> str:
    """For example 812 bytes, 1.5 MB, 37.5 GB; powers of 1000, as disks and servers count."""
    if count < 1000:
        return f"{count} bytes"
    for unit, size in (("kB", 1e3), ("MB", 1e6), ("GB", 1e9)):
        if count < 1000 * size:
            return f"{count / size:.3g} {unit}"
    return f"{count / 1e12:.3g} TB"
