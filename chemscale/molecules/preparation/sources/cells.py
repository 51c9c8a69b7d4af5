"""Cells of other columns than that of the molecules, row by row with them."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator

from chemscale.molecules.preparation.sources.columnar import ParquetFile
from chemscale.molecules.preparation.sources.columns import cell
from chemscale.molecules.preparation.sources.records import JsonFile, SdfFile
from chemscale.molecules.preparation.sources.source import Source
from chemscale.molecules.preparation.sources.streams import SourceError

PROBED_RECORDS = 20_000


def column_names(source: Source) -> list[str]:
    """Names of the columns, keys or data fields of a file; none where it has no header.

    Args:
        source: the file.
    """
    reader = source.reader
    if isinstance(reader, SdfFile):
        return reader.fields()
    if isinstance(reader, ParquetFile):
        return list(reader.names)
    if isinstance(reader, JsonFile):
        records = (row for _, row in itertools.islice(copy.copy(reader).rows(), PROBED_RECORDS))
        return list(dict.fromkeys(key for row in records if isinstance(row, dict) for key in row))
    if not source.choice.header:
        return []
    header = next((row for line, row in copy.copy(reader).rows() if line == source.header_line), [])
    return [name.strip() for name in header]


def find_column(source: Source, name: str) -> tuple[int, str]:
    """Number and exact name of a column.

    Args:
        source: the file.
        name: of the column; upper and lower case matter only where two differ in nothing else.

    Raises:
        SourceError: no column, or several, have the name.
    """
    names = column_names(source)
    found = [key for key, each in enumerate(names) if each == name]
    found = found or [key for key, each in enumerate(names) if each.lower() == name.lower()]
    if len(found) != 1:
        listed = ", ".join(filter(None, names)) or "none: the file has no header"
        many = "no column is" if not found else f"{len(found)} columns are"
        raise SourceError(f"{source.entry}: {many} named {name!r}. Its columns are {listed}.")
    return found[0], names[found[0]]


def column_cells(source: Source, name: str) -> Iterator[str]:
    """Cells of a column, one for each row that ``source.rows`` hands out; empty where a row has none.

    The file is read a second time, so that the molecules are read as they always are.

    Args:
        source: the file.
        name: of the column, as ``find_column`` takes it.

    Raises:
        SourceError: no column, or several, have the name.
    """
    number, exact = find_column(source, name)
    rows = copy.copy(source)  # counts rows and lines of its own
    rows.reader, reader = copy.copy(source.reader), copy.copy(source.reader)
    key: int | str = number
    if isinstance(reader, JsonFile):
        key = exact
    elif isinstance(reader, SdfFile):
        reader, key = SdfFile(reader.entry, reader.encoding, exact), 0
    others = reader.rows(key)
    for line, _, _ in rows.rows():
        yield cell(next(other for at, other in others if at == line), key)
