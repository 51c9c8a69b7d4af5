"""What a command of several stages is doing: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console

from chemscale.common.durations import format_duration
from chemscale.common.progress import ProgressBar

QUIET = 5.0
"""Seconds after which a command shows what it is doing, and between its plain lines."""
BRIEF = 1.0
"""Seconds that a piece of work takes before it gets a bar."""


class Stages:
    """Shows each stage as it begins and how far its work is; nothing in the first `quiet` seconds.

    Args:
        quiet: seconds before the first sign, and between plain lines within a stage.
        console: where it is shown; standard error if None.
    """

    def __init__(self, quiet: float = QUIET, console: Console | None = None):
        self.quiet, self.console = quiet, console or Console(stderr=True)
        self.begun = self.last = self.since = time.monotonic()
        self.text, self.piece, self.done = "", (0, ""), 0
        self.bar: ProgressBar | None = None

    def __enter__(self) -> Stages:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def __call__(self, text: str) -> None:
        """A stage begins."""
        self._close()
        self.text, self.piece = text, (0, "")
        if time.monotonic() - self.begun > self.quiet:
            self._line(f"{text} …")

    def heard(self, done: int, total: int, unit: str) -> None:
        """So much of a piece of the stage's work is done (see ``common.listening``)."""
        now = time.monotonic()
        if (total, unit) != self.piece or done < self.done:
            self._close()
            self.piece, self.since = (total, unit), now
        self.done = done
        if now - self.begun <= self.quiet:
            return
        if not self.console.is_terminal:
            if now - self.last >= self.quiet:
                self._line(f"{self.text}: {done:,}/{total:,} {unit}{self._rate(now)}")
        elif now - self.since > BRIEF:
            if self.bar is None:
                self.bar = ProgressBar(f"  {self.text}", total, unit, console=self.console)
                self.bar.start(done)
            self.bar.update(done)

    def _rate(self, now: float) -> str:
        rate = self.done / max(1e-9, now - self.since)
        if not rate:
            return ""
        return f" ({rate:,.3g}/s), {format_duration((self.piece[0] - self.done) / rate)} left"

    def _line(self, text: str) -> None:
        self.last = time.monotonic()
        line = f"  {format_duration(self.last - self.begun)}: {text}"
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None
