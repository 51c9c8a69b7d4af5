"""One file of molecules: how it is read, and its rows."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from chemscale.molecules.preparation.sources.columnar import ArrowFile, ParquetFile
from chemscale.molecules.preparation.sources.columns import (
    PROBE_CELLS,
    Choice,
    Chooser,
    NoColumn,
    cell,
    is_smiles,
    rank,
    share_of_smiles,
    usual_width,
)
from chemscale.molecules.preparation.sources.records import JsonFile, Row, SdfFile
from chemscale.molecules.preparation.sources.streams import (
    EmptySourceError,
    Entry,
    SourceError,
    entries,
    open_bytes,
    text_encoding,
)
from chemscale.molecules.preparation.sources.tables import WHITESPACE, Table
from chemscale.molecules.settings import DELIMITERS

PROBE_ROWS = (PROBE_CELLS + 1, 20_000)
"""Rows that are looked at to find the column; the second where the first show none."""
RAGGED = "ragged"
"""The notation of a row with more cells than the header, of which none is surely the molecule."""
KINDS = ("csv", "tsv", "tab", "json", "jsonl", "ndjson", "sdf", "sd", "mol")
"""Suffixes that are believed; of other text files the first lines are asked."""
ARROW = ("arrow", "feather", "ipc")
COLUMNAR = {b"PAR1": "parquet", b"ARRO": "arrow"}
"""Kinds that are known by their first bytes, whatever their name."""
LISTS = ("smi", "smiles", "ism", "can", "cxsmiles", "selfies")

Reader = Table | JsonFile | ParquetFile | SdfFile


class Source:
    """One input file, opened far enough to know where its molecules are.

    Args:
        file: path of it, or an entry of an archive.
        column: name or number (from 0) of the column of SMILES or SELFIES; None to find it.
        delimiter: between the cells of a text file, one character or its name; None to find it.
        encoding: of a text file; None for UTF-8, or what its byte order mark says.

    Raises:
        SourceError: the file is missing, empty, damaged, not of the encoding, or has no column of molecules.
    """

    def __init__(
        self,
        file: Path | Entry,
        column: str | int | None = None,
        delimiter: str | None = None,
        encoding: str | None = None,
    ):
        self.entry = file if isinstance(file, Entry) else _only(Path(file))
        wanted = int(column) if isinstance(column, str) and column.isdigit() else column
        given = DELIMITERS.get(delimiter, delimiter) if delimiter is not None else None
        with open_bytes(self.entry) as stream:
            begin = stream.peek(4)[:4]
        if not begin:
            raise EmptySourceError(f"{self.entry}: the file is empty.")
        kind = COLUMNAR.get(begin, self.entry.kind)
        self.encoding = None if kind in ("parquet", "pq", *ARROW) else text_encoding(self.entry, encoding)
        if self.encoding is not None and kind not in KINDS:
            kind = self._kind_by_content() or kind
        self.reader = self._reader(kind, wanted, given)
        self.header_line = 0
        """Line of the header, where there is one."""
        self.width = 0
        """Cells of a row, where more of them would move the column."""
        if isinstance(self.reader, SdfFile) and wanted is None:
            self.choice = Choice(0, None, False, "molblock", "the structure of each record")
        else:
            self.choice = self._choose(0 if isinstance(self.reader, SdfFile) else wanted)
        self.total = 0
        """Rows that were handed out, the header not counted."""

    def __iter__(self) -> Iterator[tuple[int, str]]:
        """Line, row or record number in the file from 1, and text of the cell; ``""`` where there is none."""
        for line, text, _ in self.rows():
            yield line, text

    def rows(self) -> Iterator[tuple[int, str, str]]:
        """The same with the notation: smiles, selfies, molblock or ragged."""
        for line, text, notation, _ in self.records():
            yield line, text, notation

    def records(self, also: Sequence[int | str] = ()) -> Iterator[tuple[int, str, str, list[str]]]:
        """The same with the text of other columns.

        Args:
            also: keys of columns, as ``columns`` gives them. Of a row with more cells than the header, only
                cells left of the molecule are given: those right of it may have moved.
        """
        column, notation = self.choice.column, self.choice.notation
        header = self.choice.header and not self._fields_are_named
        self.total = 0
        parquet = isinstance(self.reader, ParquetFile)
        rows = self.reader.rows(column, also) if parquet else self.reader.rows(column)  # type: ignore[call-arg]
        for line, row in rows:
            if (header and line == self.header_line) or _names_delimiter(line, row):
                continue
            self.total += 1
            text = row[0] if notation == "molblock" else cell(row, column)  # type: ignore[index]
            if self.width and len(row) > self.width and any(extra.strip() for extra in row[self.width :]):  # type: ignore[index]
                left = [cell(row, key) if key < column else "" for key in also]  # type: ignore[operator]
                yield line, text, notation if self._is_sure(row) else RAGGED, left
            elif isinstance(self.reader, SdfFile):
                yield line, text, notation, [self.reader.field_of_last(str(key)) for key in also]
            else:
                yield line, text, notation, [cell(row, key) for key in also] if also else []

    def columns(self) -> dict[str, int | str]:
        """Key of every column by its name, or by its number where there is no header."""
        if isinstance(self.reader, SdfFile):
            return {name: name for name in self.reader.fields()}
        if isinstance(self.reader, ParquetFile):
            return _first_of_each(self.reader.names)
        rows = list(itertools.islice(_content(self.reader.rows()), PROBE_CELLS))
        if isinstance(self.reader, JsonFile) and all(isinstance(row, dict) for _, row in rows):
            return {key: key for _, row in rows for key in row}
        if self.choice.header:
            return _first_of_each([str(name).strip() for name in rows[0][1]])
        return {str(i): i for i in range(usual_width([row for _, row in rows]))}

    def _is_sure(self, row: Row) -> bool:
        """Whether the cell of a row that has more cells than the header is the molecule."""
        assert isinstance(self.choice.column, int)
        first, surplus = self.choice.column, len(row) - self.width
        return [is_smiles(cell(row, first + i)) for i in range(surplus + 1)] == [True] + [False] * surplus

    def describe(self) -> dict[str, Any]:
        """How the file was read, for the manifest; its rows and lines are known once it was read whole."""
        column = self.choice.column
        lines = {"lines": self.reader.lines} if self.reader.lines else {}
        return {
            "column": self.choice.name if self.choice.name is not None else column,
            "number": column if isinstance(column, int) else None,
            "header": self.choice.header,
            "notation": self.choice.notation,
            "why": self.choice.why,
            "delimiter": self.reader.delimiter if isinstance(self.reader, Table) else None,
            "encoding": self.encoding,
            "rows": self.total,
            **lines,
        }

    # --- opening ---

    @property
    def _fields_are_named(self) -> bool:
        return not isinstance(self.reader, Table)

    def _kind_by_content(self) -> str | None:
        """What the first characters of a text say it is, whatever its name: SDF or JSON."""
        assert self.encoding is not None
        with open_bytes(self.entry) as stream:
            begin = stream.peek(4096)[:4096].decode(self.encoding, "replace")
        if len(lines := begin.splitlines()) > 3 and re.search(r"V[23]000\s*$", lines[3]):
            return "sdf"
        return "json" if re.match(r"\s*(\[\s*)?\{\s*\"", begin) else None

    def _reader(self, kind: str, wanted: str | int | None, delimiter: str | None) -> Reader:
        if kind in ("parquet", "pq"):
            return ParquetFile(self.entry)
        if kind in ARROW:
            return ArrowFile(self.entry)
        assert self.encoding is not None
        if kind in ("json", "jsonl", "ndjson"):
            return JsonFile(self.entry, self.encoding)
        if kind in ("sdf", "sd", "mol"):
            return SdfFile(self.entry, self.encoding, str(wanted) if wanted is not None else None)
        return Table(self.entry, self.encoding, delimiter or self._delimiter(kind))

    def _delimiter(self, kind: str) -> str:
        """The delimiter that gives a column of molecules, if the name of the file does not say it."""
        if kind in ("tsv", "tab"):
            return "\t"
        assert self.encoding is not None
        whole = Table(self.entry, self.encoding, "\n")
        whole.quoted = False
        lines = [cell(row, 0) for _, row in itertools.islice(_content(whole.rows()), PROBE_ROWS[0])]
        if not lines:
            raise EmptySourceError(f"{self.entry}: the file is empty.")
        present = sorted((c for c in ",;\t|" if c in lines[0]), key=lines[0].count, reverse=True)
        if " |" in lines[0]:
            present = [c for c in present if c != "|"]
        if kind == "csv":
            usable = present or ([",", WHITESPACE] if " " in lines[0] else [","])
            if len(usable) == 1:
                return usable[0]
        else:
            tabs = {line.count("\t") for line in lines}
            usable = ["\t", WHITESPACE] if len(tabs) == 1 and tabs != {0} else [WHITESPACE, "\t"]
            usable += [c for c in present if c not in usable]
        return max(usable, key=lambda c: self._share(lines, c))

    @staticmethod
    def _share(lines: list[str], delimiter: str) -> float:
        """Largest share of SMILES that a column has with a delimiter."""
        cut = [line.split(None if delimiter == WHITESPACE else delimiter) for line in lines]
        body = [[text.strip().strip('"') for text in row] for row in (cut[1:] or cut)]
        columns = range(min(64, usual_width(body)))
        shares = [share_of_smiles([t for row in body if (t := cell(row, column))]) for column in columns]
        return round(max(shares, default=0.0), 2)

    def _choose(self, wanted: str | int | None) -> Choice:
        for size in PROBE_ROWS:
            probe = list(itertools.islice(_content(self.reader.rows()), size))
            if not probe:
                raise self._empty()
            lines, rows = [line for line, _ in probe], [row for _, row in probe]
            names = self._names(rows)
            chooser = Chooser(rows, names, self._sample, self.entry.kind in LISTS)
            try:
                choice = chooser.choose(wanted)
            except NoColumn as error:
                if len(probe) == size and size < PROBE_ROWS[-1] and not error.final:
                    continue
                refusal = self._refuse(rows, names, str(error))
                raise (EmptySourceError(refusal) if error.empty else SourceError(refusal)) from None
            break
        if isinstance(self.reader, SdfFile):
            choice = replace(choice, name=self.reader.field, header=True)
        self.header_line = lines[0]
        if isinstance(self.reader, Table) and self.reader.delimiter != WHITESPACE and choice.column:
            self.width = len(rows[0]) if choice.header else usual_width(rows)
        return choice

    def _names(self, rows: list[Row]) -> list[str] | None:
        """Names of the columns where the format has them; None for tables: their first row may be one."""
        if isinstance(self.reader, Table):
            return None
        if self.reader.names is None and isinstance(rows[0], list):
            return [str(i) for i in range(usual_width(rows))]
        return self.reader.names

    def _sample(self, column: int | str) -> list[str]:
        """The first cells of a column that are not empty, wherever in the file they are."""
        texts = (cell(row, column) for _, row in _content(self.reader.rows(column)))
        return list(itertools.islice(filter(None, texts), PROBE_CELLS + 1))

    def _empty(self) -> SourceError:
        if isinstance(self.reader, SdfFile) and (fields := self.reader.fields()):
            return SourceError(
                f"{self.entry}: no record fills the field {self.reader.field!r} of data.smiles_column. "
                f"Its fields are {', '.join(fields[:20])}."
            )
        return EmptySourceError(f"{self.entry}: the file is empty.")

    def _refuse(self, rows: list[Row], names: list[str] | None, why: str) -> str:
        shown = [list(row) if isinstance(row, dict) else row for row in rows[:3]]
        if names:
            shown = [names, *shown]
        if isinstance(rows[0], dict):
            shown = [shown[0], *(list(row.values()) for row in rows[:2] if isinstance(row, dict))]
        seen = "; ".join(" | ".join(cells)[:70] for cells in shown[:3])
        if "data.smiles_column" in why:
            return f"{self.entry}: {why}. Its first rows are: {seen}."
        out = "Name the column with data.smiles_column=NAME (or its number, from 0)."
        if "nothing below it" in why:
            out = "Give a file with molecules in it."
        elif isinstance(self.reader, Table) and usual_width(rows) == 1:
            out = "If it has several columns, say what stands between them with data.delimiter."
        problem = f"this does not look like a file of SMILES: {why}"
        return f"{self.entry}: {problem}. Its first rows are: {seen}. {out}"


def _content(rows: Iterator[tuple[int, Row]]) -> Iterator[tuple[int, Row]]:
    """Rows without blank lines, comments, and the line in which Excel names the delimiter."""
    for line, row in rows:
        if _names_delimiter(line, row):
            continue
        first = "" if isinstance(row, dict) else next((text for text in row if text.strip()), "")
        if (isinstance(row, dict) and row) or (
            first and (not first.startswith("#") or (len(first) > 1 and rank(first) <= 1))
        ):
            yield line, row


def _first_of_each(names: Sequence[str]) -> dict[str, int | str]:
    """Number of the first column of each name, in their order."""
    found: dict[str, int | str] = {}
    for i, name in enumerate(names):
        if name:
            found.setdefault(name, i)
    return found


def _names_delimiter(line: int, row: Row) -> bool:
    """Whether a row is the line in which Excel names the delimiter."""
    return line == 1 and isinstance(row, list) and bool(row) and row[0].startswith("sep=")


def _only(path: Path) -> Entry:
    found = entries(path)
    if len(found) > 1:
        raise SourceError(f"{path}: an archive of {len(found)} files; give them one after another.")
    return found[0]
