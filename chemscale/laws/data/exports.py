"""Points from what other tools export: Weights & Biases tables and runs, or anyone's CSV.

Two exports of W&B are read. **CSV**: the table view's export, with columns ``Name`` and ``State``,
configuration and summary side by side, a blank cell where a run has no value. **JSON**: a list of runs, or
one a line, each ``{"name", "state", "config", "summary"}`` (what ``wandb.Api().runs(…)`` gives, ``summary``
as a dictionary); nested keys are written with dots, ``config.`` or ``summary.`` in front where a name stands
in both.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from chemscale.laws.data.points import (
    MAX_VALUE,
    MIN_VALUE,
    ROLES,
    LawPoint,
    LawPoints,
    PointsError,
    check_header,
    check_roles,
    csv_rows,
    read_csv,
)

FINISHED = "finished"


def read_table(path: Path, columns: Mapping[str, str]) -> LawPoints:
    """Read points from a CSV, a W&B table export, or a W&B export of runs, whichever the file is.

    Runs of W&B that did not finish, or lack a number, are kept and left out of the fit with the reason.

    Args:
        path: of the file.
        columns: role → column or key, as for ``read_csv``.

    Raises:
        PointsError: the file or a column cannot be used, or no run has what a law needs.
    """
    path = Path(path)
    if path.suffix.lower() in (".json", ".jsonl", ".ndjson"):
        check_roles(columns)
        return _points(path, columns, _runs(path))
    header, rows = csv_rows(path)
    if not {"Name", "State"} <= set(header):
        return read_csv(path, columns)
    check_roles(columns)
    check_header(path, header, columns)
    return _points(path, columns, [(row["Name"] or "", row["State"] or "", row) for row in rows])


Run = tuple[str, str, Mapping[str, Any]]
"""Name, state, and every value by its key."""


def _points(path: Path, columns: Mapping[str, str], runs: list[Run]) -> LawPoints:
    known = {key for _, _, values in runs for key in values}
    for column in columns.values():
        if column not in known:
            raise PointsError(f"{path}: no run has {column!r}; there are {', '.join(sorted(known))}.")
    points = [_point(path, columns, *run) for run in runs]
    if not any(p.used for p in points):
        why = "; ".join(sorted({p.reason for p in points}))
        raise PointsError(f"{path}: none of its {len(points)} runs can be fitted: {why}.")
    return LawPoints(tuple(points), str(path))


def _point(
    path: Path, columns: Mapping[str, str], name: str, state: str, values: Mapping[str, Any]
) -> LawPoint:
    numbers = {role: _number(values.get(columns[role])) for role in (*ROLES, "loss") if role in columns}
    lacking = [columns[role] for role, number in numbers.items() if number is None]
    reason = f"W&B state {state or 'unknown'}" if state != FINISHED else ""
    if not reason and lacking:
        reason = f"no positive number in {', '.join(lacking)}"
    absurd = [columns[r] for r, number in numbers.items() if number and not MIN_VALUE <= number <= MAX_VALUE]
    if not reason and absurd:
        reason = f"not within {MIN_VALUE:g} to {MAX_VALUE:g}: {', '.join(absurd)}"
    sizes = {ROLES[role]: number for role, number in numbers.items() if role in ROLES and number is not None}
    loss = numbers["loss"]
    label = str(values.get(columns["label"]) or name) if "label" in columns else name
    seed = (_number(values.get(columns["seed"])) if "seed" in columns else None) or 0.0
    if not seed.is_integer():
        raise PointsError(f"{path}, run {name}, {columns['seed']}: {seed} is not a seed, a whole number.")
    return LawPoint(
        label, sizes, {} if loss is None else {"loss": loss}, int(seed), used=not reason, reason=reason
    )


def _number(value: Any) -> float | None:
    """A positive, finite number; None for anything else, as W&B writes for what was never logged."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        number = float(str(value).strip())
    except ValueError:
        return None
    return number if math.isfinite(number) and number > 0 else None


def _runs(path: Path) -> list[Run]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise PointsError(f"{path}: no such file.") from None
    except UnicodeDecodeError as error:
        raise PointsError(f"{path}: not a text file ({error}).") from None
    try:
        rows = json.loads(text) if text.lstrip().startswith("[") else [*map(json.loads, _lines(text))]
    except json.JSONDecodeError as error:
        raise PointsError(f"{path}: not JSON, nor JSON lines ({error}).") from None
    if not rows:
        raise PointsError(f"{path}: there is no run in it.")
    return [_run(path, number, row) for number, row in enumerate(rows, start=1)]


def _lines(text: str) -> Iterator[str]:
    return (line for line in text.splitlines() if line.strip())


def _run(path: Path, number: int, row: Any) -> Run:
    if not isinstance(row, dict) or not {"config", "summary"} <= set(row):
        raise PointsError(f"{path}, run {number}: a run is an object with name, state, config and summary.")
    parts = {part: _flat(_dictionary(path, number, part, row[part])) for part in ("config", "summary")}
    values = parts["config"] | parts["summary"]
    values |= {f"{part}.{key}": value for part, keys in parts.items() for key, value in keys.items()}
    return str(row.get("name", f"run {number}")), str(row.get("state", "")), values


def _dictionary(path: Path, number: int, part: str, value: Any) -> dict[str, Any]:
    if isinstance(value, str):  # older clients export these as JSON inside JSON
        try:
            value = json.loads(value)
        except json.JSONDecodeError:
            value = None
    if not isinstance(value, dict):
        raise PointsError(f"{path}, run {number}: its {part} is not an object.")
    return value


def _flat(tree: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Leaves by their dotted keys; W&B's ``{"value": …}`` around a setting is passed through."""
    out: dict[str, Any] = {}
    for key, value in tree.items():
        if not above and key.startswith("_"):
            continue
        if not above and isinstance(value, dict) and "value" in value and set(value) <= {"value", "desc"}:
            value = value["value"]
        if isinstance(value, dict):
            out |= _flat(value, f"{above}{key}.")
        else:
            out[f"{above}{key}"] = value
    return out
