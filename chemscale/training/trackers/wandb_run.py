"""A run of W&B, begun: offline where the service cannot be reached."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from chemscale.training.trackers.base import TrackerError

log = logging.getLogger(__name__)

FLUSH_SECONDS = 0.5
"""So often W&B brings what it was told to the disk; a kill loses what is later (W&B's own: 15 s)."""
START_SECONDS = 60.0
"""A service that does not answer for so long: the run is kept offline instead."""


FLUSH_SETTING = "x_transaction_log_flush_interval"


def flushes() -> bool:
    """Whether this version of W&B brings rows to the disk while a run goes on."""
    import wandb

    return FLUSH_SETTING in wandb.Settings.model_fields


def start(mode: str, directory: Path, finish_seconds: float, **run: Any) -> Any:
    """Begin a run, whatever else this process has open; offline where the service cannot be reached.

    Args:
        mode: ``offline``, ``online`` or ``disabled``.
        directory: where W&B makes its folder ``wandb``.
        finish_seconds: how long the run waits at its end for what is not sent yet.
        **run: further arguments of ``wandb.init``.
    """
    import wandb

    wanted = {
        "silent": True,
        "console": "off",
        # Code and revision stand in the record; W&B would keep a patch of the user's own repository.
        "disable_git": True,
        "disable_code": True,
        "init_timeout": START_SECONDS,
        "finish_timeout": finish_seconds,
        FLUSH_SETTING: FLUSH_SECONDS,
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
    """Whether W&B would find a key without asking for it; True where that cannot be found out."""
    import wandb

    try:
        from wandb.sdk.lib import wbauth

        found = wbauth.authenticate_session(
            host=wandb.setup().settings.base_url, source="chemscale", prompt=False, update_session=False
        )
    except (ImportError, TypeError):
        return True  # another version of wandb: it will say so itself
    return found is not None
