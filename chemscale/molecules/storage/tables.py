"""Files of tables of integers that can be counted again: whole and of what they say, or not there at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from chemscale.common.files import atomic_path
from chemscale.molecules.storage.mapping import map_file

log = logging.getLogger(__name__)

HEADER = 4096
"""Bytes before the tables, a page: JSON that says what they are of, and their shapes."""
DIGEST = 32
"""Bytes behind them: SHA-256 of all that stands before."""


def write_tables(file: Path, of: dict[str, Any], tables: Sequence[np.ndarray]) -> None:
    """Write a file of tables, whole or not at all.

    Args:
        file: its place.
        of: what they were counted of.
        tables: int64.

    Raises:
        OSError: it cannot be written.
    """
    first = json.dumps([of, [table.shape for table in tables]]).encode().ljust(HEADER)
    digest = hashlib.sha256(first)
    with atomic_path(file) as temporary, open(temporary, "wb") as out:
        out.write(first)
        for table in tables:
            content = np.ascontiguousarray(table, dtype="<i8").reshape(-1).view("u1").data
            digest.update(content)
            out.write(content)
        out.write(digest.digest())


def read_tables(file: Path, of: dict[str, Any]) -> list[np.ndarray] | None:
    """Tables of a file, memory-mapped and read-only; None where it is not there.

    All of it is compared with its digest. A file that is not as it was written, or of something else, is
    removed if it can be.

    Args:
        file: its place.
        of: what they have to be counted of.
    """
    try:
        content = map_file(file, "u1")
    except OSError:
        return None
    tables = _tables(content, of)
    if tables is None:
        log.info("%s is damaged or of other data: it is made again.", file)
        with contextlib.suppress(OSError):
            file.unlink()
    return tables


def _tables(content: np.ndarray, of: dict[str, Any]) -> list[np.ndarray] | None:
    if len(content) < HEADER + DIGEST:
        return None
    if hashlib.sha256(content[:-DIGEST].data).digest() != content[-DIGEST:].tobytes():
        return None
    found, shapes = json.loads(content[:HEADER].tobytes())  # as we wrote it: the digest says so
    if found != json.loads(json.dumps(of)):
        return None
    numbers = content[HEADER:-DIGEST].view("<i8")
    ends = np.cumsum([math.prod(shape) for shape in shapes])
    parts = np.split(numbers, ends[:-1])
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
