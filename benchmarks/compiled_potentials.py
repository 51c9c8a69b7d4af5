"""Seconds that compiling a potential's training step takes, and how much faster the step is then.

    python benchmarks/compiled_potentials.py schnet painn nequip
    python benchmarks/compiled_potentials.py painn --width 128 --frames 64 --device cuda

Each family is compiled in a process of its own with an empty cache, then in another one with what that left;
the second takes its steps and the model's own by turns and prints the medians of the loss with its gradient.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

import torch

from chemscale.models.potentials import CONFIGS, build
from chemscale.structures.graphs import collate
from chemscale.tasks.losses import EnergyForceLoss
from chemscale.tasks.optimisation import AdamW, Schedule
from chemscale.tasks.potential import InteratomicPotential
from chemscale.testing.checks import molecule
from chemscale.training.compilation.potentials import compile_potential


def step_of(task, predict, batch):
    """A function that takes the gradient of the task's loss, as a training step does."""
    weights = list(task.model.parameters())

    def step():
        found = predict(batch)
        loss = found.energy.square().mean() * 1e-6 + found.forces.square().mean()
        torch.autograd.grad(loss, weights, allow_unused=True)
        if batch.pos.device.type == "cuda":
            torch.cuda.synchronize()

    return step


def measure(options: argparse.Namespace) -> None:
    """Compile one family and time it."""
    torch.manual_seed(0)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    shape = {} if options.width is None else {"width": options.width}
    model = build(CONFIGS[options.family[0]](**shape), (1, 6, 8), neighbours=12.0)
    task = InteratomicPotential(model, EnergyForceLoss(), AdamW(lr=1e-3), Schedule(), 10)
    task = task.to(options.device).train()

    def batch(seed: int):
        frames = [molecule(seed + i, atoms=9 + i % 9) for i in range(options.frames)]
        return collate([frame.with_neighbours(model.cutoff) for frame in frames]).to(options.device)

    started = time.perf_counter()
    compiled, difference = compile_potential(task, batch(0))
    seconds = time.perf_counter() - started
    line = f"{options.family[0]:10s} compiled in {seconds:6.1f} s, differs by {difference.value:.0e}"
    if options.steps:
        data = batch(1000)
        ways = {"eager": step_of(task, model, data), "compiled": step_of(task, compiled, data)}
        times: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(options.steps + 2):
            for name, way in ways.items():
                begun = time.perf_counter()
                way()
                if turn >= 2:
                    times[name].append(time.perf_counter() - begun)
        eager, fast = (1e3 * statistics.median(times[name]) for name in ("eager", "compiled"))
        line += (
            f" · {data.pos.shape[0]} atoms, {data.edge_index.shape[1]} edges: "
            f"eager {eager:.1f} ms, compiled {fast:.1f} ms, {eager / fast:.2f} times"
        )
    print(line, flush=True)


def main() -> None:
    """Read the options; start the two processes of each family."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("family", nargs="+", choices=list(CONFIGS))
    parser.add_argument("--width", type=int)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--steps", type=int, default=21)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        measure(options)
        return
    for family in options.family:
        with tempfile.TemporaryDirectory(prefix="chemscale-inductor-") as cache:
            for steps in (0, options.steps):
                command = [sys.executable, __file__, "--here", family, "--steps", str(steps)]
                command += ["--frames", str(options.frames), "--device", options.device]
                command += [] if options.width is None else ["--width", str(options.width)]
                subprocess.run(command, check=True, env={**os.environ, "TORCHINDUCTOR_CACHE_DIR": cache})


if __name__ == "__main__":
    main()
