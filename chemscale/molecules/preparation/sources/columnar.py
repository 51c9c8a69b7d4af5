"""Parquet and Arrow files: columns of which only those that are wanted are read."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet

from chemscale.common.logs import brief
from chemscale.common.tables.arrow import ArrowTable
from chemscale.molecules.preparation.sources.records import Row, text_of
from chemscale.molecules.preparation.sources.streams import DAMAGE, MAGIC, Entry, SourceError, open_bytes

BATCH = 8192
"""Rows at a time."""
MAX_UNPACKED = 4 << 30
"""Bytes of a compressed file that is held whole."""


class ParquetFile:
    """A Parquet file; fields of structures are named by their path.

    Args:
        entry: the file.

    Raises:
        SourceError: it is not a Parquet file.
    """

    lines = 0
    title = "Parquet"

    def __init__(self, entry: Entry):
        self.entry = entry
        try:
            schema = self._open()
            flat = _leaves(schema.empty_table())
            self.names: list[str] = list(flat.schema.names)
        except (*DAMAGE, UnicodeDecodeError) as error:
            raise SourceError(f"{entry}: not a readable {self.title} file ({brief(error)}).") from None
        self._texts = [_is_text(kind) for kind in flat.schema.types]
        if not any(self._texts):
            raise SourceError(f"{entry}: no column holds text; they are: {', '.join(self.names)}.")
        tops = [
            [name] * len(_leaves(schema.empty_table().select([i])).schema.names)
            for i, name in enumerate(schema.names)
        ]
        self._tops = list(itertools.chain(*tops))
        self._twice = len(set(schema.names)) < len(schema.names)

    def rows(
        self, column: int | str | None = None, also: Sequence[int | str] = ()
    ) -> Iterator[tuple[int, Row]]:
        """Number of the row from 1, and its cells; text where a cell is read, else nothing.

        Args:
            column: number of the only one that is read; None for all of text.
            also: numbers of others that are read, whatever they hold.

        Raises:
            SourceError: the file is damaged.
        """
        chosen = [column] if isinstance(column, int) else [i for i, text in enumerate(self._texts) if text]
        chosen = sorted({*chosen, *(int(i) for i in also)})
        names = None if self._twice else list(dict.fromkeys(self._tops[i] for i in chosen))
        kept = [i for i, top in enumerate(self._tops) if names is None or top in names]
        number = 0
        try:
            for batch in self._batches(names):
                flat = _leaves(pa.Table.from_batches([batch]))
                columns = {i: flat.column(kept.index(i)).to_pylist() for i in chosen}
                for j in range(batch.num_rows):
                    number += 1
                    cells = [""] * len(self.names)
                    for i, values in columns.items():
                        cells[i] = _cell(values[j])
                    yield number, cells
        except (*DAMAGE, UnicodeDecodeError) as error:
            raise SourceError(
                f"{self.entry}, row {number + 1}: a damaged {self.title} file ({brief(error)})."
            ) from None

    def _open(self) -> pa.Schema:
        """Open the file, and say what its columns are."""
        self._file = parquet.ParquetFile(_on_disk(self.entry) or io.BytesIO(_whole(self.entry)))
        return self._file.schema_arrow

    def _batches(self, names: list[str] | None) -> Iterator[pa.RecordBatch]:
        """Rows of the columns of these names, or of all, some thousands at a time."""
        return self._file.iter_batches(batch_size=BATCH, columns=names)


class ArrowFile(ParquetFile):
    """An Arrow file or stream (Feather, and the shards of a folder of `datasets`), mapped from the disk.

    Args:
        entry: the file.

    Raises:
        SourceError: it is neither, or a stream without its end.
    """

    title = "Arrow"

    def _open(self) -> pa.Schema:
        if (path := _on_disk(self.entry)) is not None:
            buffer = pa.memory_map(str(path))
        else:
            buffer = pa.BufferReader(_whole(self.entry))
        self._table = ArrowTable(buffer)
        return self._table.schema

    def _batches(self, names: list[str] | None) -> Iterator[pa.RecordBatch]:
        return self._table.batches(names, BATCH)


def _leaves(table: pa.Table) -> pa.Table:
    while any(pa.types.is_struct(kind) for kind in table.schema.types):
        table = table.flatten()
    return table


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return (
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
    )


def _cell(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else text_of(value)


def _on_disk(entry: Entry) -> Path | None:
    """Path of a file that is neither compressed nor within an archive."""
    with open(entry.path, "rb") as file:
        packed = file.read(6).startswith(tuple(MAGIC.values()))
    return None if packed or entry.member is not None else entry.path


def _whole(entry: Entry) -> bytes:
    with open_bytes(entry) as stream:
        content = stream.read(MAX_UNPACKED + 1)
    if len(content) > MAX_UNPACKED:
        raise SourceError(
            f"{entry}: unpacks to more than {MAX_UNPACKED >> 30} GiB, and is held whole. Unpack it."
        )
    return content
