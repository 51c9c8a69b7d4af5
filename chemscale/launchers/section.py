"""The section ``launcher`` of the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from chemscale.common.sections import Count, Positive, read_section


class LaunchError(ValueError):
    """What cannot be launched; the message names the key or the command and the way out."""


MIN_SIGNAL_SECONDS = 10
"""A point needs a step and a checkpoint between the signal and its time limit."""

OF_POINTS = {"gpus_per_node": 1, "per_gpu": 1, "gpu": None}
"""Keys that only points have a use for, and the value that says nothing."""


@dataclass(frozen=True)
class LauncherSettings:
    """The section ``launcher``, of either launcher. What each key means stands in ``conf/launcher/``.

    Raises:
        LaunchError: a job would be signalled when it begins, or too late; points of several ranks are to
            share a GPU.
    """

    name: Literal["local", "slurm"]
    nodes: Count = 1
    gpus_per_node: Count = 1
    parallel: Count | None = None
    per_gpu: Count = 1
    max_attempts: Count = 3
    wait: bool = True
    cpus_per_rank: Count = 1
    memory_gib: Positive | None = None
    minutes: Count = 60
    signal_seconds: int = 120
    gpu: str | None = None

    def __post_init__(self) -> None:
        if self.per_gpu > 1 and self.world > 1:
            raise LaunchError(
                f"launcher.per_gpu={self.per_gpu}: points that share a GPU have one rank, and this one has "
                f"{self.world}. Set launcher.nodes=1 launcher.gpus_per_node=1, or launcher.per_gpu=1."
            )
        if self.name == "slurm":
            self._check_signal()

    def _check_signal(self) -> None:
        if self.signal_seconds < MIN_SIGNAL_SECONDS:
            raise LaunchError(
                f"launcher.signal_seconds={self.signal_seconds}: give a whole number, at least "
                f"{MIN_SIGNAL_SECONDS}."
            )
        if self.signal_seconds >= 60 * self.minutes:
            raise LaunchError(
                f"launcher.signal_seconds={self.signal_seconds}: a job of launcher.minutes={self.minutes} "
                "would be told to save itself when it begins. Lower the one or raise the other."
            )

    @property
    def world(self) -> int:
        """Ranks of a point."""
        return self.nodes * self.gpus_per_node

    @property
    def points_at_once(self) -> int:
        """Points that share this machine."""
        return (self.parallel or 1) * self.per_gpu

    @property
    def in_process(self) -> bool:
        """Whether points run in the command's own process: one rank, one point at a time, on this machine."""
        return self.name == "local" and self.world == 1 and self.points_at_once == 1


def preparation_launcher(config: Mapping[str, Any], *, can_share: bool) -> LauncherSettings:
    """Read the section for ``prepare``; ``launcher.nodes`` is the number of tasks, on a node each.

    Args:
        config: of ``prepare``, resolved.
        can_share: whether several tasks can prepare it together.

    Raises:
        ConfigurationError: an unknown key, or a value of the wrong type.
        LaunchError: a key that preparation has no use for, or several tasks where one can work.
    """
    launcher = read_section(LauncherSettings, config["launcher"], "launcher")
    for key, nothing in OF_POINTS.items():
        if getattr(launcher, key) != nothing:
            raise LaunchError(
                f"launcher.{key}={getattr(launcher, key)}: preparing data uses no GPU. Leave it out; "
                "launcher.nodes says how many tasks there are, launcher.cpus_per_rank how many cores of each."
            )
    several = next((key for key in ("nodes", "parallel") if (getattr(launcher, key) or 1) > 1), None)
    if several and launcher.name == "local":
        raise LaunchError(
            f"launcher.{several}={getattr(launcher, several)}: on this machine data.prepare_workers says how "
            "many processes prepare. Several machines: launcher=slurm, or shared=true on each of them."
        )
    if launcher.nodes > 1 and not can_share:
        raise LaunchError(
            f"launcher.nodes={launcher.nodes}: a store of structures is prepared by one task. Set "
            "launcher.nodes=1, and launcher.cpus_per_rank to the cores that it may use."
        )
    return launcher
