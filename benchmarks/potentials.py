"""Speed of a training step of our potentials and of the public codes on CPU, at equal hyper-parameters.

    python benchmarks/potentials.py STRUCTURES.extxyz [--model painn schnet …] [--batch 64] [--steps 5]
        [--repeats 3] [--threads 1] [--rivals PYTHON] [--rivals-mace PYTHON]

A step is what ``rivals.py`` times: zero_grad, energies, forces by autograd, MSE(E) + MSE(F), backward, AdamW;
neighbours and collation before the clock starts; float32, cutoff 5 Å, eager. With --rivals, the
interpreter of an environment that holds them, each model is timed beside its counterpart: ours, theirs, ours.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import ase.io
import torch

from chemscale.models.potentials import build, parameter_counts, read_config
from chemscale.structures.graphs import Structure, collate

MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "painn": ("schnetpack-painn", {"family": "painn", "width": 128, "layers": 3}),
    "schnet": ("schnetpack-schnet", {"family": "schnet", "width": 128, "layers": 6}),
    "nequip-l1": ("nequip-l1", {"family": "nequip", "width": 32, "layers": 4, "l_max": 1, "parity": True}),
    "nequip-l2": ("nequip-l2", {"family": "nequip", "width": 32, "layers": 4, "l_max": 2, "parity": False}),
    "allegro-l1": ("allegro-l1", {"family": "allegro", "width": 64, "layers": 2, "tensors": 32, "l_max": 1}),
    "allegro-l2": ("allegro-l2", {"family": "allegro", "width": 64, "layers": 2, "tensors": 32, "l_max": 2}),
    "mace": ("mace", {"family": "mace", "width": 64, "layers": 2, "l_max": 2, "hidden_l_max": 1}),
}
"""Ours → (its counterpart in rivals.py, configuration)."""


def measure(name: str, path: Path, batch: int, steps: int, repeats: int) -> dict[str, Any]:
    """Time a training step of one of our models.

    Args:
        name: in `MODELS`.
        path: of the structures.
        batch: structures of a step.
        steps: timed together.
        repeats: of the timing; the best and the median are reported.
    """
    frames = ase.io.read(path, f":{batch}")
    data = collate(
        [
            Structure(a.numbers, a.positions, a.get_potential_energy(), a.get_forces()).with_neighbours(5.0)
            for a in frames
        ]
    )
    torch.manual_seed(0)
    elements = tuple(int(z) for z in data.z.unique())
    potential = build(read_config(MODELS[name][1]), elements).train()
    data.energy -= data.energy.mean()
    optimizer = torch.optim.AdamW(potential.parameters(), lr=1e-4)

    def step() -> None:
        optimizer.zero_grad()
        result = potential(data)
        loss = (result.energy - data.energy).square().mean() + (result.forces - data.forces).square().mean()
        loss.backward()
        optimizer.step()

    for _ in range(2):
        step()
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        for _ in range(steps):
            step()
        seconds.append((time.perf_counter() - started) / steps)
    atoms = data.z.shape[0]
    return {
        "code": "chemscale",
        "model": name,
        "parameters": parameter_counts(potential)["non_embedding"],
        "atoms": atoms,
        "edges": data.edge_index.shape[1],
        "seconds_per_step": min(seconds),
        "median": statistics.median(seconds),
        "atoms_per_second": atoms / min(seconds),
    }


def rival(python: str, name: str, options: argparse.Namespace) -> dict[str, Any] | None:
    """Time the counterpart by ``rivals.py``; None where it cannot run.

    Args:
        python: interpreter of an environment that holds it.
        name: of our model.
        options: of the command line.
    """
    script = Path(__file__).with_name("rivals.py")
    command = [python, str(script), str(options.structures), "--model", MODELS[name][0]]
    for key in ("batch", "steps", "repeats", "threads"):
        command += [f"--{key}", str(getattr(options, key))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        print(
            f"{MODELS[name][0]} did not run: {(done.stderr or done.stdout).strip()[-300:]}", file=sys.stderr
        )
        return None
    return json.loads(lines[-1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("structures", type=Path)
    parser.add_argument("--model", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rivals", help="python of an environment with schnetpack, nequip and allegro")
    parser.add_argument("--rivals-mace", help="python of an environment with mace-torch")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for name in options.model:
        ours = measure(name, options.structures, options.batch, options.steps, options.repeats)
        print(json.dumps(ours), flush=True)
        python = options.rivals_mace if name == "mace" else options.rivals
        theirs = rival(python, name, options) if python else None
        if theirs is not None:
            again = measure(name, options.structures, options.batch, options.steps, options.repeats)
            best = max(ours["atoms_per_second"], again["atoms_per_second"])
            print(json.dumps(theirs))
            print(
                f"{name}: {best:,.0f} atoms/s against {theirs['atoms_per_second']:,.0f} of {theirs['code']} "
                f"{theirs['version']}: {best / theirs['atoms_per_second']:.2f}×",
                flush=True,
            )


if __name__ == "__main__":
    main()
