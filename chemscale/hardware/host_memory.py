"""How this process deals with the memory of its host."""

from __future__ import annotations

import ctypes
import os
import sys

TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3
"""Parameters of glibc's ``mallopt``."""


def keep_freed_memory() -> bool:
    """Let glibc keep freed memory for what is allocated next; whether it does.

    A training step frees and allocates the same megabytes again and again. By default they go back to the
    system in between, which clears them anew, page by page: thousands of page faults a step. The peak of a
    process stays what it was; it is held to the end. Nothing happens under another C library, or where the
    environment has settings of its own (``MALLOC_…``).
    """
    if any(name.startswith("MALLOC_") for name in os.environ):
        return False
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # another C library, such as musl
        return False
    wanted = {MMAP_THRESHOLD: 1 << 30, TRIM_THRESHOLD: 1 << 30, TOP_PAD: 64 << 20}
    taken = [mallopt(parameter, value) == 1 for parameter, value in wanted.items()]
    return all(taken)
