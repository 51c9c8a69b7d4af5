"""trackio: W&B's interface on a local SQLite file; ``trackio show`` serves it."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from typing import Any

from chemscale.training.trackers.base import COUNTS, RunInfo, Tracker, TrackerError, flat, metrics_of


class Trackio(Tracker):
    """Runs are known by name, so the identity is part of it; the record ends a run as ``record/`` numbers."""

    def __init__(self, run: RunInfo, *, project: str = "chemscale"):
        import trackio

        with contextlib.redirect_stdout(io.StringIO()):
            self._run = trackio.init(
                project=project,
                name=f"{run.name}-{run.identity}",
                group=run.sweep,
                config=dict(run.config),
                resume="allow",
                embed=False,
            )
        self._step = run.resume_step

    @classmethod
    def check(cls, settings: Mapping[str, Any]) -> None:
        try:
            import trackio  # noqa: F401
        except ImportError as error:
            raise TrackerError(f"logger=trackio: {error}. pip install 'chemscale[trackio]'") from None

    def log(self, row: Mapping[str, Any]) -> None:
        self._step = row.get("logged_at", row["step"])
        late = "logged_at" in row  # it must not replace the counts of the step at which it was found
        counts = {key: row[key] for key in COUNTS if key in row and key != "step" and not late}
        self._run.log({**counts, **metrics_of(row)}, step=self._step)

    def finish(self, summary: Mapping[str, Any]) -> None:
        numbers = {f"record/{key}": value for key, value in flat(summary).items()}
        with contextlib.redirect_stdout(io.StringIO()):
            self._run.log(numbers, step=self._step)
            self._run.finish()
