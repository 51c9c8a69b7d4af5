"""Validation over the ranks of a point."""

from __future__ import annotations

from typing import Any, cast

import pytorch_lightning as pl
import torch

from chemscale.tasks.device_values import read_rows
from chemscale.training.distributed.control import Control


def validation_metrics(trainer: pl.Trainer, module: Any, control: Control) -> dict[str, float]:
    """Metrics over the whole held-out set; ranks take turns at its batches.

    All ranks run equally many: where they share the weights they need each other for every batch. What a rank
    runs beyond the end of the set does not count.

    Args:
        trainer: of the run; its data module has the held-out batches.
        module: a ``tasks.base.Task``.
        control: sums over ranks.
    """
    world, rank = control.ranks.world, control.ranks.rank
    batches = trainer.datamodule.val_dataloader().dataset  # type: ignore[attr-defined]
    counts: list[float] = []
    parts: list[dict[str, Any]] = []
    module.eval()
    with torch.no_grad():
        for index in range(rank, -(-len(batches) // world) * world, world):
            batch = batches[index % len(batches)].to(module.device, non_blocking=True)
            parts.append(cast(dict[str, Any], trainer.strategy.validation_step(batch, index)))
            counts.append(1.0 if index < len(batches) else 0.0)
    module.train()
    keys = sorted(parts[0])
    rows = read_rows([[part[key] for key in keys] for part in parts])
    sums = [0.0] * len(keys)
    for count, row in zip(counts, rows, strict=True):
        sums = [total + count * value for total, value in zip(sums, row, strict=True)]
    totals = control.total(sums)
    return module.validation_metrics(dict(zip(keys, totals, strict=True)))
