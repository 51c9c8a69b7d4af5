"""Rounds of active learning on a store whose labels are hidden until frames are chosen.

The training part is the pool. Its labels, of the quantum method that made the store, are what a teacher would
answer when asked: looking one up is exact and costs nothing. Every choice is a function of the store, of the
trained members and of numbers in the configuration, and is kept in a file named by the hash of these: the
same command decides again as it did.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from chemscale.common.progress import ProgressBar
from chemscale.common.sections import ConfigurationError
from chemscale.objects.address import local_place
from chemscale.points.data import open_or_prepare_structures, read_structure_data
from chemscale.points.uncertainty.chosen import ChosenFrames
from chemscale.points.uncertainty.opening import Uncertain
from chemscale.points.uncertainty.pool import score
from chemscale.records import PointPlan
from chemscale.structures.batches import BatchBudget, ValidationFrames
from chemscale.structures.edges import ChosenEdges, EdgeCache
from chemscale.structures.store import FrameStore
from chemscale.structures.uncertainty.features import last_layer_features
from chemscale.structures.uncertainty.members import find_members
from chemscale.structures.uncertainty.selection import METHODS, farthest, most_uncertain, whitened

log = logging.getLogger(__name__)

RULE_VERSION = 1
"""Raise it when the same inputs would be decided otherwise."""


def choose_frames(
    config: Mapping[str, Any],
    *,
    method: str,
    labels: int,
    repeat: int,
    candidates: int,
    earlier: Path | None,
    members: Sequence[PointPlan],
    folder: Path,
) -> Path:
    """Decide which training frames a round may learn from, or find what was decided.

    Args:
        config: resolved, of a point of the sweep: its data are the pool.
        method: uncertain, farthest or random.
        labels: frames that the round learns from, those of the earlier round among them.
        repeat: number of the repetition: it decides the first frames and every random one.
        candidates: frames of the pool that a model looks at, at most, drawn anew each round.
        earlier: list of the frames of the round before; None for the first.
        members: of the committee of the round before.
        folder: of the lists.

    Returns:
        The file that lists them.

    Raises:
        ConfigurationError: the pool has too few frames, the method is none, or ``data.frames`` would cut
            what a round learns from.
    """
    if method not in METHODS:
        raise ConfigurationError(f"hydra.sweeper.methods: {method!r} is none of {', '.join(METHODS)}.")
    data = read_structure_data(config["data"])
    if data.frames is not None:
        raise ConfigurationError(
            f"data.frames={data.frames}: rounds of active learning learn from as many frames as "
            "hydra.sweeper.rounds says. Leave data.frames out."
        )
    store = open_or_prepare_structures(data, local_place(config["structures"]))
    pool = len(store.part("train"))
    if labels > pool:
        raise ConfigurationError(
            f"hydra.sweeper.rounds: {labels} labels are wanted, the pool has {pool} training frames."
        )
    before = ChosenFrames.load(earlier) if earlier else None
    if before is not None and labels <= len(before.positions):
        raise ConfigurationError("hydra.sweeper.rounds: give rising numbers of labels.")
    made_of = {
        "rule": RULE_VERSION, "store": store.hash, "method": method if before else "first", "labels": labels,
        "repeat": repeat, "candidates": candidates if before and method != "random" else None,
        "earlier": before.sha256 if before else None,
        "members": sorted(plan.identity for plan in members) if before and method != "random" else [],
    }  # fmt: skip
    key = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:12]
    path = folder / f"{made_of['method']}-{repeat}-n{labels}-{key}.json"
    if path.exists():
        return path
    chosen = _decide(store, before, method, labels, repeat, candidates, members)
    ChosenFrames(store.hash, tuple(int(n) for n in chosen), made_of).save(path)
    return path


def _decide(
    store: FrameStore,
    before: ChosenFrames | None,
    method: str,
    labels: int,
    repeat: int,
    candidates: int,
    members: Sequence[PointPlan],
) -> np.ndarray:
    """Positions in the training part, those of before first."""
    order = np.random.default_rng((repeat, 0)).permutation(len(store.part("train")))
    if before is None:
        return order[:labels]
    old = np.array(before.positions, np.int64)
    left = order[~np.isin(order, old)]
    wanted = labels - len(old)
    if method == "random":
        return np.concatenate([old, left[:wanted]])
    drawn = np.sort(np.random.default_rng((repeat, labels)).permutation(left)[: max(candidates, wanted)])
    committee = find_members([plan.directory for plan in members]).load()
    opened = Uncertain(committee, torch.device("cpu"), None, "round", len(members) - 1, False)
    features, scores = _looked_at(store, opened, drawn, scored=method == "uncertain")
    mean, deviation = whitened(features)
    features = (features - mean) / deviation
    if method == "uncertain":
        return np.concatenate([old, drawn[most_uncertain(scores, features, wanted)]])
    known = (_looked_at(store, opened, old, scored=False)[0] - mean) / deviation
    return np.concatenate([old, drawn[farthest(features, wanted, known=known)[0]]])


def _looked_at(
    store: FrameStore, opened: Uncertain, positions: np.ndarray, *, scored: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Mean last-layer features (k, P) and scores (k,) of training frames; no label is read."""
    cutoff = opened.model.cutoff
    edges = ChosenEdges(EdgeCache(store, "train", cutoff), positions)
    frames = np.asarray(store.part("train")[positions])
    batches = ValidationFrames(store, frames, edges, BatchBudget(frames=64))
    features, scores = [], []
    with ProgressBar("pool", len(frames), "frames", every=10.0) as progress:
        for index in range(len(batches)):
            batch = batches[index]
            sizes = (batch.ptr[1:] - batch.ptr[:-1]).double()
            found = last_layer_features(opened.potential, batch).of_structures
            features.append((found / sizes[:, None]).numpy())
            if scored:
                scores.append(score(opened, batch).numpy())
            progress.advance(batch.counts["frames"])
    return np.concatenate(features), np.concatenate(scores) if scores else np.zeros(len(frames))
