"""``metrics.jsonl``: one JSON object a line, always written; the curve of the record."""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chemscale.common.files import atomic_write
from chemscale.training.trackers.base import Tracker

log = logging.getLogger(__name__)


class JsonLines(Tracker):
    """``metrics.jsonl``, the source of truth. On resuming at a step, later rows are cut off first.

    A number that is not finite is null there, as in records: JSON has none.

    Args:
        path: of the file.
        resume_step: the optimizer step that the run goes on from; 0 at its beginning.
    """

    def __init__(self, path: Path, resume_step: int):
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._cut(resume_step)
        self._file = open(self.path, "ab", buffering=0)  # noqa: SIM115 (open for the length of the run)
        self._waiting: list[bytes] = []

    def _cut(self, step: int) -> None:
        if not self.path.exists():
            return
        kept = []
        for line in self.path.read_text().splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                break
            if row.get("logged_at", row["step"]) <= step:
                kept.append(line + "\n")
        with atomic_write(self.path) as file:
            file.writelines(kept)

    def log(self, row: Mapping[str, Any]) -> None:
        numbers = {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in row.items()
        }
        self._waiting.append((json.dumps(numbers) + "\n").encode())
        self._write()

    def _write(self) -> str:
        """Write what waits, whole lines only; why something still waits, or an empty text."""
        while self._waiting:
            size = os.fstat(self._file.fileno()).st_size
            line, problem = self._waiting[0], ""
            try:
                if self._file.write(line) != len(line):
                    problem = "no space left"
            except OSError as error:
                problem = str(error)
            if problem:
                self._file.truncate(size)
                if len(self._waiting) == 1:
                    log.error("%s takes no more (%s): rows wait in memory.", self.path, problem)
                return problem
            del self._waiting[0]
        return ""

    def flush(self) -> None:
        """Bring every row to the disk.

        Raises:
            OSError: rows still wait.
        """
        problem = self._write()
        if problem:
            raise OSError(f"{self.path}: {len(self._waiting)} rows could not be written: {problem}")
        os.fsync(self._file.fileno())

    def finish(self, summary: Mapping[str, Any]) -> None:
        self.flush()
        self._file.close()
