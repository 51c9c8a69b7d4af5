"""One rank of a run some of whose gradients are spoilt: FOLDER SMILES STRATEGY DECIDES are its arguments."""

import json
import os
import sys
from pathlib import Path

import pytorch_lightning as pl
import torch

from chemscale.points.run import fit, open_record
from chemscale.tasks.base import Task
from chemscale.training.distributed.ranks import this_rank
from tests.helpers.points import point_in

SPOILT = (0, 3, 4)
"""Optimizer steps done before the ones without a finite gradient."""


class Poison(pl.Callback):
    """Of this rank's part of one gradient."""

    def on_before_optimizer_step(self, trainer, module, optimizer):
        if trainer.global_step in SPOILT:
            gradient = next(p.grad for p in module.parameters() if p.grad is not None)
            getattr(gradient, "to_local", lambda: gradient)().fill_(torch.nan)


def main(folder: str, smiles_file: str, strategy: str, decides: str) -> None:
    """Train eight steps on two ranks; rank 0 prints what became of it."""
    Task.decides_on_device = lambda self, optimizer: decides == "device"  # type: ignore[method-assign]
    more = (f"strategy={strategy}", "launcher.gpus_per_node=2", "budget.steps=8", "trainer.validate_every=8")
    point = point_in(Path(folder), smiles_file, *more, "trainer.log_every=2", "trainer.checkpoint_steps=null")
    first = this_rank().is_first
    record = open_record(point, [], keep=first)
    fit(point, record, extra=[Poison()])
    if first:
        assert record.final is not None
        rows = [row["loss"] for row in record.curve_rows(point.directory) if row["kind"] == "train"]
        print(json.dumps([record.skipped_steps, record.final.values, rows]), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
