"""What the columns of a table are: roles by name, from ``--columns N=params,loss=val_loss``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from chemscale.common.logs import brief
from chemscale.laws.data.points import ROLES, PointsError

OTHER_ROLES = ("loss", "seed", "label", "state", "group", "run", "step")
"""Beside the sizes: the loss, a run's seed, name and state, the run of a checkpoint, and of a curve's row."""
_PART = re.compile(
    r"""\s*(?P<role>[^=,]*?)\s*=\s*(?:"(?P<quoted>[^"]*)"|(?P<name>.*?))\s*(?:,(?=\s*\w+\s*=)|$)"""
)


def parse_columns(text: str) -> dict[str, str]:
    """Columns by role, from ``N=params,loss=val_loss``; a name ends before the next ``,ROLE=``.

    Raises:
        PointsError: a part is not ROLE=NAME, or a role is given twice.
    """
    columns: dict[str, str] = {}
    place = 0
    while place < len(text):
        found = _PART.match(text, place)
        name = "" if found is None else (found["quoted"] or found["name"] or "").strip()
        if found is None or not found["role"] or not name:
            part = text[place:].split(",", 1)[0]
            raise PointsError(f"--columns {text}: {part!r} is not ROLE=NAME, such as loss=val_loss.")
        if found["role"] in columns:
            raise PointsError(
                f"--columns gives {found['role']} twice: {columns[found['role']]} and {name}. Name one."
            )
        columns[found["role"]] = name
        place = found.end()
    return columns


def check_roles(columns: Mapping[str, str]) -> None:
    """Refuse roles of columns that are unknown or not enough for a law.

    Raises:
        PointsError: they are not.
    """
    if "loss" not in columns or not set(columns) & set(ROLES):
        raise PointsError("--columns needs loss=NAME and at least one of N=NAME, D=NAME, C=NAME.")
    unknown = set(columns) - {*ROLES, *OTHER_ROLES}
    if unknown:
        known = ", ".join((*ROLES, *OTHER_ROLES))
        raise PointsError(f"--columns: unknown roles {sorted(unknown)}; known are {known}.")
    if ("run" in columns) != ("step" in columns):
        raise PointsError(
            "--columns: run= and step= go together (rows of learning curves); for the name of a run take "
            "label=, for checkpoints that are fitted as points group=."
        )


def _numeric(text: str) -> bool:
    return bool(re.fullmatch(r"[+-]?[\d.]+(e[+-]?\d+)?", text, re.IGNORECASE))


def check_header(path: Path, header: Sequence[str], columns: Mapping[str, str], separator: str) -> None:
    """Refuse a file that lacks a column or has it twice.

    Args:
        path: of the file, for the message.
        header: names of its columns.
        columns: that are used, by role.
        separator: between the columns in words; empty for files that have none.

    Raises:
        PointsError: it does not.
    """
    for column in columns.values():
        if column not in header:
            said = f" (separated by {separator})" if separator else ""
            bare = any(map(_numeric, header))
            names = " The first row must hold the names of the columns." if bare else ""
            raise PointsError(
                f"{path}: no column {column!r}; there are {brief(', '.join(header), 1000)}{said}.{names}"
            )
        if (times := header.count(column)) > 1:
            raise PointsError(f"{path}: {times} columns are called {column!r}. Rename all but one.")
