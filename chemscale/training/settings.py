"""What the training of a point follows: sections ``trainer`` and ``strategy``, and how steps are split."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from chemscale.common.sections import ConfigurationError, Count, NotNegative, Positive
from chemscale.training.health import HealthPolicy

PRECISIONS = ("32", "tf32", "bf16-mixed", "16-mixed")


@dataclass(frozen=True)
class TrainerSettings:
    """The section ``trainer`` (``conf/trainer/default.yaml`` explains each key).

    Raises:
        ConfigurationError: a precision that does not exist.
    """

    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    precision: str = "32"
    clip: Positive | None = 1.0
    checkpoint_activations: bool | Literal["auto"] = False
    compile: bool | Literal["auto"] = "auto"
    threads: Count | None = None
    kernels: bool = True
    log_every: Count = 10
    validate_every: Positive = 100
    generate_every: Count | None = None
    generate_n: Count = 1000
    checkpoint_seconds: NotNegative = 60.0
    checkpoint_steps: Count | None = None
    checkpoint_background: bool | None = None
    health: HealthPolicy = field(default_factory=HealthPolicy)
    deterministic: bool = True

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ConfigurationError(f"precision={self.precision}: choose one of {', '.join(PRECISIONS)}.")


@dataclass(frozen=True)
class StrategySettings:
    """The section ``strategy`` (``conf/strategy/auto.yaml``)."""

    name: Literal["auto", "single", "ddp", "zero1", "zero2", "zero3", "fsdp2"] = "auto"
    offload: Literal["none", "cpu"] = "none"
    elastic: bool = False
    hang_minutes: Positive = 30.0


@dataclass(frozen=True)
class Cadence:
    """How often things happen, in optimiser steps; checkpoints also by the clock, whichever comes first."""

    log_every: int = 10
    validate_every: int = 100
    checkpoint_seconds: float = 60.0
    checkpoint_steps: int | None = None

    def pause_after(self, last_save_seconds: float) -> float:
        """Seconds until the next checkpoint by the clock: saving takes a twentieth of the time at most."""
        return max(self.checkpoint_seconds, 20 * last_save_seconds)


@dataclass(frozen=True)
class MicroBatching:
    """How a rank's share of an optimizer step is computed.

    Args:
        accumulate: number of micro-batches.
        recompute: whether activations are recomputed in the backward pass.
    """

    accumulate: int = 1
    recompute: bool = False


@dataclass(frozen=True)
class RunSettings:
    """All that the training loop reads of a configuration.

    Args:
        trainer: the section of this name.
        strategy: likewise; ``Point.strategy`` holds what its name resolves to.
        micro_batching: decided, never auto.
        forces: whether the loss holds forces, which are a derivative themselves.
        alone: whether no other point trains on this machine meanwhile, as far as the launcher knows.
        per_gpu: points that train on its GPU at the same time, this one among them.
    """

    trainer: TrainerSettings
    strategy: StrategySettings
    micro_batching: MicroBatching
    forces: bool = False
    alone: bool = True
    per_gpu: int = 1
