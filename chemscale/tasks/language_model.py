"""ChemGPT as a Lightning module: next-symbol cross-entropy over packed molecules."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from chemscale.models.chemgpt import ChemGPT
from chemscale.molecules.batches import PackedBatch
from chemscale.tasks.base import Task
from chemscale.tasks.optimisation import AdamW, Schedule


class LanguageModel(Task):
    """Loss, validation metrics and optimiser of a ChemGPT.

    Args:
        model: the architecture.
        optimizer: how weights move.
        schedule: how the rate moves.
        total_steps: optimiser steps of the run.
    """

    def __init__(self, model: ChemGPT, optimizer: AdamW, schedule: Schedule, total_steps: int):
        super().__init__()
        self.model, self.optimizer, self.schedule, self.total_steps = model, optimizer, schedule, total_steps

    def nll(self, batch: PackedBatch) -> Tensor:
        """(T,) negative log-likelihood of each target, in nats, float32; 0 where it is ignored."""
        return self.nll_of(self.model(batch.tokens, batch.positions, batch.documents), batch.targets)

    @staticmethod
    def nll_of(logits: Tensor, targets: Tensor) -> Tensor:
        """The same from logits, (T, V), and targets, (T,).

        In half precision the logits are copied to float32: 10 MB for 8,192 tokens of 300 symbols, a hundredth
        of what the blocks of 24 layers of width 128 keep. Compiled code makes no copy.
        """
        return F.cross_entropy(logits.float(), targets, reduction="none")

    def training_step(self, batch: PackedBatch, batch_idx: int) -> Tensor:
        """The mean over the tokens of the whole optimiser step.

        Micro-batches and ranks hold unequal numbers of tokens, and Lightning averages over both: dividing
        by the step's own count and multiplying back makes every token weigh the same.
        """
        share = self.trainer.accumulate_grad_batches * self.trainer.world_size
        nats = (self.nll(batch) if self.compiled is None else self.compiled(batch)).sum()
        self.step_sums.append((nats.detach(), batch.predicted))
        return nats * (share / batch.step_tokens)

    def training_metrics(self, sums: list[float]) -> dict[str, float]:
        """The logged loss from the sums of ``step_sums``."""
        return {"loss": sums[0] / max(1.0, sums[1])}

    def validation_step(self, batch: PackedBatch, batch_idx: int) -> dict[str, Any]:
        """Sums over the batch: nats, tokens (end symbols counted), molecules, heavy atoms."""
        return {
            "nats": self.nll(batch).sum(dtype=torch.float64),
            "tokens": batch.predicted,
            "molecules": batch.molecules,
            "heavy_atoms": batch.heavy_atoms,
        }

    @staticmethod
    def validation_metrics(sums: dict[str, float]) -> dict[str, float]:
        """Losses in units that compare tokenizers: per molecule and per heavy atom as well as per token."""
        return {
            "nats_per_token": sums["nats"] / sums["tokens"],
            "nats_per_molecule": sums["nats"] / sums["molecules"],
            "nats_per_heavy_atom": sums["nats"] / sums["heavy_atoms"],
        }

    def configure_optimizers(self) -> dict[str, Any]:  # type: ignore[override]
        optimizer = self.optimizer.build(self.model, fused=self.trainer.precision != "16-mixed")
        factor = self.schedule.factor(self.total_steps)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
