"""Errors of a trained potential on a part of the store that it was trained on."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from chemscale.common.files import write_json
from chemscale.common.progress import ProgressBar
from chemscale.models.potentials import load_potential
from chemscale.points.data import open_or_prepare_structures, read_structure_data
from chemscale.records import RunRecord
from chemscale.structures.batches import BatchBudget, ValidationFrames, labels_of
from chemscale.structures.edges import EdgeCache
from chemscale.structures.store import PARTS
from chemscale.tasks.losses import EnergyForceLoss
from chemscale.tasks.optimisation import AdamW, Schedule
from chemscale.tasks.potential import InteratomicPotential

log = logging.getLogger(__name__)


def evaluate_run(run: Path, part: str, frames: int | None = None, batch: int = 32) -> dict[str, float]:
    """Errors of a run's model on one part of its store; kept as ``evaluation-PART.json`` in the run.

    Args:
        run: directory of the run.
        part: test, validation or train.
        frames: only the first so many; all where None.
        batch: frames at once.

    Returns:
        MAE and RMSE of energies (meV, meV/atom) and force components (meV/Å), by name.

    Raises:
        ValueError: the run is no potential, the part is empty or has no labels, or the store is not what it
            was trained on.
        RecordError: there is no record.
        PotentialError: there is no trained model.
    """
    record = RunRecord.load(run)
    if record.family == "chemgpt":
        raise ValueError(f"{run} is a {record.family}: evaluate is for potentials so far.")
    if part not in PARTS:
        raise ValueError(f"--part {part}: choose one of {', '.join(PARTS)}.")
    data = read_structure_data(record.config["data"])
    store = open_or_prepare_structures(data, Path(record.config["structures"]))
    if store.hash != record.data_hash:
        raise ValueError(
            f"{store.path} is not what {run} was trained on: the hashes differ. The file changed, or this "
            "version reads other labels in it (its notes: python -m chemscale.prepare with the same data)."
        )
    chosen = np.asarray(store.part(part)[:frames])
    if not len(chosen):
        raise ValueError(f"{store.path}: its {part} part is empty.")
    found = labels_of(store, chosen)
    labels = {"energies": found["energies"], "force_components": found["components"]}
    labels |= {"stress_components": found["stresses"]} if found["stresses"] else {}
    if not any(labels.values()):
        raise ValueError(f"{store.path}: no frame of its {part} part has an energy, forces or a stress.")
    potential = load_potential(run / "model")
    loss = EnergyForceLoss(**record.config["loss"])
    module = InteratomicPotential(potential, loss, AdamW(1e-3), Schedule(), 1).eval()
    edges = EdgeCache(store, part, potential.cutoff).open(len(chosen))
    batches = ValidationFrames(store, chosen, edges, BatchBudget(frames=batch))
    sums: dict[str, float] = {}
    with ProgressBar("evaluate", len(batches), "batches", every=5) as progress:
        for index in range(len(batches)):
            for key, value in module.validation_step(batches[index], index).items():
                sums[key] = sums.get(key, 0.0) + float(value)
            progress.advance(1)
    values = module.validation_metrics(sums)
    values.pop("objective")
    write_json(run / f"evaluation-{part}.json", {"frames": len(chosen), "labels": labels, "values": values})
    names = "; ".join(place["name"] for place in store.manifest.get("labels", []))
    log.info(
        "%s frames of the %s part: %s energies and %s force components are compared%s.",
        *(f"{len(chosen):,}", part, f"{labels['energies']:,}", f"{labels['force_components']:,}"),
        f" ({names}, as in training)" if names else "",
    )
    return values
