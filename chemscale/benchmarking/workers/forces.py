"""A batch of structures for the codes that take ASE's atoms, and the training step that they share."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ase
import ase.io
import numpy as np
import torch
import torch.nn.functional as F
from turns import Turns, arguments, serve

CUTOFF = 5.0
"""Å, of every model."""


@dataclass
class Frames:
    """Structures bare of labels, and their labels.

    Args:
        structures: B of them.
        energies: (B,) eV, less their mean.
        forces: (N, 3) eV/Å.
    """

    structures: list[ase.Atoms]
    energies: np.ndarray
    forces: np.ndarray


@dataclass
class Model:
    """A potential of some code on its one batch.

    Args:
        package: its name in the registry.
        module: with its weights.
        predict: gives energies (B,) and forces (N, 3) of the batch.
        edges: of the batch.
        hyper: hyper-parameters, for the report.
    """

    package: str
    module: torch.nn.Module
    predict: Callable[[], tuple[torch.Tensor, torch.Tensor]]
    edges: int
    hyper: dict[str, Any] = field(default_factory=dict)


def read_frames(path: Path, count: int) -> Frames:
    """The first structures of a file.

    Args:
        path: any that ASE reads, with energies and forces.
        count: how many.
    """
    frames = ase.io.read(path, index=f":{count}")
    energies = np.array([frame.get_potential_energy() for frame in frames])
    forces = np.concatenate([frame.get_forces() for frame in frames])
    bare = [
        ase.Atoms(f.numbers, f.positions, cell=f.cell if f.pbc.any() else None, pbc=f.pbc) for f in frames
    ]
    return Frames(bare, energies - energies.mean(), forces)


def fresh(batch: dict[str, Any], positions: str) -> dict[str, Any]:
    """A batch as a loader would hand it over: its positions carry no graph and no gradient.

    Args:
        batch: of the code.
        positions: key of the positions.
    """
    return {**batch, positions: batch[positions].detach()}


def to_device(batch: dict[str, Any], device: str) -> dict[str, Any]:
    """The tensors of a batch on a device.

    Args:
        batch: of the code.
        device: cpu or cuda.
    """
    return {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in batch.items()}


def trainable(module: torch.nn.Module) -> int:
    """Trainable numbers, embeddings left out.

    Args:
        module: whose parameters are counted.
    """
    tables = {id(m.weight) for m in module.modules() if isinstance(m, torch.nn.Embedding)}
    return sum(p.numel() for p in module.parameters() if p.requires_grad and id(p) not in tables)


def training_step(model: Model, frames: Frames) -> Callable[[], float]:
    """zero_grad, energies, forces, MSE(E) + MSE(F), backward, clipping, AdamW; it returns the atoms.

    Args:
        model: on its device.
        frames: with the labels.

    Raises:
        SystemExit: predictions of another shape than the labels, or a loss that is not finite.
    """
    optimizer = torch.optim.AdamW(model.module.parameters(), lr=1e-4, fused=True)
    predicted = model.predict()
    targets = [
        torch.as_tensor(y).to(p) for y, p in zip((frames.energies, frames.forces), predicted, strict=True)
    ]
    if [y.shape for y in targets] != [p.shape for p in predicted]:
        raise SystemExit(f"predicted {[tuple(p.shape) for p in predicted]}")
    if not all(math.isfinite(float(p.detach().sum())) for p in predicted):
        raise SystemExit("what is predicted is not finite")
    atoms = float(len(frames.forces))

    def step() -> float:
        optimizer.zero_grad()
        energy, force = model.predict()
        loss = F.mse_loss(energy, targets[0]) + F.mse_loss(force, targets[1])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.module.parameters(), 10.0)
        optimizer.step()
        return atoms

    return step


def evaluation_step(model: Model, frames: Frames) -> Callable[[], float]:
    """Energies and forces without a graph for a second derivative; it returns the atoms.

    Args:
        model: on its device.
        frames: of the batch.
    """
    model.module.eval().requires_grad_(False)
    atoms = float(len(frames.forces))

    def step() -> float:
        model.predict()
        return atoms

    return step


def run(description: str, build: Callable[[dict[str, Any], list[ase.Atoms], str], Model]) -> None:
    """Do a work with the models of some code.

    Args:
        description: of the worker.
        build: of a work, bare structures and a device makes the model and its batch.
    """
    options = arguments(description)
    work = options.work
    frames = read_frames(Path(work["file"]), work["frames"])
    turns = Turns(options.device, options.warmup)
    model = build(work, frames.structures, options.device)
    model.module.train()
    parameters = trainable(model.module)
    step = (evaluation_step if work["kind"] == "forces" else training_step)(model, frames)
    facts = {
        "version": version(model.package),
        "parameters": parameters,
        "edges": model.edges,
        "hyper": model.hyper,
    }
    serve(turns, step, facts, count=work["count"])
