"""Files of runs as rows with named cells: text with separators, JSON (lines), Parquet, and these in gzip."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chemscale.common.files import READ_LIMIT, read_regular
from chemscale.common.logs import brief
from chemscale.laws.data.delimited import SEPARATORS, decode, delimited
from chemscale.laws.data.exports import Runs, runs_of_json
from chemscale.laws.data.left_out import named
from chemscale.laws.data.points import PointsError

_FOREIGN = (
    (b"PK\x03\x04", "a workbook of Excel or another archive: save the sheet as CSV"),
    (b"\xd0\xcf\x11\xe0", "a workbook of Excel: save the sheet as CSV"),
    (b"<", "a page of the web or XML: save the table itself"),
    (b"BZh", "compressed by bzip2: unpack it"),
    (b"\xfd7zXZ", "compressed by xz: unpack it"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd: unpack it"),
)


@dataclass(frozen=True)
class Table:
    """Rows with named cells, whatever file they come from.

    Args:
        path: of the file.
        header: names of the columns in their order; one may stand twice.
        numbers: of each row, as a person finds it in the file: the line of a text, the place in a list.
        rows: cells of each row by column; what a row lacks is not there.
        separator: between cells; empty where the file is no such text.
        notes: what a reader must know.
    """

    path: Path
    header: list[str]
    numbers: list[int]
    rows: list[Mapping[str, Any]]
    separator: str = ""
    notes: list[str] = field(default_factory=list)

    def column(self, name: str) -> list[Any]:
        """The cells of a column, None where a row lacks it."""
        return [row.get(name) for row in self.rows]


def open_table(path: Path, wanted: Collection[str] = ()) -> Table:
    """Read a file of runs.

    What a file is shows in its first bytes, not in its name: gzip and Parquet by their marks, JSON by a
    bracket, anything else is text with separators (see ``delimited``).

    Args:
        path: of the file.
        wanted: names of columns that are asked for.

    Raises:
        PointsError: no file, nothing that is read here, or no row.
    """
    path = Path(path)
    content = _unpacked(path, _bytes(path))
    if content.startswith(b"PAR1"):
        return _parquet(path, content)
    for mark, what in _FOREIGN:
        if content.startswith(mark):
            raise PointsError(f"{path}: not a CSV file but {what}.")
    text = decode(path, content)
    suffixes = {suffix.lower() for suffix in path.suffixes}
    if suffixes & {".json", ".jsonl", ".ndjson"} or text.lstrip()[:1] in ("[", "{"):
        return _of_runs(path, runs_of_json(path, text))
    found = delimited(path, text, wanted)
    rows = [dict(zip(found.header, cells, strict=True)) for cells in found.rows]
    notes = []
    if found.comments:
        lines = named(f"row {line}" for line in found.comments).replace("row", "line")
        notes.append(f"Comments, which begin with #, are passed over ({lines}).")
    if found.separator not in (",", "\t"):
        notes.append(f"Columns are separated by {SEPARATORS.get(found.separator, repr(found.separator))}.")
    return Table(path, found.header, found.lines, list(rows), found.separator, notes)


def _bytes(path: Path) -> bytes:
    try:
        return read_regular(path)
    except FileNotFoundError:
        raise PointsError(f"{path}: no such file.") from None
    except OSError as error:
        raise PointsError(f"{path}: it cannot be read ({error.strerror}).") from None


def _unpacked(path: Path, content: bytes) -> bytes:
    if not content.startswith(b"\x1f\x8b"):
        return content
    try:
        with gzip.open(io.BytesIO(content)) as stream:
            unpacked = stream.read(READ_LIMIT + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise PointsError(f"{path}: its gzip is damaged or cut off ({brief(error)}).") from None
    if len(unpacked) > READ_LIMIT:
        raise PointsError(f"{path}: it unpacks to more than {READ_LIMIT >> 20} MiB: no table of runs.")
    return unpacked


def _of_runs(path: Path, runs: Runs) -> Table:
    keys = dict.fromkeys(key for row in runs.rows for key in row)
    return Table(path, list(keys), runs.numbers, list(runs.rows))


def _parquet(path: Path, content: bytes) -> Table:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise PointsError(
            f"{path}: Parquet needs pyarrow (pip install pyarrow), or write the table as CSV."
        ) from None
    try:
        table = parquet.read_table(io.BytesIO(content))
        rows = table.to_pylist()
    except (ArrowException, OSError, ValueError) as error:
        raise PointsError(f"{path}: its Parquet cannot be read ({brief(error)}).") from None
    if not rows:
        raise PointsError(f"{path}: there is no row in it.")
    return Table(path, list(table.column_names), list(range(1, len(rows) + 1)), list(rows))
