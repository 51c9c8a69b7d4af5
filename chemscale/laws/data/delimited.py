"""Text with separators as rows: its encoding, its separator, its header, and rows that do not fit it."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chemscale.laws.data.points import PointsError

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", " ": "spaces"}
"""In the order in which they are tried where nothing else tells."""
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True)
class Delimited:
    """A text file of cells.

    Args:
        header: names without the spaces around them.
        lines: line of the file at which each row begins; the first is 1.
        rows: cells of each, as many as there are names.
        separator: one of ``SEPARATORS``.
        comments: lines that were skipped, since they begin with # and are not rows.
    """

    header: list[str]
    lines: list[int]
    rows: list[list[str]]
    separator: str
    comments: list[int]


def decode(path: Path, content: bytes) -> str:
    """Text of a file: UTF-8, or what its byte-order mark says.

    Raises:
        PointsError: it is neither, or binary.
    """
    encoding = next((name for mark, name in _BOMS if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise PointsError(
            f"{path}: not a CSV file, or not in UTF-8 (line {line}, byte {content[error.start]:#x}). Save it "
            "as UTF-8 (Excel: CSV UTF-8)."
        ) from None
    if "\0" in text:
        raise PointsError(
            f"{path}: not a CSV file (it holds bytes of zero, as binary files and UTF-16 without a mark do). "
            "Save it as UTF-8."
        )
    return text


def delimited(path: Path, text: str, wanted: Collection[str] = ()) -> Delimited:
    """Rows of a text with separators.

    The separator is the one by which the header has the wanted names; where none does, the one that the
    header holds most of. Lines that begin with # and do not have the header's cells are comments; a header
    may begin with #, as NumPy writes it. Blank lines, and rows whose cells are all blank, are passed over.

    Args:
        path: for messages.
        text: of the file.
        wanted: names of columns that are asked for.

    Raises:
        PointsError: no row, quotes that do not close, or rows of another number of cells than the header.
    """
    told = re.match(r"sep=(.)\r?\n", text)
    first = 2 if told else 1
    text = text[told.end() :] if told else text
    top, skipped = _top(text, wanted)
    header_line = text[top:].split("\n", 1)[0].split("\r", 1)[0]
    separator = told[1] if told else _separator(header_line, wanted)
    first += skipped
    records = _records(path, text[top:], separator, first)
    if not records:
        raise PointsError(f"{path}: there is no row in it.")
    header = [_name(cell) for cell in records[0][1]]
    header[0] = header[0].removeprefix("#").strip() if header_line.startswith("#") else header[0]
    comments = list(range(1, first))[1 if told else 0 :]
    lines, rows = [], []
    for line, cells in records[1:]:
        if cells[0].startswith("#") and len(cells) != len(header):
            comments.append(line)
        elif any(cell.strip() for cell in cells):
            lines.append(line)
            rows.append(cells)
    if not rows:
        raise PointsError(f"{path}: there is no row below the header.")
    _refuse_other_lengths(path, header, lines, rows, separator)
    return Delimited(header, lines, rows, separator, comments)


def _top(text: str, wanted: Collection[str]) -> tuple[int, int]:
    """Where the header begins, past blank lines and comments, and how many lines stand above it."""
    start = above = 0
    for line in text.splitlines(keepends=True):
        bare = line.strip()
        named = bare.startswith("#") and any(
            set(wanted) <= set(_names(bare[1:], separator)) for separator in SEPARATORS
        )
        if bare and (not bare.startswith("#") or (named and wanted)):
            break
        start, above = start + len(line), above + 1
    return start, above


def _separator(header: str, wanted: Collection[str]) -> str:
    for separator in SEPARATORS:
        names = _names(header.removeprefix("#"), separator)
        if wanted and len(names) > 1 and set(wanted) <= set(names):
            return separator
    bare = re.sub(r'"[^"]*"', "", header)
    counts = {separator: bare.count(separator) for separator in (",", ";", "\t", "|")}
    most = max(counts, key=lambda s: counts[s])
    if counts[most]:
        return most
    return " " if len(header.split()) > 1 else ","


def _names(line: str, separator: str) -> list[str]:
    try:
        return [_name(cell) for cell in next(csv.reader([line.strip()], **_format(separator)), [])]
    except csv.Error:
        return []


def _name(cell: str) -> str:
    return cell.strip().strip('"').strip()


def _format(separator: str) -> dict[str, Any]:
    return {"delimiter": separator, "skipinitialspace": separator != "\t", "strict": True}


def _records(path: Path, text: str, separator: str, first: int) -> list[tuple[int, list[str]]]:
    """Line at which each record begins, and its cells; blank lines are left out."""
    if separator == " ":  # columns that are set with several spaces
        text = "\n".join(line.strip() for line in text.splitlines())
    reader = csv.reader(io.StringIO(text, newline=""), **_format(separator))
    found, begins = [], first
    try:
        for cells in reader:
            if cells:
                found.append((begins, cells))
            begins = first + reader.line_num
    except csv.Error as error:
        raise PointsError(f"{path}, row {begins}: not a CSV file ({error}).") from None
    return found


def _refuse_other_lengths(
    path: Path, header: Sequence[str], lines: Sequence[int], rows: Sequence[Sequence[str]], separator: str
) -> None:
    """Refuse rows of another number of cells than the header: their cells stand below other names."""
    odd = [(line, len(cells)) for line, cells in zip(lines, rows, strict=True) if len(cells) != len(header)]
    if not odd:
        return
    said = SEPARATORS.get(separator, f"{separator!r}")
    line, cells = odd[0]
    more = f", and {len(odd) - 1} more rows do not fit the header" if len(odd) > 1 else ""
    raise PointsError(
        f"{path}, row {line}: {cells} cells, and the header has {len(header)} (separated by {said}){more}. "
        f"{_advice(header, rows, len(odd), separator)}"
    )


def _advice(header: Sequence[str], rows: Sequence[Sequence[str]], odd: int, separator: str) -> str:
    one_more = odd == len(rows) and all(len(cells) == len(header) + 1 for cells in rows)
    first = [cells[0].strip() for cells in rows]
    if one_more and (first == [str(n + 1) for n in range(len(rows))] or not any(map(_numeric, first))):
        return (
            "Its rows have a name in front, as R's write.table gives them: write it with row.names=FALSE (or "
            "col.names=NA), or put a name for that column into the header."
        )
    if separator == "," and any(len(cells) > len(header) for cells in rows):
        return (
            "Numbers with a comma must stand in quotes, or take semicolons or tabs between columns; a comma "
            "too many has to go."
        )
    return "Give every row a cell for each name of the header, blank where there is no value."


def _numeric(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
