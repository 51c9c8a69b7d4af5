"""What a run of W&B has on the disk: the steps in its ``.wandb`` file, LevelDB's log of protobuf records.

W&B writes the file from a process of its own and in blocks: what a killed run had logged is not what it left.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BLOCK, HEADER = 32768, 7
FILE_HEADER = 7
WHOLE, LAST = 1, 4
"""Kinds of parts that end a record."""


class HistoryFile:
    """The newest step in a file that may still grow; each call reads on where the last one ended.

    Args:
        path: of a ``.wandb`` file; it need not exist yet.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        self.newest = -1
        """Of the rows seen so far; -1 where there is none."""
        self._position = FILE_HEADER

    def read(self) -> int:
        """Read what is new; the newest step."""
        if self.path.is_file():
            with open(self.path, "rb") as file:
                file.seek(self._position)
                data = file.read()
            for content in self._whole_records(data):
                self.newest = max(self.newest, _step(content))
        return self.newest

    def _whole_records(self, data: bytes) -> Iterator[bytes]:
        """Contents of records from the position on; it moves behind the last whole one."""
        start = place = self._position
        parts = b""
        while place - start + HEADER <= len(data):
            left = BLOCK - place % BLOCK
            if left < HEADER:
                place += left
                continue
            offset = place - start
            _, length, kind = struct.unpack("<IHB", data[offset : offset + HEADER])
            if kind == 0 or offset + HEADER + length > len(data):
                break
            place += HEADER + length
            parts += data[offset + HEADER : offset + HEADER + length]
            if kind in (WHOLE, LAST):
                yield parts
                parts, self._position = b"", place


def newest_step(directory: Path, run_id: str) -> int:
    """The newest step that earlier sessions of a run left below ``<directory>/wandb``; -1 where none did.

    Args:
        directory: that W&B was given.
        run_id: of the run.
    """
    files = directory.glob(f"wandb/*run-*-{run_id}/run-{run_id}.wandb")
    return max((HistoryFile(path).read() for path in files), default=-1)


def _step(content: bytes) -> int:
    """The step of a record that holds a row; -1 for any other record."""
    from wandb.proto import wandb_internal_pb2

    messages: Any = wandb_internal_pb2  # made when it is imported: mypy sees no class in it
    record = messages.Record()
    try:
        record.ParseFromString(content)
    except Exception:  # protobuf's own error, which its versions keep at different places
        return -1
    if not record.HasField("history"):
        return -1
    for item in record.history.item:
        if (item.key or "/".join(item.nested_key)) == "_step":
            return int(float(item.value_json))
    return -1
