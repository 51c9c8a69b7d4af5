"""What every point has, and what each kind of task adds to it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from chemscale.common.sections import ConfigurationError, read_section
from chemscale.launchers.section import LauncherSettings, planned_world
from chemscale.records import Loss, RunRecord
from chemscale.sweeps.expansion import step_at
from chemscale.sweeps.identity import WITHOUT_EFFECT, identity
from chemscale.tasks.optimisation import AdamW, Plateau, Schedule
from chemscale.training.budget import Budget, Epoch
from chemscale.training.cadence import Cadence
from chemscale.training.checkpointing.trunks import Trunk
from chemscale.training.distributed.ranks import inside_job
from chemscale.training.distributed.strategies import resolve
from chemscale.training.health import HealthPolicy
from chemscale.training.settings import MicroBatching, RunSettings, StrategySettings, TrainerSettings


@dataclass(frozen=True)
class Point(ABC):
    """Everything that one training run is made of, decided before anything is spent."""

    config: dict[str, Any]
    identity: str
    directory: Path
    name: str
    data: pl.LightningDataModule
    optimizer: AdamW
    schedule: Schedule | Plateau
    cadence: Cadence
    steps: int
    epoch: Epoch
    precision: str
    health: HealthPolicy
    settings: RunSettings
    launcher: LauncherSettings
    strategy: str
    """Resolved: never auto."""
    trunk: Trunk | None
    """The stable phase that it shares with points of other budgets."""
    pause_at: int | None
    """The step at which it saves itself and ends."""

    unit = "tokens"
    """What rates are told in."""

    @property
    @abstractmethod
    def data_hash(self) -> str:
        """Hash of the prepared data."""

    @abstractmethod
    def parameter_counts(self) -> dict[str, int]:
        """Under every convention of ``records.Parameters``."""

    @abstractmethod
    def build_module(self) -> Any:
        """The Lightning module with fresh weights."""

    @abstractmethod
    def batch_flops(self, batch: Any) -> float:
        """Training FLOPs of a micro-batch."""

    @abstractmethod
    def describe_data(self) -> str:
        """One line on the data for the plan."""

    @abstractmethod
    def note_unique(self, record: RunRecord) -> None:
        """Write the size of the training subset into a record."""

    @abstractmethod
    def memory_gib(self) -> float:
        """Estimated peak of weights, optimiser state and activations."""

    @abstractmethod
    def flops_per_second(self) -> float:
        """FLOP/s of a real training step here, measured once; enough for an estimate."""

    @abstractmethod
    def save_model(self, module: Any) -> None:
        """The trained model in ``<directory>/model``, complete or absent."""

    def amount(self, unit: str) -> float:
        """How much of a unit of data the whole run sees, about."""
        return self.steps / self.epoch.cuts * self.epoch.in_units(unit)

    @property
    def model_folder(self) -> Path:
        return self.directory / "model"

    @staticmethod
    @abstractmethod
    def summary(loss: Loss) -> str:
        """The final losses as people read them."""


def shared_fields(
    config: dict[str, Any], data_hash: str, name: str, epoch: Epoch, cuts_per_step: int
) -> dict[str, Any]:
    """What every kind of point reads from its configuration in the same way."""
    point_id = identity(config, data_hash)
    steps = Budget.from_mapping(config["budget"]).steps(epoch, cuts_per_step)
    schedule = schedule_section(config["schedule"])
    folder = Path(config["runs"]) / config["sweep_name"]
    settings, launcher = run_settings(config), read_section(LauncherSettings, config["launcher"], "launcher")
    return {
        "config": config,
        "identity": point_id,
        "directory": folder / point_id,
        "name": config["point_name"] or name,
        "optimizer": section(AdamW, config["optimizer"], "optimizer"),
        "schedule": schedule,
        "cadence": cadence_section(config["trainer"], steps),
        "steps": steps,
        "epoch": epoch,
        "precision": precision_of(config),
        "health": section(HealthPolicy, config["trainer"].get("health", {}), "trainer"),
        "settings": settings,
        "launcher": launcher,
        "strategy": strategy_of(config),
        "trunk": trunk_of(config, data_hash, schedule, steps, folder) if config["trunk"] else None,
        "pause_at": pause_of(config["pause"], steps),
    }


def run_settings(config: dict[str, Any]) -> RunSettings:
    """What the training loop reads of a configuration whose micro-batches are decided, typed and checked.

    Raises:
        ConfigurationError: a key or a value of ``trainer``, ``strategy`` or ``launcher`` that makes no sense.
    """
    trainer = read_section(TrainerSettings, config["trainer"], "trainer")
    launcher = read_section(LauncherSettings, config["launcher"], "launcher")
    recompute = trainer.checkpoint_activations
    return RunSettings(
        trainer,
        read_section(StrategySettings, config["strategy"], "strategy"),
        MicroBatching(config["batch"]["accumulate"], False if recompute == "auto" else recompute),
        forces="loss" in config,
        alone=launcher.name == "local" and launcher.points_at_once == 1,
    )


def strategy_of(config: dict[str, Any]) -> str:
    """The strategy that a point trains with, never auto.

    Raises:
        StrategyError: it cannot be.
    """
    settings = run_settings(config)
    world = planned_world(config)
    return resolve(settings.strategy, settings.trainer.precision, world, forces=settings.forces)


OF_THE_HORIZON = ("budget", "schedule.cooldown", "schedule.floor")
"""Keys that leave the stable phase of a schedule as it is."""


def trunk_of(
    config: dict[str, Any], data_hash: str, schedule: Schedule | Plateau, steps: int, folder: Path
) -> Trunk:
    """The trunk of a point: one for all points that agree in everything but the horizon.

    Raises:
        ConfigurationError: a schedule or a cadence that depends on the horizon.
    """
    if isinstance(schedule, Plateau):
        raise ConfigurationError("trunk=true: schedule=plateau has no stable phase. Use schedule=wsd.")
    if config["trainer"]["validate_every"] < 1:
        raise ConfigurationError(
            "trunk=true: trainer.validate_every must be a number of steps, not a share of them."
        )
    try:
        end = schedule.stable_until(steps)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    # What is logged, and where it was computed, is part of a trunk: its rows are copied.
    free = [key for key in WITHOUT_EFFECT if key not in ("trainer.log_every", "trainer.accelerator")]
    shared = identity(config, data_hash, (*free, *OF_THE_HORIZON))
    # Equal to the bit only where the same ranks share the work in the same way.
    world = planned_world(config)
    how = "" if world == 1 else f"-{strategy_of(config)}-{world}"
    return Trunk(folder / "trunks" / f"{shared}{how}", end)


def pause_of(share: float | None, steps: int) -> int | None:
    """The step at a share of all steps.

    Raises:
        ConfigurationError: not a share.
    """
    if share is None:
        return None
    if not 0 < share < 1:
        raise ConfigurationError(f"pause={share}: give a share of the steps between 0 and 1, or null.")
    return step_at(share, steps)


def device_of(config: dict[str, Any]) -> torch.device:
    """Where a trial step runs: the GPU that training would take."""
    on_gpu = config["trainer"]["accelerator"] != "cpu" and torch.cuda.is_available()
    return torch.device("cuda" if on_gpu else "cpu")


def free_gpu(device: torch.device) -> None:
    """Give back what a trial step took, for the training that follows."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def choose_budget(budget: dict[str, float | None], overrides: Sequence[str]) -> dict[str, float | None]:
    """A unit named on the command line wins: the others are set aside."""
    named = [o.split("=", 1)[0].split(".", 1)[1] for o in overrides if o.lstrip("+").startswith("budget.")]
    set_here = [unit for unit in named if budget.get(unit) is not None]
    if set_here:
        return {unit: (value if unit in set_here else None) for unit, value in budget.items()}
    return dict(budget)


