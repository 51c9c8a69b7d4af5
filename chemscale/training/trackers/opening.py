"""From ``logger`` of the configuration to trackers."""

from __future__ import annotations

import importlib
import inspect
import logging
from collections.abc import Mapping
from typing import Any

from chemscale.training.trackers.base import METRICS, RunInfo, Tracker, TrackerError, Trackers
from chemscale.training.trackers.jsonl import JsonLines

log = logging.getLogger(__name__)


def chosen(config: Mapping[str, Any]) -> list[tuple[type[Tracker], dict[str, Any]]]:
    """Classes and settings of the trackers that a configuration names, ``metrics.jsonl`` left out.

    Raises:
        TrackerError: a part of ``logger`` that is no tracker.
    """
    found = []
    for name, part in (config.get("logger") or {}).items():
        if not isinstance(part, Mapping) or not isinstance(part.get("_target_"), str):
            way = f"Write logger.{name}.mode={part}." if name == "wandb" and isinstance(part, str) else (
                "Give it a file conf/logger/NAME.yaml whose part names a class in _target_."
            )  # fmt: skip
            raise TrackerError(f"logger.{name}={part!r} does not describe a tracker. {way}")
        settings = {key: value for key, value in part.items() if key != "_target_"}
        found.append((_class(name, part["_target_"]), settings))
    return found


def _class(name: str, target: str) -> type[Tracker]:
    module, _, attribute = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise TrackerError(f"logger.{name}._target_={target}: {error}.") from None
    if not (isinstance(found, type) and issubclass(found, Tracker)):
        raise TrackerError(f"logger.{name}._target_={target}: not a subclass of {Tracker.__qualname__}.")
    return found


def check_trackers(config: Mapping[str, Any]) -> None:
    """See that every logger can be used, before compute is spent.

    Raises:
        TrackerError: an unknown key, a missing package or account, a wrong setting.
    """
    for kind, settings in chosen(config):
        keys = list(inspect.signature(kind).parameters)[1:]
        for key in settings:
            if key not in keys:
                known = f"it has {', '.join(keys)}" if keys else "it has no settings"
                raise TrackerError(f"logger: {kind.__name__} does not know {key!r}; {known}.")
        kind.check(settings)


def open_trackers(run: RunInfo) -> Tracker:
    """``metrics.jsonl`` and what the configuration names; what cannot start is left out with a warning."""
    primary = JsonLines(run.directory / METRICS, run.resume_step)
    secondary: list[Tracker] = []
    for kind, settings in chosen(run.config):
        try:
            secondary.append(kind(run, **settings))  # type: ignore[call-arg]
        except Exception as error:
            log.warning("%s could not start (%s): the run goes on without it.", kind.__name__, error)
    return Trackers(primary, secondary)
