"""One rank of a run that a signal to the last rank alone stops: FOLDER STRATEGY STOP are its arguments."""

import contextlib
import json
import os
import signal
import sys
from dataclasses import asdict
from pathlib import Path

import pytorch_lightning as pl

from chemscale.points.run import fit, open_record
from chemscale.training.distributed.ranks import this_rank
from chemscale.training.signals import Interrupted
from tests.helpers.points import potential_in


class Signal(pl.Callback):
    """To the last rank, after a step; -1 for none."""

    def __init__(self, step: int):
        self.step = step

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        ranks = this_rank()
        if trainer.global_step == self.step and ranks.rank == ranks.world - 1:
            os.kill(os.getpid(), signal.SIGTERM)


def main(folder: str, strategy: str, stop: str) -> None:
    """Train until the signal or the end; rank 0 prints the steps and what a stop must not change."""
    every = ("trainer.log_every=10", "trainer.validate_every=5", "trainer.checkpoint_steps=null")
    falling = ("schedule=plateau", "schedule.patience=0", "schedule.factor=0.5", "optimizer.lr=0.02")
    ranks = (f"strategy={strategy}", "launcher.gpus_per_node=2")
    first = this_rank().is_first
    point = potential_in(Path(folder), *every, *falling, *ranks, "ema=0.5")
    record = open_record(point, [], keep=first)
    with contextlib.suppress(Interrupted):
        fit(point, record, extra=[Signal(int(stop))])
    if first:
        rows = [row for row in record.curve_rows(point.directory) if row["kind"] != "truth"]
        said = [asdict(record.data), record.compute.flops, record.best and asdict(record.best), rows]
        print(json.dumps([record.data.steps, said]), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
