"""What can go wrong with a download, told apart by what helps: waiting, another mirror, or the user."""

from __future__ import annotations


class FetchError(ValueError):
    """A data set that cannot be had as it was asked for; the message says why, and the way out."""


class Refused(Exception):
    """An answer that is not the file, now and at the next attempt: another mirror may have it."""


class Interrupted(Exception):
    """A transfer that broke off, or a server that asks to come back later.

    Args:
        reason: one clause.
        after: seconds that the server asks to wait; None where it names none.
    """

    def __init__(self, reason: str, after: float | None = None):
        super().__init__(reason)
        self.after = after
