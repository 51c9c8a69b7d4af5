"""All files of a preparation: rows in numbered chunks, and where each row stands."""

from __future__ import annotations

import itertools
import os
from array import array
from bisect import bisect_right
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from chemscale.molecules.preparation.sources.source import Source
from chemscale.molecules.preparation.sources.streams import EmptySourceError, Entry, SourceError, entries

DOUBLED_EVERY = 256
"""Chunks after which they double, where they may grow: many tasks of few rows, not too many of many."""
Row = tuple[int, str, str]
"""Running number over all files from 1, text of the cell, and its notation."""


class Reading:
    """Files of molecules, one after another, each opened far enough to know where its molecules are.

    Args:
        files: in order; of a zip archive each member counts as a file.
        column: name or number (from 0) of the column of SMILES or SELFIES; None to find it.
        delimiter: between the cells of text files; None to find it.
        encoding: of text files; None for UTF-8, or what the byte order mark says.

    Raises:
        SourceError: a file is refused; all are looked at before the first row is read.
    """

    def __init__(
        self,
        files: Sequence[Path],
        column: str | int | None = None,
        delimiter: str | None = None,
        encoding: str | None = None,
    ):
        found = [entry for path in files for entry in entries(path)]
        self.sources: list[Source] = []
        self.names: list[str] = []
        """Of each source, relative to the folder that all are in."""
        self.without_rows: list[str] = []
        """Names of files that are empty or have a header only, where others have rows."""
        refusal: EmptySourceError | None = None
        for entry, name in zip(found, _names(found), strict=True):
            try:
                self.sources.append(Source(entry, column, delimiter, encoding))
                self.names.append(name)
            except EmptySourceError as error:
                self.without_rows.append(name)
                refusal = refusal or error
        if refusal and not self.sources:
            raise refusal
        self.begins: list[int] = []
        """Rows before those of each source, as far as they were read."""
        # Where the line is not the one after the last row's: number of the row, of its file, of its line.
        self._rows, self._files, self._lines = array("q"), array("q"), array("q")

    def chunks(self, size: int, growth: int = 1) -> Iterator[tuple[int, list[Row]]]:
        """Read the files as numbered chunks of rows, in bounded memory.

        Args:
            size: rows of a chunk, or of each of the first.
            growth: how many times as many later ones may have; a power of two.

        Raises:
            SourceError: a file turns out to be damaged, or a cell runs over lines.
        """
        rows = self._all()
        for number in itertools.count():
            chunk = list(itertools.islice(rows, _chunk_rows(number, size, growth)))
            if not chunk:
                return
            yield number, chunk

    def some_chunks(
        self, wanted: Collection[int], begins: Sequence[int], size: int, growth: int = 1
    ) -> Iterator[tuple[int, list[Row]]]:
        """Read some of the chunks that ``chunks`` gives; files without a row of theirs are passed over.

        Args:
            wanted: numbers of chunks.
            begins: of another reading of the same files, once all rows were read.
            size: rows of a chunk, as for ``chunks``.
            growth: as for ``chunks``.

        Raises:
            SourceError: as ``chunks``.
        """
        sizes = (_chunk_rows(number, size, growth) for number in range(max(wanted) + 1))
        ends = list(itertools.accumulate(sizes))
        limits = {number: (ends[number - 1] if number else 0, ends[number]) for number in sorted(wanted)}
        found: dict[int, list[Row]] = {number: [] for number in limits}
        for file, source in enumerate(self.sources):
            first = begins[file]
            last = begins[file + 1] if file + 1 < len(begins) else ends[-1]
            here = [n for n, (low, high) in limits.items() if low < last and high > first]
            if not here:
                continue
            stop = limits[here[-1]][1]
            for row, (_, text, notation) in enumerate(self._rows_of(source), start=first):
                if row >= limits[here[0]][1]:
                    yield here[0], found.pop(here[0])
                    del limits[here.pop(0)]
                if row >= stop:
                    break
                if row >= limits[here[0]][0]:
                    found[here[0]].append((row + 1, text, notation))
            for number in [n for n in here if limits[n][1] <= last]:  # they end with the file
                del limits[number]
                yield number, found.pop(number)

    def _all(self) -> Iterator[Row]:
        for kept in (self._rows, self._files, self._lines):
            del kept[:]
        number = 0
        self.begins.clear()
        for file, source in enumerate(self.sources):
            self.begins.append(number)
            expected = 0
            for line, text, notation in self._rows_of(source):
                number += 1
                if line != expected:
                    self._rows.append(number)
                    self._files.append(file)
                    self._lines.append(line)
                expected = line + 1
                yield number, text, notation

    def _rows_of(self, source: Source) -> Iterator[tuple[int, str, str]]:
        """Line, text and notation of the rows of a file that are read: all."""
        return source.rows()

    def place(self, number: int) -> tuple[str, int]:
        """Name of the file, and line (or row, or record) in it from 1, of a row that was read.

        Args:
            number: of the row.
        """
        i = bisect_right(self._rows, number) - 1
        return self.names[self._files[i]], self._lines[i] + number - self._rows[i]

    def describe(self) -> list[dict[str, Any]]:
        """How each file was read, for the manifest, once all rows were."""
        return [
            {"file": name, **source.describe()} for name, source in zip(self.names, self.sources, strict=True)
        ]


class ChosenRows(Reading):
    """Files of molecules of which only rows with one value in a column are read.

    Args:
        files: in order, as of ``Reading``; and so are the column of molecules, the delimiter, the encoding.
        column: name or number (from 0) of the column of molecules; None to find it.
        delimiter: between the cells of text files; None to find it.
        encoding: of text files; None for UTF-8, or what the byte order mark says.
        where: name (or number, where there is no header) of a column, and the value that rows have there.

    Raises:
        SourceError: a file is refused, or has no such column.
    """

    def __init__(
        self,
        files: Sequence[Path],
        column: str | int | None = None,
        delimiter: str | None = None,
        encoding: str | None = None,
        *,
        where: tuple[str, str],
    ):
        super().__init__(files, column, delimiter, encoding)
        self.where = where
        for source in self.sources:
            if where[0] not in (columns := source.columns()):
                raise SourceError(
                    f"{source.entry}: there is no column {where[0]} to choose rows by. There are "
                    f"{', '.join(list(columns)[:20])}."
                )

    def _rows_of(self, source: Source) -> Iterator[tuple[int, str, str]]:
        name, value = self.where
        for line, text, notation, (cell,) in source.records([source.columns()[name]]):
            if cell.strip() == value:
                yield line, text, notation


def _chunk_rows(number: int, size: int, growth: int) -> int:
    return size * min(1 << number // DOUBLED_EVERY, growth)


def _names(found: list[Entry]) -> list[str]:
    folder = os.path.commonpath([entry.path.absolute().parent for entry in found])
    names = []
    for entry in found:
        name = Path(os.path.relpath(entry.path.absolute(), folder)).as_posix()
        names.append(name if entry.member is None else f"{name}/{entry.member}")
    return names


__all__ = ["ChosenRows", "Reading", "Row", "SourceError"]
