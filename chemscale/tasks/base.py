"""What every task shares: sums that wait for the log, and clipping that keeps its norm."""

from __future__ import annotations

import pytorch_lightning as pl
import torch
from torch import Tensor


class Task(pl.LightningModule):
    """A Lightning module whose books the keeper keeps.

    `step_sums` holds a vector of sums for every micro-batch since the last log, on the device; the keeper
    empties it through ``training_metrics``. `gradient_norm` is the norm of the last step before clipping.
    """

    def __init__(self) -> None:
        super().__init__()
        self.step_sums: list[Tensor] = []
        self.gradient_norm: Tensor | None = None

    def training_metrics(self, sums: list[float]) -> dict[str, float]:
        """What is logged, from the totals of ``step_sums``; ``loss`` is among it."""
        raise NotImplementedError

    def validated(self, objective: float) -> bool:
        """Told the validation objective by the keeper; whether the run should end here."""
        return False

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip by the global norm and keep the norm before clipping for the log."""
        limit = float("inf") if gradient_clip_val is None else float(gradient_clip_val)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.gradient_norm = torch.nn.utils.clip_grad_norm_(parameters, limit)
