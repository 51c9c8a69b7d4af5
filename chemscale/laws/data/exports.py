"""Runs as JSON: what Weights & Biases exports, and flat rows as pandas writes them.

**W&B**: a list of runs, or one a line, each ``{"name", "state", "config", "summary"}`` (what
``wandb.Api().runs(…)`` gives, ``summary`` as a dictionary); nested keys are written with dots, ``config.`` or
``summary.`` in front where a name stands in both. **Flat**: a list of objects or one a line
(``orient="records"``), or one object of columns (pandas' default, ``orient="columns"`` or ``"list"``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chemscale.common.logs import brief
from chemscale.laws.data.points import PointsError

NAME, STATE = "Name", "State"
"""Columns of W&B's own tables; runs of its JSON get them as well."""


@dataclass(frozen=True)
class Runs:
    """Rows of a JSON file.

    Args:
        numbers: the line of each, or its place in the list.
        rows: values by their dotted keys.
    """

    numbers: list[int]
    rows: list[Mapping[str, Any]]


def runs_of_json(path: Path, text: str) -> Runs:
    """Read rows from a list, from lines, or from an object of columns.

    Args:
        path: for messages.
        text: of the file.

    Raises:
        PointsError: no JSON, no row, or rows that are not objects.
    """
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError) as error:
        if text.lstrip().startswith("["):
            raise PointsError(f"{path}: not JSON, nor JSON lines ({brief(error)}).") from None
        numbers, found = _lines(path, text)
    else:
        found = whole if isinstance(whole, list) else _columns(path, whole) or [whole]
        numbers = list(range(1, len(found) + 1))
    if not found:
        raise PointsError(f"{path}: there is no run in it.")
    exported = any(isinstance(row, dict) and {"config", "summary"} & set(row) for row in found)
    try:
        return Runs(numbers, [_row(path, n, row, exported) for n, row in zip(numbers, found, strict=True)])
    except RecursionError:
        raise PointsError(f"{path}: its runs are nested too deeply.") from None


def _lines(path: Path, text: str) -> tuple[list[int], list[Any]]:
    numbers, rows = [], []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            rows.append(json.loads(line))
        except (ValueError, RecursionError) as error:
            raise PointsError(f"{path}, line {number}: not JSON, nor JSON lines ({brief(error)}).") from None
        numbers.append(number)
    return numbers, rows


def _columns(path: Path, whole: Any) -> list[dict[str, Any]] | None:
    """Rows of an object of columns; None where the object is something else."""
    if not isinstance(whole, dict) or not whole or {"config", "summary"} & set(whole):
        return None
    if all(isinstance(column, list) for column in whole.values()):
        if set(whole) == {"columns", "index", "data"}:
            return [dict(zip(whole["columns"], row, strict=False)) for row in whole["data"]]
        lengths = {name: len(column) for name, column in whole.items()}
        if len(set(lengths.values())) > 1:
            said = ", ".join(f"{name} has {length}" for name, length in lengths.items())
            raise PointsError(f"{path}: its columns are of different length: {said}.")
        return [dict(zip(whole, values, strict=True)) for values in zip(*whole.values(), strict=True)]
    if all(isinstance(column, dict) for column in whole.values()):
        index: Sequence[str] = list(dict.fromkeys(key for column in whole.values() for key in column))
        return [{name: column.get(key) for name, column in whole.items()} for key in index]
    return None


def _row(path: Path, number: int, row: Any, exported: bool) -> Mapping[str, Any]:
    if not isinstance(row, dict):
        raise PointsError(f"{path}, run {number}: a run is an object of names and values, not {row!r:.40}.")
    if not exported:
        return _leaves(row)
    if not {"config", "summary"} <= set(row):
        raise PointsError(f"{path}, run {number}: a run is an object with name, state, config and summary.")
    parts = {part: _flat(_dictionary(path, number, part, row[part])) for part in ("config", "summary")}
    values = parts["config"] | parts["summary"]
    values |= {f"{part}.{key}": value for part, keys in parts.items() for key, value in keys.items()}
    return {**values, NAME: str(row.get("name", f"run {number}")), STATE: str(row.get("state", ""))}


def _dictionary(path: Path, number: int, part: str, value: Any) -> dict[str, Any]:
    if isinstance(value, str):  # older clients export these as JSON inside JSON
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            value = None
    if not isinstance(value, dict):
        raise PointsError(f"{path}, run {number}: its {part} is not an object.")
    return value


def _flat(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Leaves of a part of W&B's, without its own keys and the ``{"value": …}`` around a setting."""
    own = {"value", "desc"}
    return _leaves(
        {
            key: value["value"]
            if isinstance(value, dict) and "value" in value and set(value) <= own
            else value
            for key, value in tree.items()
            if not key.startswith("_")
        }
    )


def _leaves(tree: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Leaves of nested objects by their dotted keys."""
    out: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            out |= _leaves(value, f"{above}{key}.")
        else:
            out[f"{above}{key}"] = value
    return out