def section(cls: type, values: dict[str, Any], name: str) -> Any:
    """A dataclass from its part of the configuration.

    Raises:
        ConfigurationError: a key that it does not have.
    """
    values = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
    try:
        return cls(**values)
    except TypeError as error:
        raise ConfigurationError(f"{name}: {error}. See conf/{name}/ for the keys it has.") from None


def schedule_section(values: dict[str, Any]) -> Schedule | Plateau:
    """The schedule that a configuration names."""
    return section(Plateau if values.get("name") == "plateau" else Schedule, values, "schedule")


def cadence_section(trainer: dict[str, Any], steps: int) -> Cadence:
    """How often a run of `steps` logs, validates and saves; ``validate_every`` below 1 is a share of them.

    Raises:
        ConfigurationError: an interval that is not above 0.
    """
    keys = ("log_every", "validate_every", "checkpoint_seconds", "checkpoint_steps")
    values = {key: trainer[key] for key in keys}
    for key in ("log_every", "validate_every"):
        if not values[key] > 0:
            raise ConfigurationError(f"trainer.{key}={values[key]}: must be above 0.")
    if values["validate_every"] < 1:
        # Rounded down: four intervals of a twentieth lie within the first fifth of the run.
        values["validate_every"] = max(1, int(values["validate_every"] * steps))
    return Cadence(**values)


def precision_of(config: dict[str, Any]) -> str:
    """The precision, refused where it cannot run.

    Raises:
        ConfigurationError: unknown, or without the hardware for it.
    """
    precision = str(config["trainer"]["precision"])
    if precision in ("16-mixed", "tf32") and not has_gpu(config):
        raise ConfigurationError(f"precision={precision} needs a GPU: use bf16-mixed or 32 on a CPU.")
    return precision


def has_gpu(config: dict[str, Any]) -> bool:
    """Whether the point will train on a GPU: one here, or on the nodes that a job asks for."""
    accelerator = config["trainer"]["accelerator"]
    if accelerator == "cpu":
        return False
    if inside_job() or config["launcher"]["name"] == "local":
        return torch.cuda.is_available()
    return True  # a job asks for GPUs unless the CPU is asked for
