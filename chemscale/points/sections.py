"""The sections that both kinds of points have, read once from a resolved configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Annotated, Any

from chemscale.common.sections import ConfigurationError, OpenShare, Range, read_section
from chemscale.launchers.section import LauncherSettings
from chemscale.objects.address import local_place
from chemscale.points.placement import Placement
from chemscale.tasks.optimisation import AdamW, Plateau, Schedule
from chemscale.training.compilation.decision import Compilation, decide
from chemscale.training.distributed.strategies import resolve
from chemscale.training.settings import MicroBatching, RunSettings, StrategySettings, TrainerSettings

Seed = Annotated[int, Range(0, 2**63 - 1)]
TOP_LEVEL = ("seed", "sweep_name", "point_name", "trunk", "pause", "runs", "corpora", "structures")


@dataclass(frozen=True)
class GeneralSettings:
    """Keys at the top of the configuration (``conf/train.yaml`` says what each means).

    Raises:
        ConfigurationError: a name that leads out of the folder of runs.
    """

    seed: Seed
    sweep_name: str
    point_name: str | None = None
    trunk: bool = False
    pause: OpenShare | None = None
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

    @property
    def sweep_folder(self) -> Path:
        """Where its points lie on this disk: of an address its working copy."""
        return local_place(self.runs) / self.sweep_name

    @property
    def corpora_folder(self) -> Path:
        """Where prepared molecules lie on this disk."""
        return local_place(self.corpora)

    @property
    def structures_folder(self) -> Path:
        """Where prepared structures lie on this disk."""
        return local_place(self.structures)


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
        placement = Placement(trainer.accelerator, launcher)
        refuse_precision(trainer.precision, placement)
        if trainer.generate_every is not None and "loss" in config:
            raise ConfigurationError(
                "trainer.generate_every is for language models: a potential generates nothing."
            )
        return cls(
            config=config,
            general=general,
            trainer=trainer,
            strategy=read_section(StrategySettings, config["strategy"], "strategy"),
            placement=placement,
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

    def decide_compilation(self, steps: int, strategy: str, *, recompute: bool) -> Compilation:
        """Whether the steps of the point are compiled.

        Args:
            steps: optimizer steps of the whole run.
            strategy: resolved.
            recompute: whether activations are recomputed.

        Raises:
            ConfigurationError: ``trainer.compile=true`` where it cannot be.
        """
        return decide(
            self.trainer.compile,
            cuda=self.placement.has_gpu,
            here=not self.placement.elsewhere,
            steps=steps,
            strategy=strategy,
            precision=self.trainer.precision,
            forces=self.forces,
            recompute=recompute,
        )

    def run_settings(self, micro_batching: MicroBatching) -> RunSettings:
        """What the training loop reads, once it is decided how steps are split."""
        launcher = self.placement.launcher
        alone = launcher.name == "local" and launcher.points_at_once == 1
        return RunSettings(
            self.trainer, self.strategy, micro_batching, self.forces, alone, per_gpu=launcher.per_gpu
        )


def refuse_precision(precision: str, placement: Placement) -> None:
    """Refuse a precision without the hardware for it.

    Raises:
        ConfigurationError: it needs a GPU and there is none.
    """
    if precision in ("16-mixed", "tf32") and not placement.has_gpu:
        raise ConfigurationError(f"precision={precision} needs a GPU: use bf16-mixed or 32 on a CPU.")


def read_schedule(values: Mapping[str, Any]) -> Schedule | Plateau:
    """The section ``schedule``: its name says of which kind it is.

    Raises:
        ConfigurationError: a key or a value that makes no sense, named.
    """
    if values.get("name") == "plateau":
        return read_section(Plateau, values, "schedule")
    return read_section(Schedule, values, "schedule")
