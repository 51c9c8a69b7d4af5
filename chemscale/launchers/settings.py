"""A point as a launcher takes it, and which points begin from what others leave."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from chemscale.common.sections import read_section
from chemscale.launchers.section import LaunchError, LauncherSettings
from chemscale.objects.address import local_place
from chemscale.records import PointPlan


@dataclass(frozen=True)
class PointJob:
    """One point, ready to be handed to ranks.

    Args:
        plan: what is known of it before it runs.
        config: the resolved configuration, plain dictionaries; its budget has one unit.
        overrides: what the point was composed from.
        train: trains the point of such a job in this process; None for one that was read from a ledger.
    """

    plan: PointPlan
    config: dict[str, Any]
    overrides: list[str]
    train: Callable[[PointJob], None] | None = field(default=None, compare=False, repr=False)

    @cached_property
    def launcher(self) -> LauncherSettings:
        """The section ``launcher``.

        Raises:
            ConfigurationError: an unknown key, or a value of the wrong type.
            LaunchError: a value that is out of its range.
        """
        return read_section(LauncherSettings, self.config["launcher"], "launcher")

    @property
    def world(self) -> int:
        """Number of ranks."""
        return self.launcher.world

    @property
    def on_gpus(self) -> bool:
        """Whether every rank may have a GPU: unless ``trainer.accelerator=cpu``."""
        return bool(self.config["trainer"]["accelerator"] != "cpu")

    @property
    def root(self) -> Path:
        """The sweep's directory."""
        return local_place(self.config["runs"]) / str(self.config["sweep_name"])


def common_launcher(jobs: Sequence[PointJob]) -> LauncherSettings:
    """The launcher of a sweep: the settings of its first point, whose name all points share.

    Raises:
        LaunchError: points name different launchers.
    """
    names = {job.launcher.name for job in jobs}
    if len(names) > 1:
        raise LaunchError(f"launcher: {' and '.join(sorted(names))} in one sweep. Use one for all points.")
    return jobs[0].launcher


def dependency_levels(jobs: Sequence[PointJob]) -> list[int]:
    """For every point, after how many others of its chain it comes: 0 begins at once.

    Points that share a trunk differ in their horizon; one begins where the shorter one's stable phase ended.
    Points that differ in anything else do not wait for each other.
    """
    chains: dict[str, set[int]] = {}
    keys = [_chain(job) for job in jobs]
    for job, key in zip(jobs, keys, strict=True):
        chains.setdefault(key, set()).add(job.plan.order)
    return [sorted(chains[key]).index(job.plan.order) for job, key in zip(jobs, keys, strict=True)]


_MAY_DIFFER = ("budget", "point_name", "launcher", "site", "strategy", "precision", "logger", "trainer")
"""Sections in which points of one chain may differ."""


def _chain(job: PointJob) -> str:
    """The same text for points of one chain."""
    config = {key: value for key, value in job.config.items() if key not in _MAY_DIFFER}
    schedule = {k: v for k, v in dict(config.pop("schedule", {})).items() if k not in ("cooldown", "floor")}
    return json.dumps([config, schedule], sort_keys=True, default=str)
