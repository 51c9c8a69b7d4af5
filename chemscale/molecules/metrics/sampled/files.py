"""A file of generated molecules, with what it says of how each was written."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as parquet

from chemscale.common.parallel import ordered_map
from chemscale.common.progress import ProgressBar
from chemscale.molecules.metrics.sampled.invalid import TRUNCATED, WRITTEN, Row, mostly_invalid
from chemscale.molecules.metrics.sampled.samples import Drawn, Samples, of_row
from chemscale.molecules.preparation.notations import to_smiles
from chemscale.molecules.preparation.sources import Reading, Source, SourceError
from chemscale.molecules.preparation.sources.columns import cell
from chemscale.molecules.preparation.sources.files import find_files
from chemscale.molecules.preparation.sources.tables import Table
from chemscale.molecules.preparation.standardize import Rejected

log = logging.getLogger(__name__)

CHUNK = 1000


class SamplesError(ValueError):
    """A file of generated molecules that cannot be judged; the message names it and the way out."""


def read_samples(
    path: Path, *, column: str | None = None, most: int, workers: int = 1, silent: bool = False
) -> Samples:
    """Every row of a file and what became of it.

    A row without a molecule counts as an invalid one; a blank line does not count.

    Args:
        path: a file, a folder or a pattern; what ``chemscale.generate`` writes, or anyone's.
        column: name or number of the column of molecules; None to find it.
        most: rows that are judged; more are passed over, and that is said.
        workers: processes.
        silent: show no progress.

    Raises:
        SamplesError: there is no such file, or it has no row.
        SourceError: it has no column of molecules.
    """
    try:
        files, _ = find_files(str(path))
    except FileNotFoundError:
        there = (
            "neither a run, a model folder nor a folder with files of molecules"
            if path.exists()
            else ("no such file, folder or run")
        )
        raise SamplesError(f"{path}: {there}.") from None
    rows = _rows_of(files, column)
    first = list(itertools.islice(rows, most))
    if not first:
        raise SamplesError(f"{path}: no row with a molecule.")
    if next(rows, None) is not None:
        log.warning("%s has more rows: the first %s are judged (--n for another number).", path, f"{most:,}")
    drawn: list[Drawn] = []
    tasks = (first[start : start + CHUNK] for start in range(0, len(first), CHUNK))
    with ProgressBar("read", len(first), "molecules", silent=silent) as progress:
        for part in ordered_map(drawn_of, tasks, workers):
            drawn += part
            progress.advance(len(part))
    return Samples(tuple(drawn), all(row[1] is not None for row in first), str(path))


def _rows_of(files: list[Path], column: str | None) -> Iterator[Row]:
    """Rows of all files.

    Raises:
        SourceError: a file has no column of molecules.
    """
    try:
        return itertools.chain.from_iterable(_rows(source) for source in Reading(files, column).sources)
    except SourceError as error:
        # A poor model's molecules are mostly none: a file that says they are SMILES is believed.
        found = mostly_invalid(files[0], column) if len(files) == 1 else None
        if found is None:
            raise SourceError(str(error).replace("data.smiles_column=", "--column ")) from None
        return iter(found)


def fingerprint_of(path: Path) -> str:
    """What tells whether a file was changed: its size and when it was written; of a folder nothing.

    Args:
        path: of the file.
    """
    if not path.is_file():
        return ""
    status = path.stat()
    return f"{status.st_size} {status.st_mtime_ns}"


def drawn_of(rows: list[Row]) -> list[Drawn]:
    """What became of the rows of a task."""
    return [of_row(text, selfies_text=written, truncated=truncated) for text, written, truncated in rows]


def _rows(source: Source) -> Iterator[Row]:
    """Rows of a file that are not blank, its header left out."""
    notation, flags = source.choice.notation, _parquet_flags(source)
    if notation == "molblock":
        for _, text, kind in source.rows():
            yield _smiles(text, kind), None, None
        return
    names: list[str] = list(source.reader.names or [])
    is_text = isinstance(source.reader, Table)
    for line, row in source.reader.rows():
        cells = row if isinstance(row, list) else list(row.values())
        if is_text and not any(text.strip() for text in cells):
            continue
        if is_text and source.choice.header and line == source.header_line:
            names = [text.strip() for text in cells]
            continue
        places = (
            {name: name for name in row} if isinstance(row, dict) else {n: i for i, n in enumerate(names)}
        )
        yield _row(row, source.choice.column, notation, places, flags.get(line))


def _row(
    row: list[str] | dict[str, str],
    column: int | str,
    notation: str,
    places: dict[str, str] | dict[str, int],
    flag: bool | None,
) -> Row:
    """One row; `places` are of its cells by name."""
    text = cell(row, column)
    truncated = flag
    if TRUNCATED in places and flag is None:
        truncated = cell(row, places[TRUNCATED]).lower() in ("1", "true")
    if notation == "selfies":
        return _smiles(text, notation), text, truncated
    return text, cell(row, places[WRITTEN]) if WRITTEN in places else None, truncated


def _smiles(text: str, notation: str) -> str:
    found = to_smiles(text, notation)
    return "" if isinstance(found, Rejected) else found


def _parquet_flags(source: Source) -> dict[int, bool]:
    """Which rows of a Parquet file, from 1, are truncated: its reader of text leaves that column out."""
    if source.entry.path.suffix.lower() not in (".parquet", ".pq") or source.entry.member is not None:
        return {}
    if TRUNCATED not in parquet.read_schema(source.entry.path).names:
        return {}
    values = parquet.read_table(source.entry.path, columns=[TRUNCATED]).column(0).to_pylist()
    return {number: bool(value) for number, value in enumerate(values, start=1)}
