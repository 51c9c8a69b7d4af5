"""A table of millions of rows as Parquet shards: written one by one, continued after an interruption.

The folder holds ``request.json`` (what decides the rows) and ``part-000000.parquet`` and so on, each whole or
absent. Whoever writes shard i can make it from the request and i alone, or from what shards
before it hold; the same command again goes on behind the last one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from chemscale.common.files import atomic_path, write_json

REQUEST = "request.json"


class ShardError(ValueError):
    """A folder of shards that is of another request, or damaged."""


class RowShards:
    """Shards of one table; open with ``RowShards.open``.

    Args:
        folder: of the shards.
        done: number of shards that are complete.
        rows: in them.
    """

    def __init__(self, folder: Path, done: int, rows: int):
        self.folder, self.done, self.rows = folder, done, rows

    @classmethod
    def open(cls, folder: Path, request: Mapping[str, Any]) -> RowShards:
        """Begin a table, or go on with the one of the same request.

        Args:
            folder: of the shards; it is made.
            request: plain values that decide every row.

        Raises:
            ShardError: the folder holds other things, or the table of another request: the message names
                what differs.
        """
        folder = Path(folder)
        plain = json.loads(json.dumps(request))
        file = folder / REQUEST
        if file.is_file():
            try:
                earlier = json.loads(file.read_text())
            except (json.JSONDecodeError, UnicodeDecodeError):
                raise ShardError(f"{file}: damaged. Choose another folder, or remove this one.") from None
            differing = sorted(k for k in {*earlier, *plain} if earlier.get(k) != plain.get(k))
            if differing:
                raise ShardError(
                    f"{folder} holds rows of another request: {', '.join(differing)} differ. Choose another "
                    "folder, or remove this one."
                )
        elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ShardError(f"{folder} exists and is no unfinished table: choose another place.")
        else:
            folder.mkdir(parents=True, exist_ok=True)
            write_json(file, plain)
        done = rows = 0
        while (part := cls._part(folder, done)).is_file():
            try:
                rows += pq.read_metadata(part).num_rows
            except pa.ArrowInvalid as error:
                raise ShardError(f"{part}: damaged ({error}). Remove it and what follows it.") from None
            done += 1
        return cls(folder, done, rows)

    @staticmethod
    def _part(folder: Path, number: int) -> Path:
        return folder / f"part-{number:06d}.parquet"

    def write(self, columns: Mapping[str, Any] | pa.Table) -> None:
        """Add one shard, whole or not at all.

        Args:
            columns: a table, or equally long columns by name.
        """
        table = columns if isinstance(columns, pa.Table) else pa.table(dict(columns))
        with atomic_path(self._part(self.folder, self.done)) as temporary:
            pq.write_table(table, temporary)
        self.done += 1
        self.rows += table.num_rows

    def read(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The shards, one after another.

        Args:
            columns: names; None for all.
        """
        for number in range(self.done):
            yield pq.read_table(self._part(self.folder, number), columns=list(columns) if columns else None)
