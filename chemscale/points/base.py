"""What every point has, and what each kind of task adds to it."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import pytorch_lightning as pl
import torch

from chemscale.common.files import atomic_folder, write_json
from chemscale.common.sections import ConfigurationError
from chemscale.config.effects import without_effect
from chemscale.hardware.memory import Memory
from chemscale.hardware.step_time import LOOP, Work
from chemscale.points.placement import Placement
from chemscale.points.sections import Sections
from chemscale.records import Loss, RunRecord
from chemscale.sweeps.expansion import step_at
from chemscale.sweeps.identity import OF_THE_HORIZON, WITHOUT_EFFECT, identity
from chemscale.tasks.optimisation import AdamW, Plateau, Schedule
from chemscale.training.budget import Budget, Epoch
from chemscale.training.checkpointing.trunks import Trunk
from chemscale.training.compilation.decision import Compilation
from chemscale.training.health import HealthPolicy
from chemscale.training.settings import Cadence, MicroBatching, RunSettings, TrainerSettings

DESCRIPTION = "architecture"
"""Folder of a run: what its weights belong to, written when it begins."""
BELONGS = "belongs.json"
"""File of that folder: the hash of the run's data, and what the rest of the folder is known by."""


class DescriptionError(ValueError):
    """A run whose weights and whose data do not belong together."""


@dataclass(frozen=True)
class Point(ABC):
    """Everything that one training run is made of, decided before anything is spent."""

    config: dict[str, Any]
    """Resolved, plain dictionaries: what is hashed and recorded."""
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
    placement: Placement
    strategy: str
    """Resolved: never auto."""
    compilation: Compilation
    """Whether its steps are compiled: ``trainer.compile`` is never auto any more."""
    trunk: Trunk | None
    """The stable phase that it shares with points of other budgets."""
    pause_at: int | None
    """The step at which it saves itself and ends."""

    unit = "tokens"
    """What rates are counted in."""

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

    def describe_parent(self) -> str:
        """One line on the trained model that it begins from, for the plan; empty for fresh weights."""
        return ""

    @abstractmethod
    def note_unique(self, record: RunRecord) -> None:
        """Write into a record the size of the training subset, and which model it begins from."""

    @property
    @abstractmethod
    def micro_batch(self) -> int:
        """Positions or frames of a micro-batch on one rank, at most."""

    @abstractmethod
    def memory(self, strategy: str | None = None, world: int | None = None) -> Memory:
        """Bytes of one rank.

        Args:
            strategy: None for its own.
            world: number of ranks; None for its own.
        """

    @abstractmethod
    def work(self) -> Work:
        """What a micro-batch of one rank asks of a GPU, for an estimate of its time."""

    @abstractmethod
    def flops_per_second(self) -> float:
        """FLOP/s of a real training step here, measured once; enough for an estimate."""

    def loop_seconds(self, device: torch.device) -> float:
        """A micro-batch's share of the seconds of a step beside the model; on a CPU they hardly count."""
        return LOOP / self.settings.micro_batching.accumulate if device.type == "cuda" else 0.0

    @abstractmethod
    def save_model(self, module: Any) -> None:
        """Write the trained model to ``<directory>/model``, complete or absent."""

    def write_generation(self, module: Any, folder: Path, step: int) -> dict[str, Any]:
        """Write a model of the weights as they are, for a process that judges what it generates.

        Args:
            module: that is trained.
            folder: of the files; it is made.
            step: optimizer steps done.

        Returns:
            The fields of a ``molecules.metrics.background.Task``, and the hash of the ``weights``.

        Raises:
            ConfigurationError: it generates nothing.
        """
        raise ConfigurationError("trainer.generate_every is for language models: leave it out.")

    @abstractmethod
    def describe_model(self, folder: Path) -> dict[str, Any]:
        """Write all of the model but its weights; give back what these files are known by."""

    def keep_description(self) -> None:
        """Lay the description of the model beside its checkpoints, which are then read without the data.

        Raises:
            DescriptionError: the directory has that of a run on other data.
        """
        folder = self.directory / DESCRIPTION
        if folder.exists():
            check_description(folder, self.data_hash)
            return
        with atomic_folder(folder) as partial:
            belongs = self.describe_model(partial)
            write_json(partial / BELONGS, {"data_hash": self.data_hash, **belongs})

    def amount(self, unit: str) -> float:
        """How much of a unit of data the whole run sees, about."""
        return self.steps / self.epoch.cuts * self.epoch.in_units(unit)

    @property
    def model_folder(self) -> Path:
        return self.directory / "model"

    def paused_at(self, share: float | None) -> Self:
        """The same point, trained to a share of its steps; None: to its end."""
        config = {**self.config, "pause": share}
        return replace(self, config=config, pause_at=pause_step(share, self.steps))

    def without_effect(self) -> dict[str, str]:
        """Keys of its configuration that change nothing, with the reason."""
        decays = True
        if self.optimizer.weight_decay:
            with torch.random.fork_rng(devices=[]):
                decays = bool(self.optimizer.decayed(self.build_module().model))
        return without_effect(self.config, decays=decays)

    @staticmethod
    @abstractmethod
    def summary(loss: Loss) -> str:
        """The final losses as people read them."""


