"""Where metrics go: one interface, JSON lines always, W&B beside it."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any, Protocol

log = logging.getLogger(__name__)


class Tracker(Protocol):
    """Receives rows: a ``kind`` (train, validation, truth), ``step``, ``tokens``, and numbers."""

    def log(self, row: dict[str, Any]) -> None: ...

    def flush(self) -> None:
        """Make everything logged so far survive a kill."""
        ...

    def finish(self, summary: dict[str, Any]) -> None: ...


class JsonLines:
    """``metrics.jsonl``, the source of truth. On resuming at a step, later rows are cut off first."""

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
            if row["step"] <= step:
                kept.append(line + "\n")
        partial = self.path.with_suffix(".part")
        partial.write_text("".join(kept))
        os.replace(partial, self.path)

    def log(self, row: dict[str, Any]) -> None:
        self._waiting.append((json.dumps(row) + "\n").encode())
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
        """Raises: OSError where rows still wait."""
        problem = self._write()
        if problem:
            raise OSError(f"{self.path}: {len(self._waiting)} rows could not be written: {problem}")
        os.fsync(self._file.fileno())

    def finish(self, summary: dict[str, Any]) -> None:
        self.flush()
        self._file.close()


class Silent:
    """Of ranks that do not track."""

    def log(self, row: dict[str, Any]) -> None: ...

    def flush(self) -> None: ...

    def finish(self, summary: dict[str, Any]) -> None: ...


class Wandb:
    """Weights & Biases. The run's id is the point's identity, so restarts meet in one run.

    W&B's own step is not used: an offline run that is resumed counts from 0 again.
    """

    def __init__(
        self, directory: Path, *, project: str, group: str, name: str, identity: str, mode: str, config: dict
    ):
        import wandb

        self._run = wandb.init(
            dir=str(directory),
            project=project,
            group=group,
            name=name,
            id=identity,
            resume="allow",
            mode=mode,  # type: ignore[arg-type]
            config=config,
            settings=wandb.Settings(silent=True, console="off"),
        )
        self._run.define_metric("tokens")
        for kind in ("train", "validation", "truth"):
            self._run.define_metric(f"{kind}/*", step_metric="tokens")

    def log(self, row: dict[str, Any]) -> None:
        shared: dict[str, Any] = {key: row[key] for key in ("step", "tokens") if key in row}
        own = {f"{row['kind']}/{key}": value for key, value in row.items() if key not in (*shared, "kind")}
        self._run.log({**shared, **own})

    def flush(self) -> None:
        """W&B's own process writes as it goes."""

    def finish(self, summary: dict[str, Any]) -> None:
        self._run.summary.update(summary)
        self._run.finish()


class Trackers:
    """Several trackers as one; a broken secondary one is reported once and never stops a run."""

    def __init__(self, primary: Tracker, secondary: list[Tracker]):
        self.primary, self.secondary = primary, list(secondary)

    def _each(self, call) -> None:
        for tracker in list(self.secondary):
            try:
                call(tracker)
            except Exception as error:
                log.warning("%s stopped tracking: %s", type(tracker).__name__, error)
                self.secondary.remove(tracker)

    def log(self, row: dict[str, Any]) -> None:
        self.primary.log(row)
        self._each(lambda tracker: tracker.log(row))

    def flush(self) -> None:
        self.primary.flush()
        self._each(lambda tracker: tracker.flush())

    def finish(self, summary: dict[str, Any]) -> None:
        self.primary.finish(summary)
        self._each(lambda tracker: tracker.finish(summary))
