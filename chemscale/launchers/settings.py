"""What a point asks of its launcher, checked; and which points begin from what others leave."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from chemscale.common.sections import read_section
from chemscale.launchers.section import MIN_SIGNAL_SECONDS, LaunchError, LauncherSettings
from chemscale.records import PointPlan

NAMES = ("local", "slurm")


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
            ConfigurationError, LaunchError: a key or value that makes no sense.
        """
        return read_section(LauncherSettings, self.config["launcher"], "launcher")

    @property
    def world(self) -> int:
        """Ranks."""
        return self.launcher.world

    @property
    def root(self) -> Path:
        """The sweep's directory."""
        return Path(self.config["runs"]) / str(self.config["sweep_name"])


@dataclass(frozen=True)
class Shape:
    """Resources of a point under SLURM. Points of one shape share a job array."""

    nodes: int
    gpus_per_node: int
    cpus_per_rank: int
    memory_gib: float | None
    minutes: int
    signal_seconds: int
    parallel: int | None
    with_gpus: bool

    @classmethod
    def of(cls, config: dict[str, Any]) -> Shape:
        """Read from a point's configuration.

        Raises:
            LaunchError: a number that makes no sense.
        """
        launcher = config["launcher"]
        shape = cls(
            nodes=whole(launcher, "nodes"),
            gpus_per_node=whole(launcher, "gpus_per_node"),
            cpus_per_rank=whole(launcher, "cpus_per_rank"),
            memory_gib=None if launcher["memory_gib"] is None else number(launcher, "memory_gib"),
            minutes=whole(launcher, "minutes"),
            signal_seconds=whole(launcher, "signal_seconds", MIN_SIGNAL_SECONDS),
            parallel=None if launcher["parallel"] is None else whole(launcher, "parallel"),
            with_gpus=config["trainer"]["accelerator"] != "cpu",
        )
        whole(launcher, "max_attempts")
        if shape.signal_seconds >= 60 * shape.minutes:
            raise LaunchError(
                f"launcher.signal_seconds={shape.signal_seconds}: a job of launcher.minutes={shape.minutes} "
                "would be told to save itself when it begins. Lower the one or raise the other."
            )
        return shape


@dataclass(frozen=True)
class Site:
    """What a cluster must be told; see launch/site/none.yaml."""

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    modules: tuple[str, ...] = ()
    setup: tuple[str, ...] = ()
    python: str | None = None
    container: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, config: dict[str, Any]) -> Site:
        """Read from a point's configuration.

        Raises:
            LaunchError: a key that a profile does not have.
        """
        values = dict(config.get("site") or {})
        unknown = sorted(set(values) - set(cls.__dataclass_fields__))
        if unknown:
            raise LaunchError(
                f"site.{unknown[0]}: a profile has {', '.join(cls.__dataclass_fields__)}. Other options of "
                "sbatch go into site.extra."
            )
        for key in ("modules", "setup"):
            if isinstance(values.get(key), str):
                raise LaunchError(f"site.{key}={values[key]!r}: give a list.")
            values[key] = tuple(values.get(key) or ())
        values["extra"] = dict(values.get("extra") or {})
        return cls(**values)


def whole(section: dict[str, Any], key: str, least: int = 1) -> int:
    """A whole number of ``launcher``, at least `least`."""
    value = section.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise LaunchError(f"launcher.{key}={value}: give a whole number, at least {least}.")
    return value


def number(section: dict[str, Any], key: str) -> float:
    """A number of ``launcher`` above 0."""
    value = section.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise LaunchError(f"launcher.{key}={value}: give a number above 0.")
    return float(value)


def launcher_name(jobs: Sequence[PointJob]) -> str:
    """The launcher of all points.

    Raises:
        LaunchError: unknown, or several.
    """
    names = {str(job.config["launcher"]["name"]) for job in jobs}
    if len(names) > 1:
        raise LaunchError(f"launcher: {' and '.join(sorted(names))} in one sweep. Use one for all points.")
    name = names.pop()
    if name not in NAMES:
        raise LaunchError(f"launcher.name={name}: choose launcher={' or launcher='.join(NAMES)}.")
    return name


def levels(jobs: Sequence[PointJob]) -> list[int]:
    """For every point, after how many others of its chain it comes: 0 begins at once.

    Points that share a trunk differ in their horizon; one begins where the shorter one's stable phase ended.
    Points that differ in anything else do not wait for each other.
    """
    chains: dict[str, set[int]] = {}
    keys = [_chain(job) for job in jobs]
    for job, key in zip(jobs, keys, strict=True):
        chains.setdefault(key, set()).add(job.plan.order)
    return [sorted(chains[key]).index(job.plan.order) for job, key in zip(jobs, keys, strict=True)]


_FREE_IN_A_CHAIN = ("budget", "point_name", "launcher", "site", "strategy", "precision", "logger", "trainer")


def _chain(job: PointJob) -> str:
    config = {key: value for key, value in job.config.items() if key not in _FREE_IN_A_CHAIN}
    schedule = {k: v for k, v in dict(config.pop("schedule", {})).items() if k not in ("cooldown", "floor")}
    return json.dumps([config, schedule], sort_keys=True, default=str)
