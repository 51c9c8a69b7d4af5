"""Progress of a run: a bar on a terminal, plain lines now and then elsewhere."""

from __future__ import annotations

import logging
import time

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

log = logging.getLogger(__name__)


class TrainingProgress:
    """Steps done, losses, rate and time left.

    Args:
        unit: what the rate counts.
        every: seconds between plain lines where there is no terminal.
        silent: shows nothing (of ranks other than the first).
    """

    def __init__(
        self,
        title: str,
        total: int,
        *,
        unit: str = "tokens",
        every: float = 10.0,
        console: Console | None = None,
        silent: bool = False,
    ):
        self.title, self.total, self.unit, self.every = title, total, unit, every
        self.console = console or Console(stderr=True)
        self.silent = silent
        self._bar: Progress | None = None
        self._started = self._last = time.monotonic()
        self._first_step = 0
        self._training = self._validation = ""

    def start(self, step: int) -> None:
        self._first_step = step
        self._started = self._last = time.monotonic()
        if self.console.is_terminal and not self.silent:
            self._bar = Progress(
                TextColumn("[bold]{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[text]}"),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=self.console,
            )
            self._bar.start()
            self._task = self._bar.add_task(self.title, total=self.total, completed=step, text="")

    def update(self, step: int, rate_per_second: float) -> None:
        text = f"{self._training}{self._validation}{rate_per_second:,.0f} {self.unit}/s"
        if self._bar is not None:
            self._bar.update(self._task, completed=step, text=text)
        elif not self.silent and time.monotonic() - self._last >= self.every:
            self._last = time.monotonic()
            rate = (step - self._first_step) / max(1e-9, self._last - self._started)
            left = (self.total - step) / rate if rate else float("inf")
            log.info("%s step %d/%d %s, %s left", self.title, step, self.total, text, clock(left))

    def trained(self, loss: float) -> None:
        self._training = f"loss {loss:.4f} "

    def validated(self, headline: str) -> None:
        self._validation = f"validation {headline} "

    def stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def clock(seconds: float) -> str:
    """Seconds as people say them: 42 s, 3 min 05 s, 2 h 10 min."""
    if seconds != seconds or seconds == float("inf"):
        return "unknown time"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