def shared_fields(
    sections: Sections,
    micro_batching: MicroBatching,
    *,
    data_hash: str,
    name: str,
    epoch: Epoch,
    cuts_per_step: int,
) -> dict[str, Any]:
    """What every kind of point makes of its configuration in the same way: fields of ``Point``.

    Args:
        sections: of the configuration.
        micro_batching: as it was decided; it is written into the configuration that is recorded.
        data_hash: of the prepared data.
        name: where the configuration names the point by nothing.
        epoch: one pass over the training subset.
        cuts_per_step: pieces of the epoch that an optimizer step takes.

    Raises:
        ConfigurationError: what cannot be run.
    """
    config = with_micro_batching(sections.config, micro_batching)
    general, trainer = sections.general, sections.trainer
    steps = Budget.from_mapping(config["budget"]).steps(epoch, cuts_per_step)
    strategy = sections.resolve_strategy()
    compilation = sections.decide_compilation(steps, strategy, recompute=micro_batching.recompute)
    point_id = identity(config, data_hash)
    return {
        "config": config,
        "identity": point_id,
        "directory": general.sweep_folder / point_id,
        "name": general.point_name or name,
        "optimizer": sections.optimizer,
        "schedule": sections.schedule,
        "cadence": cadence_of(trainer, steps),
        "steps": steps,
        "epoch": epoch,
        "precision": trainer.precision,
        "health": trainer.health,
        "settings": sections.run_settings(micro_batching),
        "placement": sections.placement,
        "strategy": strategy,
        "compilation": compilation,
        "trunk": (
            trunk_of(sections, config, data_hash, strategy, steps, compiled=compilation.on)
            if general.trunk
            else None
        ),
        "pause_at": pause_step(general.pause, steps),
    }


def check_description(folder: Path, data_hash: str) -> dict[str, Any]:
    """What the description of a model says that it belongs to.

    Args:
        folder: of the description.
        data_hash: of the data that the run was trained on.

    Raises:
        DescriptionError: it is damaged, or of a run on other data.
    """
    try:
        belongs = json.loads((folder / BELONGS).read_text())
        described = belongs["data_hash"]
    except (OSError, json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError):
        raise DescriptionError(f"{folder}: {BELONGS} is missing or damaged.") from None
    if described != data_hash:
        raise DescriptionError(
            f"{folder} is of a run on other data (hash {described[:12]}, this run's {data_hash[:12]}). Put "
            "back the folder of this run."
        )
    return belongs


def with_micro_batching(config: dict[str, Any], decided: MicroBatching) -> dict[str, Any]:
    """The configuration as it is recorded: ``auto`` gives way to what was decided."""
    return {
        **config,
        "batch": {**config["batch"], "accumulate": decided.accumulate},
        "trainer": {**config["trainer"], "checkpoint_activations": decided.recompute},
    }


def trunk_of(
    sections: Sections, config: dict[str, Any], data_hash: str, strategy: str, steps: int, *, compiled: bool
) -> Trunk:
    """The trunk of a point: one for all points that agree in everything but the horizon.

    Raises:
        ConfigurationError: a schedule or a cadence that depends on the horizon.
    """
    schedule = sections.schedule
    if isinstance(schedule, Plateau):
        raise ConfigurationError("trunk=true: schedule=plateau has no stable phase. Use schedule=wsd.")
    if sections.trainer.validate_every < 1:
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
    # Equal to the bit only where the same ranks share the work in the same way, and add up in the same order.
    world = sections.placement.world
    how = ("" if world == 1 else f"-{strategy}-{world}") + ("-compiled" if compiled else "")
    return Trunk(sections.general.sweep_folder / "trunks" / f"{shared}{how}", end)


def pause_step(share: float | None, steps: int) -> int | None:
    """The optimizer step at a share of all steps; None where the run does not pause."""
    return None if share is None else step_at(share, steps)


def cadence_of(trainer: TrainerSettings, steps: int) -> Cadence:
    """How often a run of `steps` logs, validates and saves; ``validate_every`` below 1 is a share of them."""
    every = trainer.validate_every
    # Rounded down: four intervals of a twentieth lie within the first fifth of the run.
    validate_every = max(1, int(every * steps)) if every < 1 else int(every)
    return Cadence(trainer.log_every, validate_every, trainer.checkpoint_seconds, trainer.checkpoint_steps)
