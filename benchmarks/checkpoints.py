"""How long training stands still for a checkpoint, written at once and in the background.

    python benchmarks/checkpoints.py --width 512

A ChemGPT of 24 layers and its AdamW moments are saved through the code that trains, into a folder beside this
command; each way several times, in turns. On a CPU the copy in host memory is all that stays of the pause.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from chemscale.models.chemgpt import ChemGPT, ChemGPTConfig
from chemscale.tasks.optimisation import AdamW
from chemscale.training.checkpointing.checkpoints import Checkpoints
from chemscale.training.distributed.control import Control
from chemscale.training.distributed.ranks import Ranks


def trainer_of(width: int) -> tuple[SimpleNamespace, int]:
    """What saving needs of a trainer, around a model that has made one step; its number of parameters.

    Args:
        width: of the model.
    """
    model = ChemGPT(ChemGPTConfig(vocab_size=600, width=width))
    optimizer = AdamW(1e-3).build(model)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()

    def dump_checkpoint(weights_only: bool) -> dict[str, Any]:
        return {"state_dict": model.state_dict(), "optimizer_states": [optimizer.state_dict()]}

    return SimpleNamespace(
        _checkpoint_connector=SimpleNamespace(dump_checkpoint=dump_checkpoint),
        strategy=SimpleNamespace(save_checkpoint=lambda state, path: torch.save(state, path)),
    ), sum(p.numel() for p in model.parameters())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    trainer, parameters = trainer_of(options.width)
    control = Control(Ranks())
    pauses: dict[str, list[float]] = {"at once": [], "in the background": [], "its writing": []}
    with tempfile.TemporaryDirectory(dir=".") as folder:
        checkpoints = Checkpoints(Path(folder))
        for turn in range(options.turns):
            began = time.perf_counter()
            path = checkpoints.save(trainer, 2 * turn + 1, control)
            pauses["at once"].append(time.perf_counter() - began)
            size = path.stat().st_size
            began = time.perf_counter()
            checkpoints.save_in_background(trainer, 2 * turn + 2, control)
            pauses["in the background"].append(time.perf_counter() - began)
            checkpoints.written(wait=True)
            pauses["its writing"].append(time.perf_counter() - began)
    print(f"{parameters:,} parameters, {size / 1e9:.2f} GB a checkpoint, {options.turns} turns")
    for way, seconds in pauses.items():
        print(
            f"{way:18s} median {statistics.median(seconds):6.2f} s ({min(seconds):.2f} to {max(seconds):.2f})"
        )


if __name__ == "__main__":
    main()
