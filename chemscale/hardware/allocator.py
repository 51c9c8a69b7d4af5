"""How the C library hands out memory: what a training step frees, the next one gets back."""

from __future__ import annotations

import ctypes
import os

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Options of mallopt(3)."""
LARGEST_KEPT = 1 << 30
"""Bytes; a larger piece goes back to the system when it is freed."""


def keep_freed_memory() -> bool:
    """Let glibc keep freed memory for this process; whether it does.

    By default glibc asks the system for every piece above 32 MiB and gives it back when it is freed: each
    tensor of that size then comes page by page, zeroed, and a force-training step on a CPU spends more time
    on that than on arithmetic. Nothing happens under another C library, or where the environment sets its
    own (``MALLOC_…``).
    """
    if any(name.startswith("MALLOC_") for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # musl, macOS, Windows
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT) and mallopt(M_TRIM_THRESHOLD, 2**31 - 1))
