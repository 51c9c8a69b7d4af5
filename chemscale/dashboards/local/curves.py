"""Learning curves of the page: ``metrics.jsonl`` read as it grows, and thinned without losing its peaks."""

from __future__ import annotations

import json
import math
import os
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chemscale.common.files import open_regular

MAX_ROWS = 200
"""Rows of one kind that are kept of a run after thinning; up to twice as many before."""
AXES = ("step", "seen", "flops", "seconds")
"""What a curve can be drawn against; a row begins with these four numbers."""
SEEN = ("step", "tokens", "molecules", "heavy_atoms", "frames", "atoms", "edges", "flops")
NO_METRIC = {"kind", *SEEN}
CHUNK = 1 << 20
TURN = 64 * CHUNK
"""Bytes that one look reads of a curve; the next one goes on."""
MAX_LINE = 4 * CHUNK
RECENT = 8
MAX_INTEGER = 10**300
"""Above it a whole number has no float."""


def thinned(rows: Sequence[array[float]], limit: int, watched: int = len(AXES)) -> list[array[float]]:
    """Thin rows: keep of every stretch the lowest and the highest of a column, and both ends.

    Stretches are even in steps and in the logarithm of steps at once, so that either axis looks whole.

    Args:
        rows: by step.
        limit: about how many stay.
        watched: the column whose extremes stay.
    """
    if len(rows) <= limit:
        return list(rows)
    first, last = rows[0][0], rows[-1][0]
    pieces = max(1, limit // 4)
    even = pieces / max(last - first, 1e-9)
    by_log = pieces / max(math.log1p(last) - math.log1p(first), 1e-9)
    stretches: dict[tuple[int, int], list[array[float]]] = {}
    for row in rows:
        place = int((row[0] - first) * even), int((math.log1p(row[0]) - math.log1p(first)) * by_log)
        stretches.setdefault(place, []).append(row)
    out = [rows[0]]
    for stretch in stretches.values():
        known = [row for row in stretch if not math.isnan(row[watched])] or stretch
        ends = (min(known, key=lambda row: row[watched]), max(known, key=lambda row: row[watched]))
        for row in sorted(ends, key=lambda row: row[0]):
            if not any(row is taken for taken in (rows[0], rows[-1], out[-1])):
                out.append(row)
    return [*out, rows[-1]]


class Series:
    """Rows of one kind (train, validation, truth): the four axes, then the metrics of its first row."""

    def __init__(self, row: dict[str, Any]):
        self.metrics = [k for k, v in row.items() if k not in NO_METRIC and (v is None or is_number(v))]
        self.rows: list[array[float]] = []

    def add(self, axes: Sequence[float], row: dict[str, Any]) -> None:
        """Take in one row.

        Args:
            axes: its numbers of ``AXES``.
            row: the metrics by name.
        """
        if not self.metrics:
            return
        self.rows.append(array("d", [*axes, *[_number(row.get(key)) for key in self.metrics]]))
        if len(self.rows) >= 2 * MAX_ROWS:
            self.rows = thinned(self.rows, MAX_ROWS)

    def last(self, metric: str) -> float | None:
        """The newest value of a metric, None where there is none."""
        if metric not in self.metrics or not self.rows:
            return None
        value = self.rows[-1][len(AXES) + self.metrics.index(metric)]
        return None if math.isnan(value) else value

    def table(self, metric: str, limit: int) -> dict[str, list[float | None]]:
        """Columns of the axes and ``y``, to five digits; None where a number is missing.

        Args:
            metric: that becomes ``y``.
            limit: about how many rows.
        """
        column = len(AXES) + self.metrics.index(metric)
        rows = thinned(self.rows, limit, column)
        columns = {axis: [_short(row[place]) for row in rows] for place, axis in enumerate(AXES)}
        return columns | {"y": [_short(row[column]) for row in rows]}


class Curve:
    """``metrics.jsonl`` of one run. ``read`` takes only what is new; a file that was cut is read again.

    ``seconds`` are those of training, from the rates of the throughput lines: rows have no clock.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        self.moved = 0.0
        """When the file last changed, seconds of the epoch."""
        self._forget()

    def _forget(self) -> None:
        self.series: dict[str, Series] = {}
        self.broken_lines = 0
        self._newest: dict[str, dict[str, Any]] = {}
        self._offset, self._inode, self._size = 0, -1, -1
        self.unread = False
        self._clock = self._clocked = 0.0
        self._waiting: dict[str, Any] | None = None

    def read(self) -> bool:
        """Take in what was added since the last time; whether anything was.

        A file that is missing or cannot be read now is an empty curve.
        """
        try:
            with open_regular(self.path) as file:
                status = os.fstat(file.fileno())
                if status.st_ino != self._inode or status.st_size < self._offset:
                    self._forget()
                elif not self.unread and status.st_size == self._size and status.st_mtime == self.moved:
                    return False
                self._inode, self._size, self.moved = status.st_ino, status.st_size, status.st_mtime
                return self._take(file)
        except OSError:
            if self._inode == -1:
                return False
            self._forget()
            return True

    def _take(self, file: Any) -> bool:
        """Whole lines from the offset on, ``TURN`` bytes at most; a half-written last one waits for its end.

        What has no line ends is no curve: it is passed over, and what is written behind it read again.
        """
        file.seek(self._offset)
        rest, grown, left = b"", False, TURN
        while left > 0 and (chunk := file.read(CHUNK)):
            left -= len(chunk)
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._offset += len(line) + 1
                grown = True
                self._line(line)
            if len(rest) >= MAX_LINE:
                self.broken_lines += 1
                self._offset, left, rest = self._size, TURN, b""
                file.seek(self._offset)
        self.unread = left <= 0
        if self._waiting is not None and grown:
            self._put(self._waiting)
            self._waiting = None
        return grown

    def _line(self, line: bytes) -> None:
        try:
            row = json.loads(line)
            good = isinstance(row["kind"], str) and is_number(row["step"]) and row["step"] >= 0
        except (ValueError, KeyError, TypeError, RecursionError):
            good = False
        if not good:
            self.broken_lines += bool(line.strip())
            return
        if self._waiting is not None:
            # The throughput line that follows a training row has how long it took.
            if row["kind"] == "truth" and row["step"] == self._waiting["step"]:
                self._tick(row)
            self._put(self._waiting)
            self._waiting = None
        if row["kind"] == "train":
            self._waiting = row
            return
        if row["kind"] == "truth":
            self._tick(row)
        self._put(row)

    def _tick(self, row: dict[str, Any]) -> None:
        unit = _unit(row)
        seen, rate = _number(row.get(unit)), _number(row.get(f"{unit}_per_second"))
        if seen > self._clocked and rate > 0:
            self._clock += (seen - self._clocked) / rate
            self._clocked = seen

    def _put(self, row: dict[str, Any]) -> None:
        unit, step = _unit(row), float(row["step"])
        axes = (step, _number(row.get(unit)), _number(row.get("flops")), self._clock or math.nan)
        if row["kind"] not in self.series:
            self.series[row["kind"]] = Series(row)
        self.series[row["kind"]].add(axes, row)
        self._newest[row["kind"]] = row

    # --- what a table shows of it ---

    @property
    def newest(self) -> dict[str, float]:
        """Step and amounts seen, of the newest rows."""
        out: dict[str, float] = {}
        for row in sorted(self._newest.values(), key=lambda row: row["step"]):
            out |= {key: float(row[key]) for key in SEEN if is_number(row.get(key))}
        return out

    def last(self, kind: str, metric: str) -> float | None:
        """The newest value of a metric, None where there is none."""
        return self.series[kind].last(metric) if kind in self.series else None

    def steps_per_second(self) -> float | None:
        """Over the newest throughput lines, at most ``RECENT``; validation and checkpoints are not in it."""
        rows = self.series["truth"].rows[-RECENT:] if "truth" in self.series else []
        if len(rows) > 1 and rows[-1][3] > rows[0][3]:
            return (rows[-1][0] - rows[0][0]) / (rows[-1][3] - rows[0][3])
        newest = self.newest
        for unit in ("tokens", "frames"):
            rate, seen, step = self.last("truth", f"{unit}_per_second"), newest.get(unit), newest.get("step")
            if rate and seen and step:
                return rate * step / seen
        return None

    def every_seconds(self) -> float | None:
        """How long the run takes from one row to the next, None where fewer than two are known."""
        rows = self.series["truth"].rows if "truth" in self.series else []
        return rows[-1][3] - rows[-2][3] if len(rows) > 1 else None


def _unit(row: dict[str, Any]) -> str:
    return "tokens" if "tokens" in row else "frames"


def is_number(value: Any) -> bool:
    """Whether it is a finite number; true and false are none."""
    return not math.isnan(_number(value))


def _number(value: Any) -> float:
    """NaN for what is no finite number, true and false among it."""
    if type(value) is float:
        return value if math.isfinite(value) else math.nan
    return float(value) if type(value) is int and abs(value) < MAX_INTEGER else math.nan


def _short(value: float) -> float | None:
    return None if math.isnan(value) else float(f"{value:.5g}")
