"""Tables of results in files: Parquet shards while they grow, then one CSV, Parquet or NumPy file."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from chemscale.common.files import atomic_path
from chemscale.molecules.row_shards import RowShards

EMBEDDING = "embedding"
"""The column that holds a vector."""


class OutputError(ValueError):
    """A file that cannot be written, or stands in the way."""


def rows_beside(path: Path) -> Path:
    """The table that names the rows of a NumPy file."""
    return path.with_name(f"{path.stem}.rows.csv")


def shards_beside(path: Path) -> Path:
    """The folder of an unfinished file."""
    return path.with_name(f"{path.name}.parts")


def check_output(path: Path, kinds: tuple[str, ...]) -> None:
    """Refuse a file before anything is computed for it.

    Args:
        path: to be written.
        kinds: suffixes that there are.

    Raises:
        OutputError: another suffix, or a file that is there.
    """
    if path.suffix not in kinds:
        raise OutputError(f"{path}: choose a file that ends with {', '.join(kinds)}.")
    for file in [path, *([rows_beside(path)] if path.suffix == ".npy" else [])]:
        if file.exists():
            raise OutputError(f"{file} exists: choose another --out or remove it.")


def assemble(shards: RowShards, path: Path) -> None:
    """Write the rows of all shards as one file, one shard at a time, and remove the shards.

    Args:
        shards: complete.
        path: of the file; its suffix says how.
    """
    writers = {".parquet": _parquet, ".csv": _csv, ".npy": _npy}
    writers[path.suffix](shards.read(), shards.rows, path)
    shutil.rmtree(shards.folder)


def _parquet(tables: Iterator[pa.Table], rows: int, path: Path) -> None:
    first = next(tables)
    with (
        atomic_path(path, overwrite=False) as temporary,
        pq.ParquetWriter(temporary, first.schema) as writer,
    ):
        writer.write_table(first)
        for table in tables:
            writer.write_table(table)


def _csv(tables: Iterator[pa.Table], rows: int, path: Path) -> None:
    first = flat(next(tables))
    with (
        atomic_path(path, overwrite=False) as temporary,
        pyarrow.csv.CSVWriter(temporary, first.schema) as writer,
    ):
        writer.write_table(first)
        for table in tables:
            writer.write_table(flat(table))


def _npy(tables: Iterator[pa.Table], rows: int, path: Path) -> None:
    first = next(tables)
    dtype = first.schema.field(EMBEDDING).type.value_type.to_pandas_dtype()
    width = first.schema.field(EMBEDDING).type.list_size
    with (
        atomic_path(path, overwrite=False) as temporary,
        atomic_path(rows_beside(path), overwrite=False) as beside,
        open(beside, "w", newline="") as file,
    ):
        matrix = np.lib.format.open_memmap(temporary, mode="w+", dtype=dtype, shape=(rows, width))
        writer = csv.writer(file)
        names = [name for name in first.column_names if name != EMBEDDING]
        writer.writerow(names)
        done, table = 0, first
        while True:
            matrix[done : done + table.num_rows] = vectors(table)
            done += table.num_rows
            writer.writerows(zip(*(table[name].to_pylist() for name in names), strict=True))
            if (following := next(tables, None)) is None:
                break
            table = following
        matrix.flush()
        del matrix


def vectors(table: pa.Table) -> np.ndarray:
    """(rows, D) of a table with embeddings; NaN where a row has none.

    Args:
        table: with the column ``embedding``.
    """
    column = table[EMBEDDING].combine_chunks()
    column = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
    width = column.type.list_size
    out = np.full((len(column), width), np.nan, dtype=column.type.value_type.to_pandas_dtype())
    there = column.is_valid().to_numpy(zero_copy_only=False)
    out[there] = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
    return out


def vector_column(matrix: np.ndarray, there: np.ndarray) -> pa.Array:
    """A column of vectors, null where there is none.

    Args:
        matrix: (rows that have one, D).
        there: (rows,) whether a row has one.
    """
    whole = np.zeros((len(there), matrix.shape[1]), dtype=matrix.dtype)
    whole[there] = matrix
    return pa.FixedSizeListArray.from_arrays(pa.array(whole.ravel()), matrix.shape[1], mask=pa.array(~there))


def flat(table: pa.Table) -> pa.Table:
    """The same with a column a number of the embedding: e0, e1, …

    Args:
        table: with or without embeddings.
    """
    if EMBEDDING not in table.column_names:
        return table
    matrix, at = vectors(table), table.column_names.index(EMBEDDING)
    there = table[EMBEDDING].is_valid().to_numpy()
    table = table.remove_column(at)
    for i in range(matrix.shape[1]):
        # CSV knows no half precision: its numbers are those of single precision, which holds them all.
        values = pa.array(matrix[:, i].astype(np.float32), mask=~there)
        table = table.add_column(at + i, f"e{i}", values)
    return table
