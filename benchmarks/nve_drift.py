"""Drift of the energy of each family over NVE dynamics of ethanol; resumable, a table at the end.

    python benchmarks/nve_drift.py rmd17_ethanol.npz --out nve-drift --time 100ps --minutes 120

It trains a small potential of each family (``--train-steps``), starts each from the same frame, and lets
them take turns of ``--turn`` minutes until all have simulated ``--time`` or ``--minutes`` are over. The same
command goes on with what is not done. ``--out`` gets the runs, a folder for each simulation, and
``drift.csv``.
"""

from __future__ import annotations

import argparse
import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import write

from chemscale.models.potentials import CONFIGS
from chemscale.structures.simulation.folder import LOG, read_log
from chemscale.structures.simulation.series import mean, slope

SHAPES = {
    "schnet": ["model.width=64", "model.layers=3"],
    "painn": ["model.width=32", "model.layers=3"],
    "spookynet": ["model.width=32", "model.layers=2"],
    "allegro": ["model.width=32", "model.tensors=16", "model.layers=2"],
    "nequip": ["model.width=16", "model.layers=3"],
    "mace": ["model.width=16", "model.layers=2"],
}
"""Small: what drifts is the same, and a step is cheap."""
FIELDS = ("family", "ps", "drift_meV_per_atom_ns", "standard_error", "settled", "largest_change_meV_per_atom",
          "mean_temperature_K", "ended")  # fmt: skip


def main() -> None:
    """Train, take turns, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="rmd17_ethanol.npz, or another file in the form of rMD17")
    parser.add_argument("--out", type=Path, default=Path("nve-drift"))
    parser.add_argument("--time", default="100ps")
    parser.add_argument("--timestep", default="0.5fs")
    parser.add_argument("--equilibrate", default="1ps")
    parser.add_argument("--minutes", type=float, default=120.0)
    parser.add_argument("--turn", type=float, default=5.0)
    parser.add_argument("--train-steps", type=int, default=1500)
    parser.add_argument("--families", nargs="+", choices=sorted(CONFIGS), default=list(SHAPES))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    start = given.out / "start.xyz"
    with np.load(given.data) as file:
        write(start, Atoms(file["nuclear_charges"], file["coords"][0]))
    deadline = time.monotonic() + 60 * given.minutes
    waiting = [family for family in given.families if train(family, given)]
    while waiting and time.monotonic() < deadline:
        for family in list(waiting):
            left = deadline - time.monotonic()
            if left < 5:
                break
            if simulate(family, start, given, min(left, 60 * given.turn)):
                waiting.remove(family)
        table(given.families, given.out)
    table(given.families, given.out)


def train(family: str, given: argparse.Namespace) -> bool:
    """Train a family, or find it trained; whether there is a model now."""
    command = [
        *(sys.executable, "-m", "chemscale.train", "task=potential", f"model={family}", *SHAPES[family]),
        *(f"point_name={family}", "sweep_name=nve_drift", "data=rmd17", f"data.path={given.data.resolve()}"),
        *("batch.frames=5", f"budget.steps={given.train_steps}"),
        *(f"runs={given.out / 'runs'}", f"structures={given.out / 'structures'}"),
    ]
    done = subprocess.run(command, env=os.environ | {"WANDB_MODE": "disabled"}, check=False)
    if done.returncode:
        print(f"{family}: training left with status {done.returncode}; it is left out.")
    return not done.returncode


def simulate(family: str, start: Path, given: argparse.Namespace, seconds: float) -> bool:
    """A turn of a simulation; whether it is over."""
    command = [
        *(
            sys.executable,
            "-m",
            "chemscale.simulate",
            str(given.out / "runs" / "nve_drift" / family),
            str(start),
        ),
        *("--ensemble", "nve", "--time", given.time, "--timestep", given.timestep),
        *("--equilibrate", given.equilibrate, "--out", str(given.out / family)),
    ]
    process = subprocess.Popen(command)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)
        process.wait()
    if process.returncode not in (0, 75):
        print(f"{family}: simulation left with status {process.returncode}; it is left out.")
    return process.returncode != 75


def table(families: list[str], out: Path) -> None:
    """Print the drift of each family so far and write ``drift.csv``."""
    rows = []
    for family in families:
        if not (out / family / LOG).exists():
            continue
        columns = read_log(out / family / LOG)
        if len(columns["step"]) < 3:
            continue
        start = out / "start.xyz"
        atoms = int(start.read_text().split()[0])
        energies = 1e3 * columns["conserved_eV"] / atoms
        drift = slope(columns["time_ps"] / 1e3, energies)
        report = out / family / "report.txt"
        ended = report.read_text().splitlines()[0].split(None, 1)[1] if report.exists() else "not yet"
        rows.append(
            [
                *(
                    family,
                    f"{columns['time_ps'][-1]:g}",
                    f"{drift.value:.3g}",
                    f"{drift.error:.2g}",
                    drift.settled,
                ),
                *(
                    f"{np.abs(energies - energies[0]).max():.3g}",
                    f"{mean(columns['temperature_K']).value:.1f}",
                    ended,
                ),
            ]
        )
    print("  ".join(FIELDS))
    for row in rows:
        print("  ".join(str(value) for value in row))
    with open(out / "drift.csv", "w", newline="") as file:
        csv.writer(file).writerows([FIELDS, *rows])


if __name__ == "__main__":
    main()
