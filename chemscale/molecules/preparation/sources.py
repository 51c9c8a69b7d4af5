"""Reading SMILES from the files people have: CSV, TSV, SMI, TXT, JSONL, Parquet, plain or gzip."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import pyarrow.parquet as parquet
from rdkit import Chem, rdBase

KNOWN_COLUMNS = (
    "smiles",
    "canonical_smiles",
    "isomeric_smiles",
    "input",
    "inputs",
    "text",
    "mol",
    "molecule",
)
PROBE_ROWS = 100
MIN_SHARE = 0.5
"""Share of the probed rows that must be SMILES: words such as "C" or "I" parse by accident."""


class SourceError(ValueError):
    """A file that is not a file of SMILES; the message names what was seen and what to do."""


class Source:
    """One input file, opened far enough to know where its SMILES are.

    Args:
        path: of the file.
        column: name or number (from 0) of the SMILES column; None to find it.

    Raises:
        SourceError: the file is missing, empty, not text, or has no column of SMILES.
    """

    def __init__(self, path: Path, column: str | int | None = None):
        self.path = Path(path)
        if not self.path.is_file():
            raise SourceError(f"{self.path}: no such file.")
        suffixes = [s.lower() for s in self.path.suffixes]
        self.gzipped = bool(suffixes) and suffixes[-1] == ".gz"
        self.kind = (suffixes[-2] if self.gzipped and len(suffixes) > 1 else (suffixes or [""])[-1]).lstrip(
            "."
        )
        self.wanted = int(column) if isinstance(column, str) and column.isdigit() else column
        probe = list(itertools.islice(self._rows(), PROBE_ROWS + 1))
        if not probe:
            raise SourceError(f"{self.path}: the file is empty.")
        self.header, self.column = self._locate(probe)

    def __iter__(self) -> Iterator[tuple[int, str]]:
        """Row number in the file from 1, and text of the SMILES cell; ``""`` where it is empty or missing."""
        for number, cells in enumerate(self._rows(), start=1):
            if number > 1 or not self.header:
                yield number, cells[self.column].strip() if self.column < len(cells) else ""

    # --- rows of cells ---

    def _rows(self) -> Iterator[list[str]]:
        if self.kind == "parquet":
            yield from self._parquet_rows()
            return
        with self._text() as file:
            try:
                if self.kind in ("jsonl", "ndjson", "json"):
                    yield from self._json_rows(file)
                elif self.kind in ("csv", "tsv"):
                    delimiter = self._delimiter()
                    yield from csv.reader(file, delimiter=delimiter)
                else:
                    for line in file:
                        yield line.split()
            except (UnicodeDecodeError, csv.Error, gzip.BadGzipFile, EOFError) as error:
                raise SourceError(
                    f"{self.path}: not a readable text file ({error}). Give CSV, TSV, SMI, TXT, JSONL or "
                    "Parquet, plain or gzip."
                ) from None

    def _text(self) -> IO[str]:
        with open(self.path, "rb") as raw:
            start = raw.read(512)
        if self.gzipped or start[:2] == b"\x1f\x8b":
            return io.TextIOWrapper(gzip.open(self.path, "rb"), encoding="utf-8-sig", newline="")
        if b"\0" in start:
            raise SourceError(f"{self.path}: a binary file, not a file of SMILES.")
        return open(self.path, encoding="utf-8-sig", newline="")

    def _delimiter(self) -> str:
        if self.kind == "tsv":
            return "\t"
        with self._text() as file:
            first = file.readline()
        # SMILES contain none of these, so the first line is enough.
        return max(",;\t", key=first.count)

    def _json_rows(self, file: IO[str]) -> Iterator[list[str]]:
        keys: list[str] | None = None
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise SourceError(
                    f"{self.path}, line {number}: not JSON ({error}); one object a line."
                ) from None
            if not isinstance(row, dict):
                raise SourceError(f"{self.path}, line {number}: {line.strip()[:60]!r} is not a JSON object.")
            if keys is None:
                keys = list(row)
                yield keys
            yield [row[key] if isinstance(row.get(key), str) else "" for key in keys]

    def _parquet_rows(self) -> Iterator[list[str]]:
        try:
            file = parquet.ParquetFile(self.path)
        except Exception as error:
            raise SourceError(f"{self.path}: not a Parquet file ({error}).") from None
        names = list(file.schema_arrow.names)
        yield names
        wanted = self._parquet_column(names)
        for batch in file.iter_batches(batch_size=8192, columns=wanted):
            columns = {name: batch.column(name).to_pylist() for name in batch.schema.names}
            for i in range(batch.num_rows):
                cells = (columns[name][i] if name in columns else "" for name in names)
                yield [cell if isinstance(cell, str) else "" for cell in cells]

    def _parquet_column(self, names: list[str]) -> list[str] | None:
        column = getattr(self, "column", None)
        return None if column is None else [names[column]]

    # --- which column ---

    @property
    def _named(self) -> bool:
        return self.kind in ("parquet", "jsonl", "ndjson", "json")

    def _locate(self, probe: list[list[str]]) -> tuple[bool, int]:
        """Whether the first row is a header, and the number of the SMILES column."""
        first = [cell.strip() for cell in probe[0]]
        if isinstance(self.wanted, int):
            column = self.wanted
            if column >= max(len(row) for row in probe):
                raise self._refuse(probe, f"there is no column {column}")
            header = self._named or not is_smiles(first[column] if column < len(first) else "")
            return header, self._checked(probe, column, header)
        if self.wanted is not None:
            if self.wanted not in first:
                raise self._refuse(probe, f"there is no column named {self.wanted!r}")
            return True, self._checked(probe, first.index(self.wanted), True)
        lower = [cell.lower() for cell in first]
        for name in KNOWN_COLUMNS:
            if name in lower and not is_smiles(first[lower.index(name)]):
                return True, self._checked(probe, lower.index(name), True)
        return self._search(probe, first)

    def _search(self, probe: list[list[str]], first: list[str]) -> tuple[bool, int]:
        """The same where no name gives the column away: the column with the largest share of SMILES."""
        width = max(len(row) for row in probe)
        body = probe[1:] or probe
        shares = [_share(body, column) for column in range(width)]
        best = max(range(width), key=lambda column: shares[column], default=0)
        if not shares or shares[best] < MIN_SHARE:
            raise self._refuse(probe, "no column has mostly SMILES")
        header = self._named or (len(probe) > 1 and not (best < len(first) and is_smiles(first[best])))
        return header, best

    def _checked(self, probe: list[list[str]], column: int, header: bool) -> int:
        rows = probe[1:] if header else probe
        if not rows:
            raise self._refuse(probe, "there is a header and nothing below it")
        if _share(rows, column) < MIN_SHARE:
            raise self._refuse(probe, f"column {column} has few SMILES")
        return column

    def _refuse(self, probe: list[list[str]], why: str) -> SourceError:
        seen = "; ".join(" | ".join(row)[:70] for row in probe[:3])
        return SourceError(
            f"{self.path}: this does not look like a file of SMILES: {why}. Its first rows are: {seen}. "
            "Name the column with data.smiles_column=NAME (or its number, from 0)."
        )


def is_smiles(text: str) -> bool:
    """Whether RDKit reads a text as a molecule with at least one atom."""
    if not text or len(text) > 5000:
        return False
    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(text)
    return molecule is not None and molecule.GetNumAtoms() > 0


def _share(rows: Sequence[list[str]], column: int) -> float:
    """Share of the rows whose cell is SMILES; single letters do not count, they are words too."""
    cells = [row[column].strip() if column < len(row) else "" for row in rows]
    good = sum(is_smiles(cell) for cell in cells)
    long_enough = any(len(cell) > 1 and is_smiles(cell) for cell in cells)
    return good / len(cells) if long_enough else 0.0


def read_chunks(
    files: Sequence[Path], column: str | int | None, size: int
) -> Iterator[tuple[int, list[tuple[int, str]]]]:
    """Read files as numbered chunks of rows, in bounded memory.

    Args:
        files: one after another.
        column: name or number (from 0) of the SMILES column; None to find it.
        size: rows of a chunk.

    Yields:
        Number of the chunk, and its rows: running number over all files from 1, text of the SMILES cell.

    Raises:
        SourceError: a file is refused; all are looked at before the first row is read.
    """
    sources = [Source(path, column) for path in files]
    running = itertools.count(1)
    rows = ((next(running), text) for source in sources for _, text in source)
    for number in itertools.count():
        chunk = list(itertools.islice(rows, size))
        if not chunk:
            return
        yield number, chunk
