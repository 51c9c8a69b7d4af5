"""Stopping at a step boundary: a signal only sets a flag."""

from __future__ import annotations

import signal
import threading
from types import FrameType

NAMES = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2")
SIGNALS = tuple(getattr(signal, name) for name in NAMES if hasattr(signal, name))


class Interrupted(KeyboardInterrupt):
    """The point stopped at a step boundary, saved itself, and continues with the same command."""


class StopFlag:
    """Within ``with StopFlag() as flag`` the first signal asks for a stop; a second Ctrl-C is immediate.

    A handler may only set a flag: what all ranks make of it is decided in ``stopping.Stopping``.

    Attributes:
        name: of the newest signal, None where there was none.
    """

    def __init__(self) -> None:
        self.name: str | None = None
        self._previous: dict[int, object] = {}

    def __enter__(self) -> StopFlag:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.getsignal(number) for number in SIGNALS}
            self.install()
        return self

    def install(self) -> None:
        """Take the signals (again): Lightning puts its own handlers in place when a fit begins."""
        for number in self._previous:
            signal.signal(number, self._handle)

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.name is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.name = signal.Signals(number).name
