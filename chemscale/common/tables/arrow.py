"""Arrow files and streams, batch by batch; what is cut short or damaged is refused before it is read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.ipc

ARROW_FILE = b"ARROW1"
CONTINUATION = b"\xff" * 4
END_OF_STREAM = CONTINUATION + bytes(4)


class ArrowTable:
    """An Arrow file (Feather) or stream (a shard of a folder of `datasets`).

    Args:
        buffer: its bytes, mapped or held.

    Raises:
        ArrowInvalid: it is neither, or a stream without its end.
    """

    def __init__(self, buffer: pa.NativeFile):
        self._buffer = buffer
        begin = buffer.read(8)
        self._is_stream = not begin.startswith(ARROW_FILE)
        if self._is_stream:
            buffer.seek(max(0, buffer.size() - 8))
            # Without it a stream that was cut between two batches would be taken for whole.
            if not buffer.read(8).endswith(END_OF_STREAM if begin.startswith(CONTINUATION) else bytes(4)):
                raise pa.ArrowInvalid("a stream without its end: it was cut short")
        self.schema: pa.Schema = self._reader().schema

    def _reader(self) -> Any:
        self._buffer.seek(0)
        return pa.ipc.open_stream(self._buffer) if self._is_stream else pa.ipc.open_file(self._buffer)

    def batches(self, names: list[str] | None, rows: int) -> Iterator[pa.RecordBatch]:
        """All rows, in their order.

        Args:
            names: of the columns that are read; None for all.
            rows: of a batch at most.

        Raises:
            ArrowInvalid: a batch is damaged.
        """
        reader = self._reader()
        for batch in reader if self._is_stream else map(reader.get_batch, range(reader.num_record_batches)):
            chosen = batch if names is None else batch.select(names)
            chosen.validate(full=True)  # a damaged file may have any offsets: reading there ends the process
            for start in range(0, batch.num_rows, rows):
                yield chosen.slice(start, rows)
