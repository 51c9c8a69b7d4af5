"""AdamW with decay where it belongs, and learning-rate schedules counted in optimiser steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import nn

from chemscale.common.sections import Index, NotNegative, OpenShare, Positive, Range

Beta = Annotated[float, Range(0, 1, below=True)]


@dataclass(frozen=True)
class AdamW:
    """Loshchilov and Hutter 2019. The rate is the peak of the schedule."""

    lr: Positive
    betas: tuple[Beta, Beta] = (0.9, 0.95)
    eps: Positive = 1e-8
    weight_decay: NotNegative = 0.1
    amsgrad: bool = False

    @staticmethod
    def decayed(model: nn.Module) -> list[nn.Parameter]:
        """The parameters that weight decay acts on."""
        matrices = {id(m.weight) for m in model.modules() if isinstance(m, nn.Linear)}
        return [p for p in model.parameters() if p.requires_grad and id(p) in matrices]

    def build(self, model: nn.Module, *, fused: bool = True) -> torch.optim.AdamW:
        """Decay the matrices of linear layers only: no embedding, norm or bias. What is frozen is left out.

        The fused step unscales float16 gradients itself, so it cannot be used with 16-mixed and clipping.
        """
        decayed = self.decayed(model)
        matrices = {id(p) for p in decayed}
        others = [p for p in model.parameters() if p.requires_grad and id(p) not in matrices]
        groups = [
            {"params": decayed, "weight_decay": self.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        groups = [group for group in groups if group["params"]]
        return torch.optim.AdamW(
            groups, lr=self.lr, betas=self.betas, eps=self.eps, amsgrad=self.amsgrad, fused=fused
        )


@dataclass(frozen=True)
class Schedule:
    """Warm-up from 0, then a shape; `warmup` and `cooldown` below 1 are shares of all steps.

    ``constant``; ``cosine`` to `floor` of the peak; ``wsd`` (warm-up, stable, decay): the peak until the
    last `cooldown` steps, then 1 - √progress down to `floor` (Hägele et al. 2024).

    Raises:
        ValueError: an unknown name.
    """

    name: str = "wsd"
    warmup: NotNegative = 0.02
    cooldown: NotNegative = 0.2
    floor: Annotated[float, Range(0, 1)] = 0.0

    def __post_init__(self) -> None:
        if self.name not in ("constant", "cosine", "wsd"):
            raise ValueError(f"schedule.name={self.name!r}: choose constant, cosine or wsd.")

    def stable_until(self, total: int) -> int:
        """The step up to which the rate is the same for every longer horizon.

        Raises:
            ValueError: a warm-up or a shape that depends on the horizon from the start.
        """
        if self.name == "cosine" or 0 < self.warmup < 1:
            what = "name=cosine" if self.name == "cosine" else f"warmup={self.warmup}, a share of all steps,"
            raise ValueError(
                f"trunk=true: schedule.{what} makes the rate depend on the horizon from the first step. Use "
                "schedule.name=wsd and a warm-up in steps, for example schedule.warmup=100."
            )
        cooldown = _steps(self.cooldown, total) if self.name == "wsd" else 0
        if not 0 < cooldown < total:
            raise ValueError(
                f"trunk=true: schedule.name={self.name} cools down over {cooldown} of {total} steps. Use "
                "schedule.name=wsd with a cool-down within the run, for example schedule.cooldown=0.2."
            )
        return total - cooldown

    def warmup_steps(self, total: int) -> int:
        """Optimiser steps of the warm-up in a run of `total`."""
        return _steps(self.warmup, total)

    def factor(self, total: int) -> Callable[[int], float]:
        """The multiplier of the peak rate at each of `total` optimiser steps."""
        warmup = self.warmup_steps(total)
        cooldown = _steps(self.cooldown, total)

        def at(step: int) -> float:
            if step < warmup:
                return (step + 1) / (warmup + 1)
            if self.name == "constant":
                return 1.0
            if self.name == "cosine":
                progress = min(1.0, (step - warmup) / max(1, total - warmup))
                return self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * progress))
            progress = min(1.0, max(0.0, (step - (total - cooldown)) / max(1, cooldown)))
            return self.floor + (1 - self.floor) * (1 - math.sqrt(progress))

        return at


@dataclass(frozen=True)
class Plateau:
    """The rate times `factor` when the validation objective has not improved for `patience` validations.

    The run ends when the rate falls below `stop_below` (0: never).
    """

    name: str = "plateau"
    factor: OpenShare = 0.8
    patience: Index = 50
    stop_below: NotNegative = 0.0

    def build(self, optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.ReduceLROnPlateau:
        return torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, factor=self.factor, patience=self.patience, threshold=0.0
        )


def _steps(value: float, total: int) -> int:
    return round(value * total) if value < 1 else int(value)
