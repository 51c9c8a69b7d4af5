"""Points of a law: sizes under every convention, losses, and where they come from."""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np


class PointsError(ValueError):
    """Points that cannot be read; the message names file, row and column."""


@dataclass(frozen=True)
class LawPoint:
    """One run as a law sees it.

    ``sizes`` maps an axis (``parameters``, ``tokens``, ``flops``, or a convention such as ``blocks``) to a
    number; ``losses`` a unit to a loss. ``used`` False shows a point and keeps it out of the fit, ``reason``
    says why.
    """

    label: str
    sizes: dict[str, float]
    losses: dict[str, float]
    seed: int = 0
    used: bool = True
    reason: str = ""
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LawPoints:
    """A table of points."""

    points: tuple[LawPoint, ...]
    source: str

    def used(self, axis: str, unit: str) -> tuple[np.ndarray, np.ndarray]:
        """(n,) sizes and (n,) losses of the points that are fitted, by size."""
        pairs = sorted((p.sizes[axis], p.losses[unit]) for p in self.points if p.used)
        return np.array([x for x, _ in pairs]), np.array([y for _, y in pairs])

    @property
    def hash(self) -> str:
        """Of every number that a fit may use."""
        rows = [asdict(p) for p in self.points]
        return hashlib.sha256(json.dumps(rows, sort_keys=True, default=str).encode()).hexdigest()


def read_csv(path: Path, columns: Mapping[str, str]) -> LawPoints:
    """Points from anyone's CSV.

    Args:
        columns: role → column name. Roles are ``loss`` and one or more of ``N``, ``D``, ``C``; ``seed`` and
            ``label`` where there are any.

    Raises:
        PointsError: a column is missing, a cell is not a positive number, or there is no row.
    """
    names = {"N": "parameters", "D": "tokens", "C": "flops"}
    if "loss" not in columns or not set(columns) & set(names):
        raise PointsError("--columns needs loss=NAME and at least one of N=NAME, D=NAME, C=NAME.")
    unknown = set(columns) - {*names, "loss", "seed", "label"}
    if unknown:
        raise PointsError(
            f"--columns: unknown roles {sorted(unknown)}; known are N, D, C, loss, seed, label."
        )
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            header, rows = list(reader.fieldnames or []), list(reader)
    except FileNotFoundError:
        raise PointsError(f"{path}: no such file.") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise PointsError(f"{path}: not a CSV file ({error}).") from None
    for column in columns.values():
        if column not in header:
            raise PointsError(f"{path}: no column {column!r}; there are {', '.join(header)}.")
    if not rows:
        raise PointsError(f"{path}: there is no row below the header.")
    points = []
    for number, row in enumerate(rows, start=2):
        sizes = {names[r]: _positive(path, number, row, columns[r]) for r in names if r in columns}
        loss = _positive(path, number, row, columns["loss"])
        label = row[columns["label"]] if "label" in columns else f"row {number}"
        seed = int(float(row[columns["seed"]])) if "seed" in columns else 0
        points.append(LawPoint(label, sizes, {"loss": loss}, seed))
    return LawPoints(tuple(points), str(path))


def _positive(path: Path, number: int, row: Mapping[str, str], column: str) -> float:
    text = row.get(column) or ""
    try:
        value = float(text)
    except ValueError:
        raise PointsError(f"{path}, row {number}, column {column}: {text!r} is not a number.") from None
    if not (math.isfinite(value) and value > 0):
        raise PointsError(f"{path}, row {number}, column {column}: {text} must be positive and finite.")
    return value


def varying_axis(points: LawPoints, axes: Sequence[str]) -> str:
    """The first axis along which the used points differ by more than 2 per cent."""
    for axis in axes:
        sizes = [p.sizes[axis] for p in points.points if p.used and axis in p.sizes]
        if sizes and max(sizes) > 1.02 * min(sizes):
            return axis
    return next((a for a in axes if any(a in p.sizes for p in points.points)), axes[0])
