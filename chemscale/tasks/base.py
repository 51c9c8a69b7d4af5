"""What every task shares: sums that wait for the log, and clipping that keeps its norm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.distributed.tensor import DTensor


class Task(pl.LightningModule):
    """A Lightning module as ``training.step_boundary.StepBoundary`` drives it.

    `step_sums` holds a vector of sums for every micro-batch since the last log, on the device; the log
    empties it through ``training_metrics``. `gradient_norm` is the norm of the last step before clipping.
    """

    model: Any
    compiled: Callable[[Any], Any] | None = None
    """What `model` makes of a training batch, by compiled code; None: by the model itself.

    ``training.compilation`` puts it here from outside. It is no module and holds no weights of its own.
    """

    def __init__(self) -> None:
        super().__init__()
        self.step_sums: list[Tensor] = []
        self.gradient_norm: Tensor | float | None = None
        self._sharded = False

    def training_metrics(self, sums: list[float]) -> dict[str, float]:
        """What is logged, from the totals of ``step_sums``; ``loss`` is among it."""
        raise NotImplementedError

    def validated(self, objective: float) -> bool:
        """Take note of a validation objective; whether the run should end here."""
        return False

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip by the global norm and keep the norm before clipping for the log.

        A step whose gradient is not finite is left out: without gradients the optimizer touches neither
        weights nor moments. DeepSpeed clips, and leaves such steps out, itself.

        Args:
            optimizer: whose parameters are clipped.
            gradient_clip_val: the largest norm; None: only the norm is computed.
            gradient_clip_algorithm: not used: it is the norm that is clipped.
        """
        if self.trainer.strategy.handles_gradient_accumulation:
            return
        limit = float("inf") if gradient_clip_val is None else float(gradient_clip_val)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(parameters, limit)
        self.gradient_norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
        if not bool(self.gradient_norm.isfinite()):
            for parameter in parameters:
                parameter.grad = None

    def configure_model(self) -> None:
        """A strategy that shares weights among ranks does so here, from outside."""
        shard = getattr(self.trainer.strategy, "shard", None)
        if shard is not None and not self._sharded:
            shard(self.model)
            self._sharded = True

    def stepped(self) -> None:
        """Called when an optimiser step is complete, before it is logged, validated or saved."""
