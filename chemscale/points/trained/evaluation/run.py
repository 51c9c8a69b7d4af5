"""Errors of a trained potential on a part of the store that it was trained on."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from chemscale.common.files import write_json
from chemscale.common.progress import ProgressBar
from chemscale.hardware.devices import named_device
from chemscale.models.potential import Potential
from chemscale.models.potentials import load_potential
from chemscale.objects.address import local_place
from chemscale.points.data import open_or_prepare_structures, read_structure_data
from chemscale.points.trained.evaluation.page import write_page
from chemscale.records import RunRecord
from chemscale.structures.batches import BatchBudget, ValidationFrames, labels_of
from chemscale.structures.edges import EdgeCache
from chemscale.structures.evaluation import tables
from chemscale.structures.evaluation.errors import FrameErrors
from chemscale.structures.evaluation.tables import Group
from chemscale.structures.sources.base import formula
from chemscale.structures.store import PARTS, FrameStore

log = logging.getLogger(__name__)

BY = ("config_type", "formula")
"""What frames can be grouped by: the name that they have in their file, or their atoms."""


@dataclass(frozen=True)
class Evaluation:
    """Errors of a run on one part of its store.

    Args:
        values: MAE and RMSE of all frames by the names that records have for them.
        groups: all frames, then each group where there are several.
        elements: one an element.
        path: of the JSON file that keeps them.
        page: with tables and plots.
    """

    values: dict[str, float]
    groups: list[Group]
    elements: list[Group]
    path: Path
    page: Path


def evaluate_run(
    run: Path,
    part: str,
    frames: int | None = None,
    batch: int = 32,
    *,
    by: str = "config_type",
    device: str | None = None,
) -> Evaluation:
    """Errors of a run's model on one part of its store, kept there as ``evaluation-PART.json`` and a page.

    Args:
        run: directory of the run.
        part: test, validation or train.
        frames: only the first so many; all where None.
        batch: frames at once.
        by: what frames are grouped by, one of ``BY``.
        device: cpu, cuda or cuda:N; the GPU if there is one, where None.

    Raises:
        ValueError: the run is no potential, the part is empty or has no labels, or the store is not what it
            was trained on.
        RecordError: there is no record.
        PotentialError: there is no trained model.
    """
    record = RunRecord.load(run)
    if record.family == "chemgpt":
        raise ValueError(f"{run} is a {record.family}: this is for potentials.")
    if part not in PARTS:
        raise ValueError(f"--part {part}: choose one of {', '.join(PARTS)}.")
    if by not in BY:
        raise ValueError(f"--by {by}: choose one of {', '.join(BY)}.")
    place = named_device(device)
    store = _store_of(run, record)
    chosen = np.asarray(store.part(part)[:frames])
    if not len(chosen):
        raise ValueError(f"{store.path}: its {part} part is empty.")
    found = labels_of(store, chosen)
    labels = {"energies": found["energies"], "force_components": found["components"]}
    labels |= {"stress_components": found["stresses"]} if found["stresses"] else {}
    if not any(labels.values()):
        raise ValueError(f"{store.path}: no frame of its {part} part has an energy, forces or a stress.")
    potential = load_potential(run / "model").to(place).requires_grad_(False)
    errors = _errors(potential, store, part, chosen, batch, forces=found["components"] > 0)
    values, elements = tables.values(errors), tables.elements(errors)
    groups = tables.table(errors, *_groups(store, chosen, by))
    facts = _facts(run, store, part, labels, len(chosen))
    worst = [
        {"where": store.where(int(chosen[i])), "quantity": name, "error": error}
        for i, name, error in tables.worst(errors)
    ]
    path, page = run / f"evaluation-{part}.json", run / f"evaluation-{part}.html"
    content: dict[str, Any] = {"frames": len(chosen), "labels": labels, "values": values, "by": by}
    content |= {"groups": [g.to_dict() for g in groups], "elements": [e.to_dict() for e in elements]}
    write_json(path, content | {"worst": worst})
    write_page(page, f"{record.name}: {part} part", facts, groups, elements, worst, errors)
    log.info("%s", facts[-1])
    return Evaluation(values, groups, elements, path, page)


def _store_of(run: Path, record: RunRecord) -> FrameStore:
    data = read_structure_data(record.config["data"])
    store = open_or_prepare_structures(data, local_place(record.config["structures"]))
    if store.hash != record.data_hash:
        raise ValueError(
            f"{store.path} is not what {run} was trained on: the hashes differ. The file changed, or this "
            "version reads other labels in it (its notes: python -m chemscale.prepare with the same data)."
        )
    return store


def _errors(
    potential: Potential, store: FrameStore, part: str, chosen: np.ndarray, batch: int, *, forces: bool
) -> FrameErrors:
    """Predict frames and compare each with its labels."""
    place = potential.references.device
    edges = EdgeCache(store, part, potential.cutoff).open(len(chosen))
    batches = ValidationFrames(store, chosen, edges, BatchBudget(frames=batch))
    errors = FrameErrors(potential.elements)
    with ProgressBar("evaluate", len(batches), "batches", every=5) as progress:
        for index in range(len(batches)):
            data = batches[index].to(place)
            stress = data.get("stress") is not None
            errors.add(potential, data, potential(data, forces=forces, stress=stress, create_graph=False))
            progress.advance(1)
    return errors


def _groups(store: FrameStore, chosen: np.ndarray, by: str) -> tuple[list[str], np.ndarray]:
    """Names of groups, and the number of each frame's."""
    if by == "config_type":
        return store.names, np.asarray(store.groups[chosen])
    known: dict[str, int] = {}
    numbers = [known.setdefault(formula(store.numbers(int(frame))), len(known)) for frame in chosen]
    return list(known), np.array(numbers)


def _facts(run: Path, store: FrameStore, part: str, labels: dict[str, int], frames: int) -> list[str]:
    """Sentences on what was compared with what."""
    level = store.manifest["level"] or "level of theory not stated"
    names = "; ".join(place["name"] for place in store.manifest.get("labels", []))
    compared = [f"{count:,} {kind.replace('_', ' ')}" for kind, count in labels.items()]
    listed = ", ".join(compared[:-1]) + f" and {compared[-1]}" if len(compared) > 1 else compared[0]
    return [
        f"Model of {run}; structures {store.path.name} ({level}).",
        f"{frames:,} frames of the {part} part: {listed} are compared"
        + (f" ({names}, as in training)." if names else "."),
    ]
