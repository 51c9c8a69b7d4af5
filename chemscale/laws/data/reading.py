"""Anyone's table of runs as points of a law: which rows are fitted, and why the others are not.

One rule for every kind of file: a run whose state is not that of a finished one, that has no positive number
where the law needs one, or that copies an earlier row in every cell, is kept, not fitted, and counted by its
reason. A cell that can be read in two ways is refused by its row, and so is a table in which more than half
of the finished runs have no numbers, since its columns are then not what they were taken for.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from chemscale.laws.data import left_out
from chemscale.laws.data.cells import CellError, Numerals, numerals, shown_decimal
from chemscale.laws.data.columns import check_header, check_roles
from chemscale.laws.data.delimited import SEPARATORS
from chemscale.laws.data.exports import NAME
from chemscale.laws.data.points import MAX_VALUE, MIN_VALUE, ROLES, LawPoint, LawPoints, PointsError
from chemscale.laws.data.tables import Table, open_table

FINISHED = frozenset(
    ("finished", "done", "completed", "complete", "success", "succeeded", "successful", "ok", "passed")
)
UNFINISHED = frozenset(
    (
        "crashed", "failed", "failure", "error", "killed", "running", "pending", "queued", "preempted",
        "preempting", "cancelled", "canceled", "timeout", "stopped", "paused", "aborted", "diverged",
        "unknown", "out_of_memory", "oom", "node_fail", "incomplete",
    )
)  # fmt: skip
STATE_COLUMNS = ("State", "state", "STATE", "Status", "status", "STATUS")
_NO_FAULT = ("state ", "the same as")
"""How reasons begin that say nothing of how the cells were read."""
_INDEX = re.compile(r"|Unnamed: \d+|index|level_0", re.IGNORECASE)
"""Names of columns that only count rows, as pandas writes them."""


@dataclass(frozen=True)
class ReadTable:
    """Rows of a table as points.

    Args:
        points: of every row, fitted or not, in their order.
        rows: the cells of each point.
        notes: what a reader must know of how the table was read.
    """

    points: LawPoints
    rows: Sequence[Mapping[str, Any]]
    notes: list[str] = field(default_factory=list)


def read_csv(path: Path, columns: Mapping[str, str]) -> LawPoints:
    """Read points from anyone's table of runs (see ``read_table``).

    Args:
        path: of the file.
        columns: role → column name, as for ``read_table``.

    Raises:
        PointsError: as there.
    """
    return read_table(path, columns).points


def read_table(path: Path, columns: Mapping[str, str]) -> ReadTable:
    """Read points from a table of runs, whatever the file is (see ``open_table``).

    Args:
        path: of the file.
        columns: role → column or dotted key. Roles are ``loss`` and one or more of ``N``, ``D``, ``C``, ``U``
            (distinct tokens), ``J`` (joules); ``seed``, ``label`` and ``state`` where there are any, and
            ``group`` for the run whose checkpoints the rows are. A column called State or Status that holds
            states of runs is one without being named.

    Raises:
        PointsError: the file cannot be read, a column is missing or stands twice, a cell can be read in two
            ways, or more than half of the finished runs have no number.
    """
    check_roles(columns)
    table = open_table(path, columns.values())
    check_header(table.path, table.header, columns, SEPARATORS.get(table.separator, table.separator))
    reader = _Reader.of(table, columns)
    points = [reader.point(n, row) for n, row in zip(table.numbers, table.rows, strict=True)]
    if "step" not in columns:
        points = _without_copies(points, table)
    _refuse_misread(table.path, points)
    return ReadTable(LawPoints(tuple(points), str(path)), table.rows, table.notes)


@dataclass(frozen=True)
class _Reader:
    """How the cells of one table are read."""

    path: Path
    columns: Mapping[str, str]
    numerals: Mapping[str, Numerals]
    state: str | None

    @classmethod
    def of(cls, table: Table, columns: Mapping[str, str]) -> _Reader:
        roles = [role for role in (*ROLES, "loss", "step") if role in columns]
        cells = {role: table.column(columns[role]) for role in roles}
        shown = {shown_decimal(cells[role]) for role in roles}
        # Programs write semicolons where the comma is taken by decimals.
        decimal = "," if "," in shown or (table.separator == ";" and "." not in shown) else "."
        plain = table.separator in ("", ",", "|")
        how = {}
        for role in roles:
            try:
                size = role != "loss"
                how[role] = numerals(cells[role], size=size, decimal=decimal, thousands=size and plain)
            except CellError as error:
                raise PointsError(f"{table.path}, column {columns[role]}: {error}.") from None
        return cls(table.path, columns, how, columns.get("state") or _state_column(table))

    def point(self, number: int, row: Mapping[str, Any]) -> LawPoint:
        numbers: dict[str, float] = {}
        reasons = []
        for role in (*ROLES, "loss"):
            if role not in self.columns:
                continue
            value, reason = self._number(number, row, role)
            if value is not None:
                numbers[role] = value
            reasons += [reason] if reason else []
        state = _text(row.get(self.state)) if self.state else ""
        if self.state and state.lower() not in FINISHED:
            reasons.insert(0, left_out.in_state(state))
        label = self._named(row, "label") or (_text(row.get(NAME)) if self.state else "") or f"row {number}"
        return LawPoint(
            label,
            {axis: numbers[role] for role, axis in ROLES.items() if role in numbers},
            {"loss": numbers["loss"]} if "loss" in numbers else {},
            self._seed(number, row),
            used=not reasons,
            reason=reasons[0] if reasons else "",
            row=number,
            group=self._named(row, "group"),
        )

    def _named(self, row: Mapping[str, Any], role: str) -> str:
        return _text(row.get(self.columns[role])) if role in self.columns else ""

    def _number(self, number: int, row: Mapping[str, Any], role: str) -> tuple[float | None, str]:
        """A positive number, or why there is none."""
        column = self.columns[role]
        cell = row.get(column)
        try:
            value = self.numerals[role].number(cell)
        except CellError as error:
            raise PointsError(f"{self.path}, row {number}, column {column}: {error}.") from None
        if value is None:
            return None, left_out.no_number(column, _text(cell))
        if value == math.inf:
            return None, left_out.DIVERGED if role == "loss" else left_out.no_number(column, "inf")
        if value <= 0:
            return None, left_out.not_positive(column, value)
        if not MIN_VALUE <= value <= MAX_VALUE:
            return None, left_out.out_of_range(column, value, MIN_VALUE, MAX_VALUE)
        return value, ""

    def _seed(self, number: int, row: Mapping[str, Any]) -> int:
        if "seed" not in self.columns:
            return 0
        text = _text(row.get(self.columns["seed"]))
        if not text:
            return 0
        try:
            seed = float(text)
        except ValueError:
            seed = math.nan
        if not seed.is_integer():
            where = f"{self.path}, row {number}, column {self.columns['seed']}"
            raise PointsError(f"{where}: {text} is not a seed, a whole number.")
        return int(seed)


def _state_column(table: Table) -> str | None:
    """The column that holds states of runs without having been named; None where there is none."""
    for name in STATE_COLUMNS:
        if name in table.header:
            seen = {_text(cell).lower() for cell in table.column(name)}
            if seen & (FINISHED | UNFINISHED):
                return name
    return None


def _text(cell: Any) -> str:
    return "" if cell is None else str(cell).strip()


def _without_copies(points: Sequence[LawPoint], table: Table) -> list[LawPoint]:
    """The same points, those not used that equal an earlier row in every cell but an index."""
    names = [name for name in table.header if not _INDEX.fullmatch(name)]
    first: dict[str, LawPoint] = {}
    out = []
    for point, row in zip(points, table.rows, strict=True):
        earlier = first.setdefault(json.dumps([_text(row.get(name)) for name in names]), point)
        if earlier is not point and point.used:
            point = replace(point, used=False, reason=left_out.copy_of(earlier.where))
        out.append(point)
    return out


def _refuse_misread(path: Path, points: Sequence[LawPoint]) -> None:
    """Refuse a table of which nothing is fitted, or of whose finished runs more than half have no numbers."""
    left = [left_out.LeftOut(p.where, p.reason) for p in points if not p.used]
    wordless = [each for each in left if not each.kind.startswith(_NO_FAULT)]
    finished = len(points) - len(left) + len(wordless)
    if len(left) == len(points):
        first, advice = (f"; {_first(wordless)}", _ADVICE) if wordless else ("", _STATE_ADVICE)
        raise PointsError(
            f"{path}: none of its {len(points)} runs can be fitted: "
            f"{left_out.sentence(left, len(points))}{first}. {advice}"
        )
    if 2 * len(wordless) > finished:
        raise PointsError(
            f"{path}: more than half of its runs would be {left_out.sentence(wordless, finished)}; "
            f"{_first(wordless)}. {_ADVICE}"
        )


_ADVICE = (
    "Name other columns (--columns), write numbers as 1e6, 1M, 1.5 or 12%, or take the rows without a number "
    "out of the table."
)


_STATE_ADVICE = (
    "A run that finished has the state finished, done, completed, success or ok: correct the state, or "
    "rename its column where it holds none."
)


def _first(left: Sequence[left_out.LeftOut]) -> str:
    return f"{left[0].where}: {left[0].reason}"
