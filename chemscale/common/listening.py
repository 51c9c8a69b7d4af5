"""Who hears how far long work is, without a callback in every signature between it and a command."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Listener = Callable[[int, int, str], None]
"""Called with how much of a piece of work is done, all of it, and what is counted; often, so it is quick."""

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
def work(total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """A piece of work; yields what is called with each further part that is done (0 shows that it lives).

    Work within other work is not heard of.

    Args:
        total: of the parts.
        unit: what they are, in the plural.
    """
    listener, done = _listener.get(), 0

    def advance(amount: int) -> None:
        nonlocal done
        done += amount
        if listener is not None:
            listener(done, total, unit)

    token = _listener.set(None)
    try:
        yield advance
    finally:
        _listener.reset(token)
