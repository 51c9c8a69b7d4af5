"""Where every point stands: a table, live on a terminal, one line a change elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from chemscale.launchers.ledger import Entry, Submission
from chemscale.launchers.slurm.queue import JobState
from chemscale.records import RunRecord

COLUMNS = ("point", "identity", "state", "steps", "loss", "starts", "job", "SLURM", "node", "left")

LOOK_SECONDS, SOON_SECONDS, SELDOM_SECONDS = 2.0, 60.0, 20.0


@dataclass(frozen=True)
class Row:
    """What is shown of a point."""

    name: str
    identity: str
    state: str
    steps: str
    loss: str
    attempts: str
    job: str
    slurm: str
    node: str
    left: str

    def cells(self) -> list[str]:
        return list(vars(self).values())

    def line(self) -> str:
        """What is told where no terminal redraws the table."""
        place = " ".join(part for part in (self.job and f"job {self.job}", self.slurm, self.node) if part)
        parts = [self.name, self.state, f"starts {self.attempts}", self.loss, place]
        return " · ".join(part for part in parts if part)


def rows(submission: Submission, known: Mapping[str, JobState] | None = None) -> list[Row]:
    """One a point, in the order of the sweep.

    Args:
        known: what SLURM says of jobs; nothing for ranks of this machine.
    """
    return [
        row(identity, submission.points[identity], submission.record(identity), known or {})
        for identity in submission.sweep
    ]


def row(identity: str, entry: Entry, record: RunRecord | None, known: Mapping[str, JobState]) -> Row:
    """One point."""
    job = entry.jobs[-1] if entry.jobs else ""
    slurm = known.get(job, JobState())
    waits = f"{slurm.state} ({slurm.reason})" if slurm.state == "PENDING" and slurm.reason else slurm.state
    if record is None:
        return Row(entry.plan["name"], identity, "waiting", "", "", "0", job, waits, slurm.node, "")
    shown = record.final or record.best
    steps = f"{record.data.steps:,} of {record.planned_steps:,}"
    state = record.state.value + (f": {record.reason}" if record.reason else "")
    attempts = f"{max(0, record.attempts - entry.attempts_before)} of {entry.max_attempts}" if job else ""
    left = time_left(record) if record.state.value == "running" else ""
    loss = shown.headline if shown else ""
    return Row(
        entry.plan["name"], identity, state, steps, loss, attempts or "0", job, waits, slurm.node, left
    )


def time_left(record: RunRecord) -> str:
    """Of training, at the rate that the record has seen."""
    if not record.data.steps or not record.compute.seconds:
        return ""
    seconds = record.compute.seconds / record.data.steps * (record.planned_steps - record.data.steps)
    return f"≈ {timedelta(seconds=round(seconds))}"


def table(found: Sequence[Row]) -> Table:
    """All points."""
    shown = Table(*COLUMNS)
    for column in (3, 9):
        shown.columns[column].justify = "right"
    for one in found:
        shown.add_row(*(escape(cell) for cell in one.cells()))  # errors of libraries hold brackets
    return shown


def console() -> Console:
    """Standard error; wide enough for the table in a log file."""
    plain = Console(stderr=True)
    return plain if plain.is_terminal else Console(stderr=True, width=160)


class Watch:
    """Shows rows as they change, within ``with Watch() as watch``."""

    def __init__(self) -> None:
        self.console = console()
        self.live = Live(console=self.console, refresh_per_second=2) if self.console.is_terminal else None
        self._told: dict[str, tuple[str, str, str]] = {}

    def __enter__(self) -> Watch:
        if self.live is not None:
            self.live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.live is not None:
            self.live.stop()

    def show(self, found: Sequence[Row]) -> None:
        """Redraw, or tell what changed."""
        if self.live is not None:
            self.live.update(table(found))
            return
        for one in found:
            now = (one.state, one.attempts, one.slurm.split(" ")[0])
            if self._told.get(one.identity, ("waiting", "0", "")) != now:
                self.console.print(f"{time.strftime('%H:%M:%S')} {one.line()}", highlight=False, markup=False)
            self._told[one.identity] = now


def until(ready: Callable[[], bool]) -> None:
    """Ask again and again, seldom after the first minute: others ask the same controller."""
    begin = time.monotonic()
    while not ready():
        time.sleep(LOOK_SECONDS if time.monotonic() - begin < SOON_SECONDS else SELDOM_SECONDS)
