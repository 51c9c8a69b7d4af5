"""Points of a law: sizes under every convention, losses, and where they come from."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

ROLES = {"N": "parameters", "D": "tokens", "C": "flops", "U": "unique_tokens", "J": "joules"}
"""What a column of a table is, and the axis that it gives."""
MIN_VALUE, MAX_VALUE = 1e-30, 1e60
"""Sizes and losses outside these are mistakes, and their powers leave what a number holds."""


class PointsError(ValueError):
    """Points that cannot be read; the message names file, row and column."""


@dataclass(frozen=True)
class LawPoint:
    """One run as a point of a law.

    Args:
        label: name of the run.
        sizes: axis (``parameters``, ``tokens``, ``unique_tokens``, ``frames``, ``flops``, ``joules``, or a
            convention such as ``blocks``) → number.
        losses: unit → loss.
        seed: of the run.
        used: whether it is fitted; it is shown in any case.
        reason: why it is not used.
        extra: anything else.
        group: what it shares its noise with, such as the trunk that its run began from; points of equal
            names share it, those without one are on their own.
    """

    label: str
    sizes: dict[str, float]
    losses: dict[str, float]
    seed: int = 0
    used: bool = True
    reason: str = ""
    extra: dict[str, Any] = field(default_factory=dict)
    group: str = ""


@dataclass(frozen=True)
class LawPoints:
    """A table of points."""

    points: tuple[LawPoint, ...]
    source: str

    def used(self, axis: str, unit: str) -> tuple[np.ndarray, np.ndarray]:
        """Sizes (n,) and losses (n,) of the points that are fitted, by size."""
        pairs = sorted((p.sizes[axis], p.losses[unit]) for p in self.points if p.used)
        return np.array([x for x, _ in pairs]), np.array([y for _, y in pairs])

    def table(self, axes: Sequence[str], unit: str) -> tuple[np.ndarray, np.ndarray]:
        """Sizes and losses of the points that are fitted, in their order.

        Args:
            axes: of the sizes.
            unit: of the loss.

        Returns:
            (n, k) sizes and (n,) losses.

        Raises:
            PointsError: a point lacks one of the axes.
        """
        chosen = self.fitted(unit)
        for axis in axes:
            lacking = [p.label for p in chosen if axis not in p.sizes]
            if lacking:
                raise PointsError(f"{axis} is needed and {lacking[0]} does not have it.")
        sizes = np.array([[p.sizes[axis] for axis in axes] for p in chosen], dtype=float)
        return sizes.reshape(len(chosen), len(axes)), np.array([p.losses[unit] for p in chosen])

    def fitted(self, unit: str) -> list[LawPoint]:
        """The points that are fitted, in their order."""
        return [p for p in self.points if p.used and unit in p.losses]

    def repeats(self) -> bool:
        """Whether any run sees its data more than once."""
        return _repeats(self)

    def without_highest(self, count: int, unit: str) -> LawPoints:
        """The same table with the runs of the highest losses left out, as Besiroglu et al. 2024 do.

        Args:
            count: how many.
            unit: of the loss.

        Raises:
            PointsError: nothing would remain.
        """
        chosen = sorted(self.fitted(unit), key=lambda p: -p.losses[unit])
        if count >= len(chosen):
            raise PointsError(f"--exclude-highest {count}: there are only {len(chosen)} runs to fit.")
        out = {id(p) for p in chosen[:count]}
        why = "the highest loss" if count == 1 else f"one of the {count} highest losses"
        return self._with([replace(p, used=False, reason=why) if id(p) in out else p for p in self.points])

    def with_six_nd(self) -> LawPoints:
        """The same table with C = 6ND where a point has no C, or D = C/6N where it has no D."""
        points = []
        for p in self.points:
            sizes = dict(p.sizes)
            n, d, c = (sizes.get(axis) for axis in ("parameters", "tokens", "flops"))
            if n and d and c is None:
                sizes["flops"] = 6 * n * d
            elif n and c and d is None:
                sizes["tokens"] = c / (6 * n)
            points.append(replace(p, sizes=sizes))
        return self._with(points)

    def _with(self, points: Sequence[LawPoint]) -> LawPoints:
        return LawPoints(tuple(points), self.source)

    @property
    def hash(self) -> str:
        """Hash of every number that a fit may use."""
        rows = [asdict(p) for p in self.points]
        rows = [{key: value for key, value in row.items() if key != "group" or value} for row in rows]
        return hashlib.sha256(json.dumps(rows, sort_keys=True, default=str).encode()).hexdigest()


def read_csv(path: Path, columns: Mapping[str, str]) -> LawPoints:
    """Read points from anyone's CSV.

    Args:
        path: of the file.
        columns: role → column name. Roles are ``loss`` and one or more of ``N``, ``D``, ``C``, ``U``
            (distinct tokens), ``J`` (joules); ``seed`` and ``label`` where there are any.

    Raises:
        PointsError: a column is missing or stands twice, a cell is not a positive number, or there is no row.
    """
    check_roles(columns)
    header, rows = csv_rows(path)
    check_header(path, header, columns)
    points = []
    for number, row in enumerate(rows, start=2):
        sizes = {ROLES[r]: _positive(path, number, row, columns[r]) for r in ROLES if r in columns}
        loss = _positive(path, number, row, columns["loss"])
        label = row[columns["label"]] if "label" in columns else f"row {number}"
        seed = _seed(path, number, row, columns["seed"]) if "seed" in columns else 0
        points.append(LawPoint(label, sizes, {"loss": loss}, seed))
    return LawPoints(tuple(points), str(path))


def check_roles(columns: Mapping[str, str]) -> None:
    """Refuse roles of columns that are unknown or not enough for a law.

    Raises:
        PointsError: they are not.
    """
    if "loss" not in columns or not set(columns) & set(ROLES):
        raise PointsError("--columns needs loss=NAME and at least one of N=NAME, D=NAME, C=NAME.")
    unknown = set(columns) - {*ROLES, "loss", "seed", "label"}
    if unknown:
        known = ", ".join((*ROLES, "loss", "seed", "label"))
        raise PointsError(f"--columns: unknown roles {sorted(unknown)}; known are {known}.")


def parse_columns(text: str) -> dict[str, str]:
    """Columns by role, from ``N=params,loss=val``.

    Raises:
        PointsError: a part is not ROLE=NAME, or a role is given twice.
    """
    columns: dict[str, str] = {}
    for part in text.split(","):
        role, equals, name = part.partition("=")
        role = role.strip()
        if not (role and equals and name.strip()):
            raise PointsError(f"--columns {text}: {part!r} is not ROLE=NAME, such as loss=val_loss.")
        if role in columns:
            raise PointsError(f"--columns gives {role} twice: {columns[role]} and {name}. Name one column.")
        columns[role] = name
    return columns


def check_header(path: Path, header: Sequence[str], columns: Mapping[str, str]) -> None:
    """Refuse a file that lacks a column or has it twice.

    Args:
        path: of the file, for the message.
        header: names of its columns.
        columns: that are used, by role.

    Raises:
        PointsError: it does not.
    """
    for column in columns.values():
        if column not in header:
            raise PointsError(f"{path}: no column {column!r}; there are {', '.join(header)}.")
        if (times := header.count(column)) > 1:
            raise PointsError(f"{path}: {times} columns are called {column!r}. Rename all but one.")


def csv_rows(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Header and rows of a CSV file.

    Raises:
        PointsError: no file, no CSV, or no row.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            text = file.read()
        if "\0" in text:
            raise csv.Error("it holds bytes of zero, as binary files do")
        reader = csv.DictReader(io.StringIO(text, newline=""))
        header, rows = list(reader.fieldnames or []), list(reader)
    except FileNotFoundError:
        raise PointsError(f"{path}: no such file.") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise PointsError(f"{path}: not a CSV file ({error}).") from None
    if not rows:
        raise PointsError(f"{path}: there is no row below the header.")
    return header, rows


def _number(path: Path, number: int, row: Mapping[str, str], column: str) -> float:
    text = row.get(column) or ""
    try:
        return float(text)
    except ValueError:
        raise PointsError(f"{path}, row {number}, column {column}: {text!r} is not a number.") from None


def _positive(path: Path, number: int, row: Mapping[str, str], column: str) -> float:
    value = _number(path, number, row, column)
    if not (math.isfinite(value) and value > 0):
        text = row.get(column)
        raise PointsError(f"{path}, row {number}, column {column}: {text} must be positive and finite.")
    if not MIN_VALUE <= value <= MAX_VALUE:
        raise PointsError(
            f"{path}, row {number}, column {column}: {value:g} is outside {MIN_VALUE:g} to {MAX_VALUE:g}, "
            "where sizes and losses lie."
        )
    return value


def _seed(path: Path, number: int, row: Mapping[str, str], column: str) -> int:
    value = _number(path, number, row, column)
    if not value.is_integer():
        text = row.get(column)
        raise PointsError(f"{path}, row {number}, column {column}: {text} is not a seed, a whole number.")
    return int(value)


def distinct(values: Iterable[float], apart: float = 1.05) -> int:
    """How many of these sizes differ by more than a factor: counted tokens of one horizon differ a little.

    Args:
        values: sizes.
        apart: the factor.
    """
    count, last = 0, 0.0
    for value in sorted(values):
        if value > apart * last:
            count, last = count + 1, value
    return count


def varying_axis(points: LawPoints, axes: Sequence[str]) -> str:
    """The first axis along which the used points differ by more than 2 per cent.

    Distinct tokens come before tokens seen where runs repeat their data and differ in how much it is.

    Args:
        points: the table.
        axes: in the order of preference.
    """
    for axis in axes:
        if axis == "tokens" and _repeats(points) and _varies(points, "unique_tokens"):
            return "unique_tokens"
        if _varies(points, axis):
            return axis
    return next((a for a in axes if any(a in p.sizes for p in points.points)), axes[0])


def _varies(points: LawPoints, axis: str) -> bool:
    sizes = [p.sizes[axis] for p in points.points if p.used and axis in p.sizes]
    return bool(sizes) and max(sizes) > 1.02 * min(sizes)


def _repeats(points: LawPoints) -> bool:
    """Whether any used run sees its data more than once."""
    return any(
        p.sizes["tokens"] > 1.01 * p.sizes["unique_tokens"] for p in points.points if p.used and _both(p)
    )


def _both(point: LawPoint) -> bool:
    return {"tokens", "unique_tokens"} <= set(point.sizes)
