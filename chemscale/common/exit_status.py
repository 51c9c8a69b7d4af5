"""Exit statuses of a rank, which are its verdict, and how a process ends at once."""

from __future__ import annotations

import logging
import os
import sys

DONE = 0
"""The point is done or paused."""
FAILED = 1
"""It failed for good: starting it again would fail in the same way."""
START_AGAIN = 75
"""It saved itself, or another rank is gone: start it again (EX_TEMPFAIL of sysexits.h)."""


def exit_now(status: int) -> None:
    """End this process with its output written out; threads of a communication library may never join."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
