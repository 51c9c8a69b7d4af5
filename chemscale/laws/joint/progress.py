"""Who hears how far descents are, without a callback in every signature between them and a command."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Listener = Callable[[int, int], None]
"""Called with how much of a piece of work is done, and with all of it; often, so that it must be quick."""

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Let `listener` hear of all work within."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


@contextmanager
def work(total: int) -> Iterator[Callable[[int], None]]:
    """A piece of work; yields what is called with each further part that is done.

    Work within other work is not heard of.

    Args:
        total: of the parts.
    """
    listener, done = _listener.get(), 0

    def advance(amount: int) -> None:
        nonlocal done
        done += amount
        if listener is not None:
            listener(done, total)

    token = _listener.set(None)
    try:
        yield advance
    finally:
        _listener.reset(token)
