"""What a training step costs beside its model, and what several ranks cost beside one at equal work a rank.

    python benchmarks/loop_cost.py [--width 64] [--layers 8] [--steps 60] [--corpora corpora]

Runs follow one another, each in processes of its own with one thread a rank; the single rank runs first
and last. Milliseconds of a step, median: processor time of a rank, and wall time, which means something only
where nothing else runs. The bare step is forward, backward, clipping and optimizer in a plain loop.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

TOKENS = 2048
"""Of a rank and step."""
RUNS = (("single", 1), ("ddp", 2), ("zero1", 2), ("single", 1))


def main() -> None:
    """Print the table; or, as one rank that it started, train and print this rank's times."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--corpora", default="corpora")
    parser.add_argument("--rank-of", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rank_of:
        strategy, world, runs = options.rank_of
        times = one_rank(options, strategy, int(world), Path(runs))
        print(json.dumps(times), flush=True)
        os._exit(0)  # what DeepSpeed leaves behind takes long to go
    print(f"{'':10}{'ranks':>6}{'CPU ms':>10}{'wall ms':>10}{'bare CPU ms':>13}")
    for strategy, world in RUNS:
        for cpu, wall, bare in start_ranks(sys.argv[1:], strategy, world):
            print(f"{strategy:10}{world:6}{cpu:10.2f}{wall:10.2f}{bare:13.2f}", flush=True)


def start_ranks(arguments: list[str], strategy: str, world: int) -> list[list[float]]:
    """Times of each rank of one run."""
    with tempfile.TemporaryDirectory() as runs:
        command = [sys.executable, __file__, *arguments, "--rank-of", strategy, str(world), runs]
        ranks = []
        for rank in range(world):
            environment = {**os.environ, "OMP_NUM_THREADS": "1", **place(rank, world)}
            ranks.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE))
        outputs = [rank.communicate()[0] for rank in ranks]
    return [json.loads(output.splitlines()[-1]) for output in outputs]


def place(rank: int, world: int) -> dict[str, str]:
    """The environment of a rank as submitit sets it."""
    if world == 1:
        return {}
    ids = {
        "JOB_ID": os.getpid(),
        "NTASKS": world,
        "LOCALID": rank,
        "GLOBALID": rank,
        "NNODES": 1,
        "NODEID": 0,
    }
    return {"SUBMITIT_EXECUTOR": "local", **{f"SUBMITIT_LOCAL_{key}": str(i) for key, i in ids.items()}}


def one_rank(options: argparse.Namespace, strategy: str, world: int, runs: Path) -> list[float]:
    """Processor and wall time of a step through the loop, and processor time of a bare one, in ms."""
    import pytorch_lightning as pl
    from hydra import compose, initialize_config_dir

    from chemscale.common.paths import CONFIG_DIRECTORY
    from chemscale.points.build import read_point
    from chemscale.points.run import fit, open_record
    from chemscale.training.distributed.ranks import this_rank

    class Clocks(pl.Callback):
        """What both clocks show when the batch of a step is there."""

        def __init__(self) -> None:
            self.seen: list[tuple[float, float]] = []

        def on_train_batch_start(self, *_: Any) -> None:
            self.seen.append((time.process_time(), time.perf_counter()))

    overrides = [
        *(f"model.width={options.width}", f"model.layers={options.layers}", "model.heads=8"),
        *(f"batch.tokens={TOKENS * world}", "budget.epochs=null", f"budget.steps={options.steps}"),
        *("logger=none", f"runs={runs}", f"corpora={options.corpora}", "trainer.accelerator=cpu"),
        *(f"trainer.validate_every={options.steps}", "trainer.checkpoint_seconds=3600"),
        *(f"strategy={strategy}", f"launcher.gpus_per_node={world}"),
    ]
    with initialize_config_dir(config_dir=str(CONFIG_DIRECTORY), version_base=None):
        point = read_point(compose("train", overrides))
    rank, clocks = this_rank(), Clocks()
    bare = float(np.median(bare_steps(point, rank.rank, world, min(options.steps, 30))))
    fit(point, open_record(point, [], keep=rank.is_first), extra=[clocks])
    cpu, wall = np.median(1e3 * np.diff(np.array(clocks.seen), axis=0)[5:], axis=0)
    return [float(cpu), float(wall), bare]


def bare_steps(point: Any, rank: int, world: int, steps: int) -> list[float]:
    """Processor time of steps of a plain loop over the batches of one rank, in ms."""
    import torch

    module, batches, times = point.build_module(), point.data.training_batches(rank, world), []
    optimizer = module.optimizer.build(module.model)
    for index in range(steps):
        batch = batches[index]
        began = time.process_time()
        (module.nll(batch).sum() * (world / batch.step_tokens)).backward()
        torch.nn.utils.clip_grad_norm_(module.model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        times.append(1e3 * (time.process_time() - began))
    return times


if __name__ == "__main__":
    main()
