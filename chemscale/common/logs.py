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
