"""What the files of a run are called, and which of two records of it is the newer one."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chemscale.common.files import atomic_path

RECORD = "record.json"
CHECKPOINT = re.compile(r"(?P<folder>.*/)?step-(?P<step>\d{9})\.sha256")
"""Seals of checkpoints."""


def age_of(record: Mapping[str, Any]) -> tuple[int, str]:
    """Sorts records of a run by which is the newer one: a later attempt has read the earlier one's."""
    return int(record.get("attempts") or 0), str(record.get("updated") or "")


def parse_record(content: bytes) -> dict[str, Any]:
    """A record as it stands in its file, or nothing where it cannot be read."""
    try:
        found = json.loads(content)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def read_record(path: Path) -> dict[str, Any]:
    """The record in a file, or nothing where there is none."""
    try:
        return parse_record(path.read_bytes())
    except OSError:
        return {}


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def size_of(path: Path) -> int:
    """Bytes of a file; -1 where there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return -1
