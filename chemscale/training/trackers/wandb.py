"""Weights & Biases: a run of W&B is a point, its group the sweep, its id the point's identity.

Offline needs no account. An interrupted point goes on as the same run: online W&B resumes it; offline a
second directory has the same id, and ``wandb sync`` sends both in order of time. For that, W&B's step is the
optimiser step, counted on over roll-backs: left to itself, an offline run that goes on counts from 0.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chemscale.training.trackers.base import COUNTS, RunInfo, SweepLaw, Tracker, TrackerError, metrics_of

log = logging.getLogger(__name__)

MODES = ("offline", "online", "disabled")
KINDS = ("train", "validation", "truth")
START_SECONDS = 60.0
"""A service that does not answer for so long: the run is kept offline instead."""
FINISH_SECONDS = 30.0
"""So long a point waits at its end for what is not sent yet; the rest stays on disk for ``wandb sync``."""
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
        self._passed = run.passed
        self._first = self._run.starting_step
        for count in COUNTS:
            self._run.define_metric(count, hidden=True)
        for kind in KINDS:
            self._run.define_metric(f"{kind}/*", step_metric=run.axis)

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
        step = row["step"] + self._passed
        if step < self._first:  # an earlier attempt sent the same row
            return
        counts = {key: row[key] for key in COUNTS if key in row}
        self._run.log({**counts, **metrics_of(row)}, step=step)

    def finish(self, summary: Mapping[str, Any]) -> None:
        self._run.summary.update(_present(summary))
        if summary["state"] == "preempted":
            self._run.mark_preempting()
        self._run.finish(exit_code=0 if summary["state"] in ("done", "paused") else 1)

    @classmethod
    def log_law(cls, law: SweepLaw, settings: Mapping[str, Any]) -> str:
        from chemscale.training.trackers.wandb_law import log_law

        return log_law(law, **settings)


def start(mode: str, directory: Path, finish_seconds: float, **run: Any) -> Any:
    """A run of its own, whatever else this process has open; offline where the service cannot be reached."""
    import wandb

    wanted = {
        "silent": True,
        "console": "off",
        # Code and revision stand in the record; W&B would keep a patch of the user's own repository.
        "disable_git": True,
        "disable_code": True,
        "init_timeout": START_SECONDS,
        "finish_timeout": finish_seconds,
    }
    known = {key: value for key, value in wanted.items() if key in wandb.Settings.model_fields}
    settings = wandb.Settings(**known)  # type: ignore[arg-type]

    def begin(how: Any) -> Any:
        token = os.environ.pop("SLURM_JWT", None)  # a secret, and W&B keeps every variable of SLURM
        try:
            return wandb.init(
                dir=str(directory), mode=how, resume="allow", reinit="create_new", settings=settings, **run
            )
        finally:
            if token is not None:
                os.environ["SLURM_JWT"] = token

    directory.mkdir(parents=True, exist_ok=True)
    if mode != "online":
        return begin(mode)
    try:
        if not has_account():
            raise TrackerError("no account on this machine")
        return begin(mode)
    except Exception as error:
        log.warning(
            "W&B cannot be reached (%s): %s is kept offline, `wandb sync %s/wandb` sends it later.",
            error,
            run.get("name"),
            directory,
        )
        return begin("offline")


def has_account() -> bool:
    """Whether W&B would find a key without asking for it; True where that cannot be told."""
    import wandb

    try:
        from wandb.sdk.lib import wbauth

        found = wbauth.authenticate_session(
            host=wandb.setup().settings.base_url, source="chemscale", prompt=False, update_session=False
        )
    except (ImportError, TypeError):
        return True  # another version of wandb: it will say so itself
    return found is not None


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
