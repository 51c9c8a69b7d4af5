"""The interface of a tracker, and several of them as one."""

from __future__ import annotations

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)


METRICS = "metrics.jsonl"
"""In the directory of a run: every row."""


class TrackerError(ValueError):
    """A logger that cannot be used; the message names the key and the way out."""


@dataclass(frozen=True)
class RunInfo:
    """What a tracker knows of a run when it begins, or goes on."""

    directory: Path
    """The point's own."""
    sweep: str
    name: str
    identity: str
    axis: str
    """The unit of data that metrics are shown against: tokens or frames."""
    config: Mapping[str, Any]
    resume_step: int = 0
    """The optimiser step that the run goes on from; 0 at its beginning."""
    roll_backs: Sequence[Mapping[str, Any]] = ()
    """Of the record: steps ``from`` which and ``to`` which the run went back, in order."""

    @property
    def skipped(self) -> int:
        """Optimiser steps that roll-backs took away: they stay in what trackers have seen."""
        return sum(back["from"] - back["to"] for back in self.roll_backs)

    def skipped_before(self, step: int) -> int:
        """Of them, those taken away before the row of a step was logged; later ones went back to behind it.

        Args:
            step: of a row that is still in the curve.
        """
        last = max((n for n, back in enumerate(self.roll_backs) if back["to"] < step), default=-1)
        return sum(back["from"] - back["to"] for back in self.roll_backs[: last + 1])


@dataclass(frozen=True)
class SweepLaw:
    """The law of a sweep, for trackers that show it."""

    sweep: str
    folder: Path
    """Holds ``law.json``, ``report.html``, ``points.csv`` and the figures."""
    law: Mapping[str, Any]
    """``law.json``"""
    figures: Sequence[Path]
    """The PNG files, the law's own first."""


class Tracker(ABC):
    """Receives rows, and the record at the end.

    A row is a dictionary: ``kind`` (train, validation, truth, generation), ``step``, counts of the data seen,
    ``flops``, and numbers; None where a number does not exist. One that was found later than its step has
    ``logged_at`` too. A subclass takes a ``RunInfo`` and, as keywords, the keys
    of its file in ``conf/logger/``, which names the class in ``_target_``. Whatever it raises is logged
    once, and the run goes on without it.
    """

    @classmethod
    def check(cls, settings: Mapping[str, Any]) -> None:
        """See, before compute is spent, that it can be used with these settings.

        Raises:
            TrackerError: a package or an account is missing, or a setting is wrong.
        """
        return None

    @abstractmethod
    def log(self, row: Mapping[str, Any]) -> None: ...

    def flush(self) -> None:
        """Make everything logged so far survive a kill."""
        return None

    @abstractmethod
    def finish(self, summary: Mapping[str, Any]) -> None:
        """The run ends, well or not: ``summary["state"]`` says which. Nothing follows."""

    @classmethod
    def log_law(cls, law: SweepLaw, settings: Mapping[str, Any]) -> str:
        """Show the law of a sweep; one line on where, or an empty text."""
        return ""


class Silent(Tracker):
    """Of ranks that do not track."""

    def log(self, row: Mapping[str, Any]) -> None: ...

    def finish(self, summary: Mapping[str, Any]) -> None: ...


class Trackers(Tracker):
    """Several trackers as one; a broken secondary one is reported once and never stops a run."""

    def __init__(self, primary: Tracker, secondary: Sequence[Tracker]):
        self.primary, self.secondary = primary, list(secondary)

    def _each(self, call: Callable[[Tracker], None]) -> None:
        for tracker in list(self.secondary):
            try:
                call(tracker)
            except Exception as error:
                log.warning("%s stopped tracking: %s", type(tracker).__name__, error)
                self.secondary.remove(tracker)

    def log(self, row: Mapping[str, Any]) -> None:
        self.primary.log(row)
        self._each(lambda tracker: tracker.log(row))

    def flush(self) -> None:
        self.primary.flush()
        self._each(lambda tracker: tracker.flush())

    def finish(self, summary: Mapping[str, Any]) -> None:
        try:
            self.primary.finish(summary)
        finally:
            self._each(lambda tracker: tracker.finish(summary))


COUNTS = ("step", "tokens", "molecules", "heavy_atoms", "frames", "atoms", "edges", "flops", "logged_at")
"""Keys of a row that say where it stands; the others are metrics."""


def metrics_of(row: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a row as ``kind/key``; those that do not exist are left out."""
    return {
        f"{row['kind']}/{key}": value
        for key, value in row.items()
        if key not in COUNTS and key != "kind" and value is not None
    }


def flat(tree: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Leaves by their dotted keys; what is absent (None) or a list is left out."""
    out: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            out |= flat(value, f"{above}{key}.")
        elif isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value)):
            out[f"{above}{key}"] = value
    return out
