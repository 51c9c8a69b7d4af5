"""The table of generated molecules: its columns, and where its rows wait until it is whole."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from chemscale.molecules.generation.counts import Counts
from chemscale.molecules.generation.decoding import Row
from chemscale.molecules.row_shards import RowShards

SECONDS = 20.0
"""Between two shards: what a killed process loses at most, but for one batch."""
ROWS = 100_000
"""Of a shard at most."""
_COUNTS = b"chemscale"


def text_column(notation: str) -> str:
    """Name of the column of what was written, which SMILES shares with the canonical one.

    Args:
        notation: of the model.
    """
    return "written" if notation == "smiles" else notation.upper()


def schema(notation: str, *, scaffold: bool) -> pa.Schema:
    """Columns of the table.

    Args:
        notation: of the model.
        scaffold: whether one was asked for.
    """
    fields = [
        ("SMILES", pa.string()),
        (text_column(notation), pa.string()),
        ("valid", pa.bool_()),
        ("truncated", pa.bool_()),
        ("nll", pa.float64()),
        ("nats_per_heavy_atom", pa.float64()),
    ]
    return pa.schema([*fields, ("contains_scaffold", pa.bool_())] if scaffold else fields)


class Rows:
    """Rows on their way to a table, in memory or in shards beside the file that they are for.

    Args:
        columns: of the table.
        out: file that is to be written; None to keep the rows in memory.
        request: plain values that decide every row.

    Raises:
        ShardError: rows of another request lie beside the file.
    """

    def __init__(self, columns: pa.Schema, out: Path | None, request: Mapping[str, Any]):
        self.columns = columns
        self.shards = None if out is None else RowShards.open(shards_of(out), request)
        self._tables: list[pa.Table] = []
        self._waiting: list[Row] = []
        self._counts = Counts()
        self._last = time.monotonic()

    def restored(self) -> Iterator[tuple[list[str], Counts]]:
        """SMILES of what an earlier process left, shard by shard, and the counts up to there."""
        for table in self.shards.read() if self.shards is not None else ():
            counts = Counts(**json.loads((table.schema.metadata or {})[_COUNTS]))
            yield [smiles for smiles in table["SMILES"].to_pylist() if smiles], counts

    def add(self, rows: Sequence[Row], counts: Counts) -> None:
        """Add the kept rows of one batch; now and then a shard is written.

        Args:
            rows: kept.
            counts: up to and with this batch.
        """
        self._waiting += rows
        self._counts = counts
        if len(self._waiting) >= ROWS or time.monotonic() - self._last > SECONDS:
            self.flush()

    def flush(self) -> None:
        """Make a table of the rows that wait; in a shard they survive the process."""
        if self._counts.batches == 0:
            return
        table = _table(self._waiting, self.columns, self._counts)
        if self.shards is None:
            self._tables.append(table)
        else:
            self.shards.write(table)
        self._waiting, self._counts, self._last = [], Counts(), time.monotonic()

    def tables(self) -> Iterator[pa.Table]:
        """All of it, table by table."""
        yield from self.shards.read() if self.shards is not None else self._tables

    def remove(self) -> None:
        """Take the shards away, once the file is written."""
        if self.shards is not None:
            shutil.rmtree(self.shards.folder)


def shards_of(out: Path) -> Path:
    """The folder of shards beside a file that is not yet whole.

    Args:
        out: the file.
    """
    return out.with_name(f"{out.name}.parts")


def _table(rows: Sequence[Row], columns: pa.Schema, counts: Counts) -> pa.Table:
    values: dict[str, list[Any]] = {
        "SMILES": [row.smiles for row in rows],
        columns.names[1]: [row.text for row in rows],
        "valid": [row.valid for row in rows],
        "truncated": [row.truncated for row in rows],
        "nll": [row.nll for row in rows],
        "nats_per_heavy_atom": [row.nats_per_heavy_atom for row in rows],
        "contains_scaffold": [row.contains_scaffold for row in rows],
    }
    table = pa.table({name: values[name] for name in columns.names}, schema=columns)
    return table.replace_schema_metadata({_COUNTS: json.dumps(asdict(counts)).encode()})
