"""What every task shares: sums that wait for the log, and clipping that keeps its norm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.distributed.tensor import DTensor


class Task(pl.LightningModule):
    """A Lightning module as ``training.step_boundary.StepBoundary`` drives it.

    `step_sums` holds a row of sums for every micro-batch since the last log, on the device where they were
    computed there; the log reads them together, and empties it through ``training_metrics``. `gradient_norm`
    is the norm of the last step before clipping. Nothing between two logs makes the host wait for a device.
    """

    model: Any
    compiled: Callable[[Any], Any] | None = None
    """What `model` makes of a training batch, by compiled code; None: by the model itself.

    ``training.compilation`` puts it here from outside. It is no module and holds no weights of its own.
    """

    def __init__(self) -> None:
        super().__init__()
        self.step_sums: list[Sequence[Tensor | float]] = []
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

        A step whose gradient is not finite is left out: told so on the device, the fused optimizer
        touches neither weights nor moments; without gradients no optimizer does. DeepSpeed clips, and
        leaves such steps out, itself.

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
        finite = self.gradient_norm.isfinite()
        if self.decides_on_device(optimizer):
            optimizer.found_inf = finite.logical_not().float()  # type: ignore[attr-defined]
        elif not bool(finite):
            for parameter in parameters:
                parameter.grad = None

    def decides_on_device(self, optimizer: torch.optim.Optimizer) -> bool:
        """Whether a step is left out by its optimizer's kernel: on a device whose answers take time.

        Args:
            optimizer: one that is not fused (16-mixed) has a loss scaler, which waits for the device anyway.
        """
        return self.device.type != "cpu" and all(group.get("fused") for group in optimizer.param_groups)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Move a batch of ours while the host goes on: Lightning does so for plain tensors only."""
        return batch.to(device, non_blocking=True)

    def configure_model(self) -> None:
        """A strategy that shares weights among ranks does so here, from outside."""
        shard = getattr(self.trainer.strategy, "shard", None)
        if shard is not None and not self._sharded:
            shard(self.model)
            self._sharded = True

    def stepped(self) -> None:
        """Called when an optimiser step is complete, before it is logged, validated or saved."""
