"""Rows that a build drops: JSON lines while it runs, one table of all of them at the end."""

from __future__ import annotations

import collections
import csv
import gzip
import heapq
import io
import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from chemscale.common.files import atomic_path
from chemscale.common.progress import ProgressBar

DroppedRow = list[Any]
"""Row number, reason, SMILES, detail."""
EXAMPLES = 5
"""Rows of each reason that the manifest shows."""
SHOWN_EVERY = 1 << 12
"""Rows between two words on progress."""
MAX_OPEN = 128
"""Files that are merged at a time: many systems let a process open 1024."""


def write_dropped_rows(path: Path, rows: list[DroppedRow]) -> None:
    """Write one JSON list a line, by row number; the file is there whole or not at all."""
    rows.sort()
    with atomic_path(path) as temporary:
        temporary.write_text("".join(json.dumps(row) + "\n" for row in rows))


def read_dropped_rows(path: Path) -> Iterator[DroppedRow]:
    """Rows of a file that ``write_dropped_rows`` wrote, in its order."""
    with open(path) as file:
        for line in file:
            yield json.loads(line)


def write_dropped_table(
    path: Path, by_row: list[Path], by_hash: list[Path], place: Callable[[int], tuple[str, int]]
) -> tuple[dict[str, int], dict[str, list[dict[str, Any]]]]:
    """Write all dropped rows by row number.

    Args:
        path: of the gzipped CSV file.
        by_row: files of dropped rows in order, of which each begins behind the last row of the one before.
        by_hash: files of dropped rows, each in order; many are merged step by step into files beside them.
        place: gives the file, and the line in it, of a row.

    Returns:
        Counts, and first examples, of each reason.
    """
    rows = itertools.chain.from_iterable(map(read_dropped_rows, by_row))
    counts: collections.Counter[str] = collections.Counter()
    examples: dict[str, list[dict[str, Any]]] = {}
    # No time stamp in the gzip header: the same rows give the same bytes.
    with (
        ProgressBar("dropped rows", None, "rows") as progress,
        atomic_path(path) as temporary,
        open(temporary, "wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed,
        # Names of files need not be UTF-8: Python has other bytes of theirs as lone surrogates.
        io.TextIOWrapper(packed, encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(["row", "file", "line", "reason", "smiles", "detail"])
        merged = map(read_dropped_rows, _few(by_hash, progress))
        for row in _shown(heapq.merge(rows, *merged), progress):
            file_name, line = place(row[0])
            writer.writerow([row[0], file_name, line, *row[1:]])
            counts[row[1]] += 1
            shown = examples.setdefault(row[1], [])
            if len(shown) < EXAMPLES:
                shown.append(
                    {"row": row[0], "file": file_name, "line": line, "smiles": row[2], "detail": row[3]}
                )
    return dict(sorted(counts.items())), dict(sorted(examples.items()))


def _shown(rows: Iterable[DroppedRow], progress: ProgressBar) -> Iterator[DroppedRow]:
    for number, row in enumerate(rows, 1):
        if number % SHOWN_EVERY == 0:
            progress.advance(SHOWN_EVERY)
        yield row


def _few(lists: list[Path], progress: ProgressBar) -> list[Path]:
    """Files of the same rows, at most ``MAX_OPEN``."""
    level = 0
    while len(lists) > MAX_OPEN:
        level += 1
        merged = []
        for first in range(0, len(lists), MAX_OPEN):
            group = lists[first : first + MAX_OPEN]
            merged.append(group[0].with_suffix(f".dropped-{level}"))
            with atomic_path(merged[-1]) as temporary, open(temporary, "w") as file:
                for row in _shown(heapq.merge(*map(read_dropped_rows, group)), progress):
                    file.write(json.dumps(row) + "\n")
        lists = merged
    return lists
