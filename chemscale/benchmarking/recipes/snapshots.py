"""What a worker is told that trains a public code by its own command, and what it leaves: ``result.json``."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ase
import ase.io
import numpy as np
import torch

ENERGY, FORCES = "REF_energy", "REF_forces"
"""Names of the labels in the files of frames."""


class Snapshots:
    """Averaged weights at every tenth of a run, copied as it passes.

    Args:
        steps: of the run.
    """

    def __init__(self, steps: int):
        self.due = [round(steps * tenth / 10) for tenth in range(1, 11)]
        self.step, self.seconds = 0, 0.0
        self.taken: list[tuple[int, float, list[torch.Tensor]]] = []
        self.began = time.perf_counter()

    def stepped(self, average: Iterable[torch.Tensor]) -> None:
        """A step is done.

        Args:
            average: the averaged weights after it.
        """
        self.step += 1
        if self.step in self.due:
            weights = [tensor.detach().clone() for tensor in average]
            self.taken.append((self.step, time.perf_counter() - self.began, weights))


def arguments(description: str) -> dict[str, Any]:
    """The work, from a file of JSON.

    Args:
        description: of the worker.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("work", type=Path, help="file of JSON that says what is to be done")
    work: dict[str, Any] = json.loads(parser.parse_args().work.read_text())
    torch.set_num_threads(work["threads"])
    return work


def labels(frames: list[ase.Atoms]) -> tuple[np.ndarray, np.ndarray]:
    """Energies (B,) in eV and forces (N, 3) in eV/Å of frames.

    Args:
        frames: as they were written for the run.
    """
    energies = np.array([frame.info[ENERGY] for frame in frames])
    return energies, np.concatenate([frame.arrays[FORCES] for frame in frames])


def errors(
    predicted: list[tuple[torch.Tensor, torch.Tensor]], frames: list[ase.Atoms]
) -> tuple[float, float]:
    """Mean absolute errors of energies in meV and of force components in meV/Å.

    Args:
        predicted: energies and forces, batch by batch.
        frames: that they are of.
    """
    parts = zip(*predicted, strict=True)
    found = [torch.cat([t.detach().double() for t in part]).numpy() for part in parts]
    differences = (p.reshape(y.shape) - y for p, y in zip(found, labels(frames), strict=True))
    energy, forces = (1e3 * float(np.abs(difference).mean()) for difference in differences)
    return energy, forces


def write(package: str, snapshots: Snapshots, found: list[tuple[float, float]]) -> None:
    """Leave ``result.json`` in the working folder, whole or not at all.

    Args:
        package: name of the code in the registry.
        snapshots: of its run.
        found: errors of energies and forces of each.
    """
    result = {
        "version": version(package),
        "torch": torch.__version__,
        "parameters": sum(tensor.numel() for tensor in snapshots.taken[0][2]),
        "steps": [step for step, _, _ in snapshots.taken],
        "seconds": [seconds for _, seconds, _ in snapshots.taken],
        "energy_mae": [energy for energy, _ in found],
        "forces_mae": [forces for _, forces in found],
    }
    partial = Path("result.json.part")
    partial.write_text(json.dumps(result, indent=1))
    os.replace(partial, "result.json")
