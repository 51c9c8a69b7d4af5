"""The section ``launcher`` of the configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


class LaunchError(ValueError):
    """What cannot be launched; the message names the key or the command and the way out."""


MIN_SIGNAL_SECONDS = 10
"""A point needs a step and a checkpoint between the signal and its time limit."""


@dataclass(frozen=True)
class LauncherSettings:
    """The section ``launcher``, of either launcher. What each key means stands in ``conf/launcher/``.

    Raises:
        LaunchError: a number is out of its range, or a job would be signalled when it begins.
    """

    name: Literal["local", "slurm"]
    nodes: int = 1
    gpus_per_node: int = 1
    parallel: int | None = None
    max_attempts: int = 3
    wait: bool = True
    cpus_per_rank: int = 1
    memory_gib: float | None = None
    minutes: int = 60
    signal_seconds: int = 120
    gpu: str | None = None

    def __post_init__(self) -> None:
        for key in ("nodes", "gpus_per_node", "parallel", "max_attempts", "cpus_per_rank", "minutes"):
            value = getattr(self, key)
            if value is not None and value < 1:
                raise LaunchError(f"launcher.{key}={value}: give a whole number, at least 1.")
        if self.memory_gib is not None and not self.memory_gib > 0:
            raise LaunchError(f"launcher.memory_gib={self.memory_gib:g}: give a number above 0.")
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
        return self.parallel or 1

    @property
    def in_process(self) -> bool:
        """Whether points run in the command's own process: one rank, one point at a time, on this machine."""
        return self.name == "local" and self.world == 1 and self.points_at_once == 1
