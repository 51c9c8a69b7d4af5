"""What an offline run of W&B wrote: LevelDB's log of protobuf records, read back."""

import json
import struct
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2 as pb

BLOCK, HEADER = 32768, 7


def records(path: Path) -> list[Any]:
    """Every record of a ``.wandb`` file; a half-written last one is left out."""
    data, position, parts, found = path.read_bytes(), HEADER, b"", []
    while position + HEADER <= len(data):
        left = BLOCK - position % BLOCK
        if left < HEADER:
            position += left
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + HEADER])
        if kind == 0:
            break
        position += HEADER
        parts += data[position : position + length]
        position += length
        if kind in (1, 4):  # whole, or the last part
            found.append(pb.Record.FromString(parts))
            parts = b""
    return found


class OfflineRun:
    """One run as W&B will be told of it."""

    def __init__(self, folder: Path):
        found = records(next(folder.glob("run-*.wandb")))
        self.run = next(r.run for r in found if r.HasField("run"))
        self.config = {item.key: json.loads(item.value_json) for item in self.run.config.update}
        self.rows = [_values(r.history.item) for r in found if r.HasField("history")]
        self.summary: dict[str, Any] = {}
        for record in found:
            if record.HasField("summary"):
                self.summary |= _values(record.summary.update)
        self.axes = {
            r.metric.glob_name or r.metric.name: r.metric.step_metric for r in found if r.HasField("metric")
        }
        self.artifacts = [
            r.request.log_artifact.artifact for r in found if r.request.HasField("log_artifact")
        ]
        self.artifacts += [r.artifact for r in found if r.HasField("artifact")]
        self.exit_code = next((r.exit.exit_code for r in found if r.HasField("exit")), None)


def offline_runs(folder: Path) -> list[OfflineRun]:
    """Of a point's directory, in order of time."""
    return [OfflineRun(path) for path in sorted(folder.glob("wandb/offline-run-*"))]


def _values(items: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}
