"""Progress of anything long: a bar on a terminal, plain lines now and then elsewhere."""

from __future__ import annotations

import logging
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from chemscale.common.durations import format_duration

log = logging.getLogger(__name__)


class ProgressBar:
    """Amount done, rate and time left.

    Args:
        title: of the bar, and before each line.
        total: amount in all; None where it is not known.
        unit: what is counted.
        every: seconds between plain lines where there is no terminal.
        silent: show nothing (ranks other than the first).
        console: where the bar is drawn; standard error if None.
    """

    def __init__(
        self,
        title: str,
        total: int | None,
        unit: str,
        *,
        every: float = 10.0,
        silent: bool = False,
        console: Console | None = None,
    ):
        self.title, self.total, self.unit, self.every = title, total, unit, every
        self.silent = silent
        self.console = console or Console(stderr=True)
        self.done = 0
        self._bar: Progress | None = None
        self._begin = 0
        self._started = self._last = time.monotonic()

    def __enter__(self) -> ProgressBar:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, done: int = 0) -> None:
        """Begin to show it.

        Args:
            done: what an earlier attempt did; the rate counts from here.
        """
        self.done = self._begin = done
        self._started = self._last = time.monotonic()
        if self.console.is_terminal and not self.silent:
            self._bar = Progress(
                TextColumn("[bold]{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[text]}"),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=self.console,
            )
            self._bar.start()
            self._task = self._bar.add_task(self.title, total=self.total, completed=done, text="")

    def advance(self, amount: int, note: str = "") -> None:
        """So much more is done."""
        self.update(self.done + amount, note)

    def update(self, done: int, note: str = "") -> None:
        """So much is done in all.

        Args:
            note: shown in place of the rate, such as a loss.
        """
        self.done = done
        rate = (done - self._begin) / max(1e-9, time.monotonic() - self._started)
        text = note or f"({rate:,.0f}/s)"
        if self._bar is not None:
            self._bar.update(self._task, completed=done, text=f"{self._amount()} {text}")
        elif not self.silent and time.monotonic() - self._last >= self.every:
            self._last = time.monotonic()
            log.info("%s %s %s%s", self.title, self._amount(), text, self._left(rate))

    def stop(self) -> None:
        """Take the bar off the terminal."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _left(self, rate: float) -> str:
        if self.total is None or not rate:
            return ""
        return f", {format_duration((self.total - self.done) / rate)} left"

    def _amount(self) -> str:
        of = f"/{self.total:,}" if self.total else ""
        return f"{self.done:,}{of} {self.unit}"
