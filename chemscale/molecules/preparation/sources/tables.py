"""Rows of cells from lines of text: quoted CSV, and tables and lists that are read unquoted."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from typing import IO

from chemscale.molecules.preparation.sources.streams import Entry, SourceError, open_text

WHITESPACE = " "
"""The delimiter of lists: any run of blanks and tabs."""
MAX_CELL = 1 << 24
"""Characters of a quoted cell: what an unbalanced quote swallows before it is refused is bounded."""
EXTENSION = re.compile(r"(\S+)\s+(\|[^|]*\|)")
"""A SMILES and its extension (CXSMILES), which holds blanks and commas."""

Rows = Iterator[tuple[int, list[str]]]
csv.field_size_limit(MAX_CELL)


class Table:
    """A text file as rows of cells.

    Args:
        entry: the file.
        encoding: of its text.
        delimiter: between cells; ``WHITESPACE`` for runs of blanks.

    Only cells of tables with commas, semicolons or bars may be quoted.
    """

    names: list[str] | None = None

    def __init__(self, entry: Entry, encoding: str, delimiter: str):
        self.entry, self.encoding, self.delimiter = entry, encoding, delimiter
        self.quoted = delimiter not in (WHITESPACE, "\t") and entry.kind not in ("smi", "tsv", "tab")
        self.lines = 0
        """Lines that were read."""

    def rows(self, column: int | str | None = None) -> Rows:
        """Line number from 1 on which a row begins, and its cells; none for a blank line.

        Args:
            column: is not needed.

        Raises:
            SourceError: a cell runs over lines, or the text cannot be read.
        """
        self.lines = 0
        with open_text(self.entry, self.encoding) as file:
            yield from self._quoted_rows(file) if self.quoted else self._plain_rows(file)

    def _plain_rows(self, file: IO[str]) -> Rows:
        for number, line in enumerate(file, start=1):
            self.lines = number
            if self.delimiter != WHITESPACE:
                cells = line.rstrip("\n").split(self.delimiter) if line.strip() else []
            elif "|" in line:
                cells = [
                    part.replace("\0|", " |")
                    for part in EXTENSION.sub(lambda m: f"{m[1]}\0{''.join(m[2].split())}", line).split()
                ]
            else:
                cells = line.split()
            yield number, [_unquoted(cell) for cell in cells] if '"' in line else cells

    def _quoted_rows(self, file: IO[str]) -> Rows:
        last = ""

        def lines() -> Iterator[str]:
            nonlocal last
            for last in file:
                self.lines += 1
                yield last

        reader = csv.reader(lines(), delimiter=self.delimiter)
        while True:
            begin = self.lines + 1
            try:
                cells = next(reader, None)
            except csv.Error:
                if self.lines > begin:
                    raise self._runs_over(begin) from None
                cells = [last.rstrip("\n")]
            if cells is None:
                return
            if self.lines > begin and not self._ends_with_break(cells, last, self.lines - begin):
                raise self._runs_over(begin)
            yield begin, _joined_extensions(cells, self.delimiter) if "|" in last else cells

    @staticmethod
    def _ends_with_break(cells: list[str], last: str, extra: int) -> bool:
        """Whether a row has two lines only because a cell ends with a line break, as in ZINC-250k."""
        return extra == 1 and last.startswith('"') and not any("\n" in cell.rstrip() for cell in cells)

    def _runs_over(self, line: int) -> SourceError:
        return SourceError(
            f"{self.entry}, line {line}: a quoted cell begins here and runs over the end of the line, so "
            "that rows after it would be lost. Close the quote, or take the line breaks out of the cells. "
            "TSV and SMI files are read unquoted."
        )


def _unquoted(cell: str) -> str:
    bare = cell.strip()
    return bare[1:-1] if len(bare) > 1 and bare[0] == bare[-1] == '"' else cell


def _joined_extensions(cells: list[str], delimiter: str) -> list[str]:
    """Cells in which an unquoted extension of a SMILES (CXSMILES), cut at its commas, is whole again."""
    joined: list[str] = []
    open_extension = False
    for cell in cells:
        if open_extension:
            joined[-1] += delimiter + cell
            open_extension = not cell.endswith("|")
        else:
            joined.append(cell)
            open_extension = " |" in cell and cell.rstrip()[-1] != "|"
    return cells if open_extension else joined
