"""Weights & Biases: a run of W&B is a point, its group the sweep, its id the point's identity.

Offline needs no account. An interrupted point goes on as the same run: online W&B resumes it; offline a
second directory has the same id, and ``wandb sync`` sends both in order of time. For that, W&B's step is the
optimiser step, counted on over roll-backs: left to itself, an offline run that goes on counts from 0.

A killed run left W&B some rows beyond its checkpoint, or lacks some before it. The next session first logs
what of ``metrics.jsonl`` W&B does not have, and then leaves out what it has: no gap, no step twice.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chemscale.training.trackers.base import (
    COUNTS,
    METRICS,
    RunInfo,
    SweepLaw,
    Tracker,
    TrackerError,
    metrics_of,
)
from chemscale.training.trackers.wandb_files import HistoryFile, newest_step
from chemscale.training.trackers.wandb_law import log_law
from chemscale.training.trackers.wandb_run import flushes, has_account, start

log = logging.getLogger(__name__)

MODES = ("offline", "online", "disabled")
KINDS = ("train", "validation", "truth", "generation")
FINISH_SECONDS = 30.0
"""So long a point waits at its end for what is not sent yet; the rest stays on disk for ``wandb sync``."""
ARRIVE_SECONDS = 5.0
"""So long a checkpoint waits for the rows before it to be on the disk."""
FORBIDDEN = "/\\#?%:"
"""Characters that the name of a project must not have."""
SECRET = re.compile(
    r"(^|_)(api_?key|secret|password|passwd|credentials?|(access|auth|hf)_token)$", re.IGNORECASE
)


class Wandb(Tracker):
    """Metrics against tokens or frames, with cumulative FLOPs in every row as the other axis."""

    def __init__(
        self, run: RunInfo, *, mode: str = "offline", project: str = "chemscale", entity: str | None = None
    ):
        earlier = newest_step(run.directory, run.identity)
        self._run: Any = start(
            mode,
            run.directory,
            FINISH_SECONDS,
            project=project,
            entity=entity,
            group=run.sweep,
            job_type="point",
            name=run.name,
            id=run.identity,
            config=without_secrets(run.config),
        )
        self._skipped = run.skipped
        self._first = self._begins(run, earlier)
        self._newest = -1
        file = Path(self._run.dir).parent / f"run-{run.identity}.wandb"
        self._file = HistoryFile(file) if mode != "disabled" and flushes() else None
        for count in COUNTS:
            self._run.define_metric(count, hidden=True)
        for kind in KINDS:
            self._run.define_metric(f"{kind}/*", step_metric=run.axis)
        if mode != "disabled":
            self._log_missing(run)

    def _begins(self, run: RunInfo, earlier: int) -> int:
        """The first step that W&B does not have; `earlier` is the newest one on the disk.

        Online the service may not say where a run ended that it resumes: the checkpoint's rows, which were
        on the disk before it counted, are then not told again (``wandb sync`` sends what a kill kept back).
        """
        starting = int(self._run.starting_step)
        if getattr(self._run, "offline", True):
            return max(starting, earlier + 1)
        return starting or (
            run.resume_step + run.skipped_before(run.resume_step) + 1 if run.resume_step else 0
        )

    def _log_missing(self, run: RunInfo) -> None:
        """Log the rows up to the checkpoint that no earlier session brought to W&B."""
        path = run.directory / METRICS
        for line in path.read_text().splitlines() if run.resume_step and path.is_file() else ():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                break
            at = row.get("logged_at", row["step"])
            if at <= run.resume_step:
                self._log(row, at + run.skipped_before(at))

    @classmethod
    def check(cls, settings: Mapping[str, Any]) -> None:
        mode, project = settings.get("mode", "offline"), str(settings.get("project", ""))
        if mode not in MODES:
            raise TrackerError(f"logger.wandb.mode={mode}: choose one of {', '.join(MODES)}.")
        if not project or len(project) > 128 or any(letter in project for letter in FORBIDDEN):
            raise TrackerError(
                f"logger.wandb.project={project!r}: 1 to 128 characters, none of {' '.join(FORBIDDEN)}"
            )
        if mode == "online" and not has_account():
            raise TrackerError(
                "logger.wandb.mode=online: there is no W&B account on this machine. `wandb login` once, or "
                "set WANDB_API_KEY; or leave it offline and `wandb sync` the runs later."
            )

    def log(self, row: Mapping[str, Any]) -> None:
        self._log(row, row.get("logged_at", row["step"]) + self._skipped)

    def _log(self, row: Mapping[str, Any], step: int) -> None:
        if step < self._first:  # an earlier attempt sent the same row
            return
        # A row that was found later stands at a later step, whose own counts it must not replace.
        counts = {} if "logged_at" in row else {key: row[key] for key in COUNTS if key in row}
        self._run.log({**counts, **metrics_of(row)}, step=step)
        self._newest = step

    def flush(self) -> None:
        """End the row of the newest step, and wait until W&B has it on the disk."""
        if self._newest < 0 or self._file is None or self._file.newest >= self._newest:
            return
        self._run.log({}, step=self._newest, commit=True)
        end = time.monotonic() + ARRIVE_SECONDS
        while self._file.read() < self._newest:
            if time.monotonic() > end:
                log.warning(
                    "W&B has not written step %d within %g s: if this run is killed, it is told again "
                    "when the run goes on.", self._newest, ARRIVE_SECONDS,
                )  # fmt: skip
                self._file = None
                return
            time.sleep(0.02)

    def finish(self, summary: Mapping[str, Any]) -> None:
        self._run.summary.update(_present(summary))
        if summary["state"] == "preempted":
            self._run.mark_preempting()
        self._run.finish(exit_code=0 if summary["state"] in ("done", "paused") else 1)

    @classmethod
    def log_law(cls, law: SweepLaw, settings: Mapping[str, Any]) -> str:
        return log_law(law, **settings)


def without_secrets(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration without the values of keys that are called like a secret."""
    return {
        key: without_secrets(value)
        if isinstance(value, Mapping)
        else "(not shown)"
        if value is not None and SECRET.search(str(key))
        else value
        for key, value in config.items()
    }


def _present(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is absent, so that a table shows a blank and not a word."""
    return {
        key: _present(value) if isinstance(value, Mapping) else value
        for key, value in tree.items()
        if value is not None
    }
