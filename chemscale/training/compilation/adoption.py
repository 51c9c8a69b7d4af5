"""How ranks come to a compiled step together: one cold compilation a node, and one verdict for all."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable
from typing import TypeVar

from chemscale.common.durations import format_duration
from chemscale.training.compilation.comparison import Difference
from chemscale.training.distributed.control import Control

log = logging.getLogger(__name__)
T = TypeVar("T")


def adopt(make: Callable[[], tuple[T, Difference]], precision: str, control: Control) -> T | None:
    """A compiled step that is right on every rank, else None for all, with one line in the log.

    The first rank of each node compiles while the others wait, and then find its code in the cache.

    Args:
        make: compiles; gives the step, and how far it is from the model itself on one batch.
        precision: ``trainer.precision``.
        control: how the ranks of the point agree.
    """
    started = time.perf_counter()
    hosts = control.gather(socket.gethostname())
    first = hosts.index(hosts[control.ranks.rank]) == control.ranks.rank
    step, problem, difference = None, "", None
    for turn in (True, False):
        if first is turn:
            try:
                step, difference = make()
                if difference.exceeds(precision):
                    problem = (
                        f"it differs from the model by {difference.value:.1e} ({difference.where}), which is "
                        "more than rounding"
                    )
            except Exception as error:  # whatever a compiler does, training can go on without it
                lines = str(error).strip().splitlines()
                problem = f"{type(error).__name__}: {lines[0] if lines else 'without a word'}"
        control.any(False)
    problems = [str(text) for text in control.gather(problem) if text]
    seconds = format_duration(time.perf_counter() - started)
    if problems:
        if control.ranks.is_first:
            log.warning(
                "Training goes on without compilation (%s lost): %s. trainer.compile=false skips the try.",
                seconds,
                problems[0],
            )
        return None
    if control.ranks.is_first and difference is not None:
        log.info(
            "Compiled in %s; outputs and parameter gradients are the model's within %.0e.",
            seconds,
            difference.value,
        )
    return step
