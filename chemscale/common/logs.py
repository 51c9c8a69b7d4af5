"""Plain log lines: ours as they are, other libraries only when they warn."""

from __future__ import annotations

import logging
import sys


def show_logs() -> None:
    """Our own lines as they are; other libraries only when they warn."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr, force=True)
    logging.getLogger("chemscale").setLevel(logging.INFO)
