"""Plain log lines: ours as they are, other libraries only when they warn."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


def show_logs() -> None:
    """Our own lines as they are; other libraries only when they warn."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr, force=True)
    logging.getLogger("chemscale").setLevel(logging.INFO)


MAX_WORDS = 200
"""Characters of a quoted error: some quote the whole line, or the whole file, that they could not read."""


def brief(error: object, most: int = MAX_WORDS) -> str:
    """What an error of a library says, on one line, cut where it is long, without control characters.

    Args:
        error: or a text.
        most: characters that are kept.
    """
    text = str(error)[: 4 * most]
    shown = "".join(c if c.isprintable() else " " if c.isspace() else f"\\x{ord(c):02x}" for c in text)
    shown = " ".join(shown.split())
    return shown if len(shown) <= most else f"{shown[:most]} …"


@contextmanager
def errors_only(*names: str) -> Iterator[None]:
    """Without warnings, and without what other libraries say below errors, while something runs.

    Args:
        names: of the libraries' loggers.
    """
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
