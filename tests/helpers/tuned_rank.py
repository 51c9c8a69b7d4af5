"""One rank of a run that begins from a trained model: FOLDER SMILES PARENT STRATEGY STOP KEY…."""

import contextlib
import json
import os
import sys
from pathlib import Path

from chemscale.points.run import fit, open_record
from chemscale.training.distributed.ranks import this_rank
from chemscale.training.signals import Interrupted
from tests.helpers.points import point_in
from tests.helpers.stopped_rank import Signal


def main(folder: str, smiles: str, parent: str, strategy: str, stop: str, *keys: str) -> None:
    """Train until the signal or the end; rank 0 prints the steps, the losses and where the run lies."""
    every = (
        "budget.steps=6",
        "trainer.checkpoint_steps=null",
        "trainer.validate_every=3",
        "batch.tokens=1024",
    )
    ranks = (f"strategy={strategy}", "launcher.gpus_per_node=2", f"model.from={parent}", "model.layers=2")
    point = point_in(Path(folder), Path(smiles), *every, *ranks, *keys)
    first = this_rank().is_first
    record = open_record(point, [], keep=first)
    with contextlib.suppress(Interrupted):
        fit(point, record, extra=[Signal(int(stop))])
    if first:
        rows = [row for row in record.curve_rows(point.directory) if row["kind"] != "truth"]
        print(json.dumps([record.data.steps, rows, str(point.directory)]), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
