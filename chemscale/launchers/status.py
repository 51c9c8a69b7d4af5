"""A table of where every point stands: live on a terminal, one line a change elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from chemscale.common.durations import format_duration
from chemscale.launchers.ledger import Entry, Submission
from chemscale.launchers.slurm.queue import JobState
from chemscale.records import RunRecord, State

COLUMNS = ("point", "identity", "state", "steps", "loss", "starts", "job", "SLURM", "node", "left")
RIGHT_ALIGNED = (3, 9)
LOG_FILE_WIDTH = 160
"""Columns of the table where no terminal has a width of its own."""


@dataclass(frozen=True)
class Row:
    """What is shown of a point, a field a column."""

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
        """The fields in the order of the columns."""
        return list(vars(self).values())

    def line(self) -> str:
        """The row as one line, for where no terminal redraws the table."""
        place = " ".join(part for part in (self.job and f"job {self.job}", self.slurm, self.node) if part)
        parts = [self.name, self.state, f"starts {self.attempts}", self.loss, place]
        return " · ".join(part for part in parts if part)


def point_rows(submission: Submission, states: Mapping[str, JobState] | None = None) -> list[Row]:
    """Rows of all points, in the order of the sweep.

    Args:
        submission: what was launched.
        states: of jobs, by id, as SLURM sees them; None for ranks of this machine.
    """
    return [
        point_row(identity, entry, submission.record(identity), states or {})
        for identity, entry in submission.entries().items()
    ]


def point_row(identity: str, entry: Entry, record: RunRecord | None, states: Mapping[str, JobState]) -> Row:
    """The row of one point.

    Args:
        identity: of the point.
        entry: of the ledger.
        record: None before the point began.
        states: of jobs, by id.
    """
    job = entry.jobs[-1] if entry.jobs else ""
    slurm = states.get(job, JobState())
    waits = f"{slurm.state} ({slurm.reason})" if slurm.state == "PENDING" and slurm.reason else slurm.state
    if record is None:
        return Row(entry.name, identity, "waiting", "", "", "0", job, waits, slurm.node, "")
    shown = record.final or record.best
    return Row(
        name=entry.name,
        identity=identity,
        state=record.state.value + (f": {record.reason}" if record.reason else ""),
        steps=f"{record.data.steps:,} of {record.planned_steps:,}",
        loss=shown.headline if shown else "",
        attempts=f"{max(0, record.attempts - entry.attempts_before)} of {entry.max_attempts}" if job else "0",
        job=job,
        slurm=waits,
        node=slurm.node,
        left=time_left(record) if record.state is State.RUNNING else "",
    )


def time_left(record: RunRecord) -> str:
    """Time that the rest of training takes at the rate that the record has seen."""
    if not record.data.steps or not record.compute.seconds:
        return ""
    seconds = record.compute.seconds / record.data.steps * (record.planned_steps - record.data.steps)
    return f"≈ {format_duration(seconds)}"


def status_table(rows: Sequence[Row]) -> Table:
    """The table of all points."""
    table = Table(*COLUMNS)
    for column in RIGHT_ALIGNED:
        table.columns[column].justify = "right"
    for row in rows:
        table.add_row(*(escape(cell) for cell in row.cells()))  # errors of libraries hold brackets
    return table


def status_console() -> Console:
    """Standard error; wide enough for the table in a log file."""
    plain = Console(stderr=True)
    return plain if plain.is_terminal else Console(stderr=True, width=LOG_FILE_WIDTH)


class LiveTable:
    """Shows rows as they change, within ``with LiveTable() as table``."""

    def __init__(self) -> None:
        self.console = status_console()
        self.live = Live(console=self.console, refresh_per_second=2) if self.console.is_terminal else None
        self._printed: dict[str, tuple[str, str, str]] = {}

    def __enter__(self) -> LiveTable:
        if self.live is not None:
            self.live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.live is not None:
            self.live.stop()

    def show(self, rows: Sequence[Row]) -> None:
        """Redraw the table, or print a line for every point that changed."""
        if self.live is not None:
            self.live.update(status_table(rows))
            return
        for row in rows:
            now = (row.state, row.attempts, row.slurm.split(" ")[0])
            if self._printed.get(row.identity, ("waiting", "0", "")) != now:
                self.console.print(f"{time.strftime('%H:%M:%S')} {row.line()}", highlight=False, markup=False)
            self._printed[row.identity] = now
