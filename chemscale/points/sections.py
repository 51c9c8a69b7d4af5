"""The sections that both kinds of points have, read once from a resolved configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from chemscale.common.sections import ConfigurationError, read_section
from chemscale.launchers.section import LauncherSettings
from chemscale.points.placement import Placement
from chemscale.tasks.optimisation import AdamW, Plateau, Schedule
from chemscale.training.distributed.strategies import resolve
from chemscale.training.settings import MicroBatching, RunSettings, StrategySettings, TrainerSettings

TOP_LEVEL = ("seed", "sweep_name", "point_name", "trunk", "pause", "runs", "corpora", "structures")


@dataclass(frozen=True)
class GeneralSettings:
    """Keys at the top of the configuration (``conf/train.yaml`` says what each means).

    Raises:
        ConfigurationError: a share outside its range, or a name that leads out of the folder of runs.
    """

    seed: int
    sweep_name: str
    point_name: str | None = None
    trunk: bool = False
    pause: float | None = None
    runs: str = "runs"
    corpora: str = "corpora"
    structures: str = "structures"

    def __post_init__(self) -> None:
        name = PurePath(self.sweep_name)
        if not name.parts or name.is_absolute() or ".." in name.parts:
            raise ConfigurationError(
                f"sweep_name={self.sweep_name}: its points would not lie below runs={self.runs}. Give a "
                "name, and another folder by runs=PATH."
            )
        if self.pause is not None and not 0 < self.pause < 1:
            raise ConfigurationError(
                f"pause={self.pause}: give a share of the steps between 0 and 1, or null."
            )

    @property
    def sweep_folder(self) -> Path:
        return Path(self.runs) / self.sweep_name


@dataclass(frozen=True)
class Sections:
    """What every kind of point reads of its configuration in the same way.

    Args:
        config: the resolved configuration, plain dictionaries.
        general: keys at the top.
        trainer: the section of this name.
        strategy: likewise.
        placement: where its ranks will train.
        optimizer: likewise.
        schedule: likewise.
        forces: whether the loss holds forces.
    """

    config: dict[str, Any]
    general: GeneralSettings
    trainer: TrainerSettings
    strategy: StrategySettings
    placement: Placement
    optimizer: AdamW
    schedule: Schedule | Plateau
    forces: bool

    @classmethod
    def read(cls, config: dict[str, Any]) -> Sections:
        """Check and read them.

        Raises:
            ConfigurationError: a key or a value that makes no sense, named.
            LaunchError: likewise of the launcher.
        """
        general = read_section(GeneralSettings, {key: config[key] for key in TOP_LEVEL if key in config}, "")
        trainer = read_section(TrainerSettings, config["trainer"], "trainer")
        launcher = read_section(LauncherSettings, config["launcher"], "launcher")
        return cls(
            config=config,
            general=general,
            trainer=trainer,
            strategy=read_section(StrategySettings, config["strategy"], "strategy"),
            placement=Placement(trainer.accelerator, launcher),
            optimizer=read_section(AdamW, config["optimizer"], "optimizer"),
            schedule=read_schedule(config["schedule"]),
            forces="loss" in config,
        )

    def resolve_strategy(self) -> str:
        """The strategy that the point trains with, never auto.

        Raises:
            StrategyError: it cannot be.
        """
        return resolve(self.strategy, self.trainer.precision, self.placement.world, forces=self.forces)

    def run_settings(self, micro_batching: MicroBatching) -> RunSettings:
        """What the training loop reads, once it is decided how steps are split."""
        launcher = self.placement.launcher
        alone = launcher.name == "local" and launcher.points_at_once == 1
        return RunSettings(self.trainer, self.strategy, micro_batching, self.forces, alone)


def read_schedule(values: Mapping[str, Any]) -> Schedule | Plateau:
    """The section ``schedule``: its name says of which kind it is.

    Raises:
        ConfigurationError: a key or a value that makes no sense, named.
    """
    if values.get("name") == "plateau":
        return read_section(Plateau, values, "schedule")
    return read_section(Schedule, values, "schedule")
