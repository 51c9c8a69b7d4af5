"""The training frames of a parent, found again by their hash."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from chemscale.common.sections import ConfigurationError
from chemscale.objects.address import local_place
from chemscale.points.data import read_structure_data
from chemscale.points.parents.parent import Parent
from chemscale.points.shared_data import SharedData
from chemscale.points.uncertainty.chosen import selected_positions
from chemscale.structures.data_module import group_weights
from chemscale.structures.edges import ChosenEdges, EdgeCache, Edges
from chemscale.structures.replay.frames import Replay
from chemscale.structures.store import MANIFEST, FrameStore


def recorded_data(parent: Parent) -> tuple[str, dict[str, Any]]:
    """Hash of the data that a parent was trained on, and the configuration of its run.

    Args:
        parent: that a potential begins from.

    Raises:
        ConfigurationError: it is a folder without a record.
    """
    if parent.record is None:
        raise ConfigurationError(
            f"model.replay: {parent.folder} has no record of a run beside it that says on which frames it "
            "was trained. Name its run by model.from, or leave model.replay out."
        )
    return parent.record.data_hash, parent.record.config


def open_replay(
    parent: Parent,
    share: float,
    shifts: Mapping[int, float],
    cutoff: float,
    shared: SharedData,
    structures: Path,
    *,
    verify: bool = False,
) -> Replay:
    """The frames that a parent was trained on, with their neighbours and the weights that they had.

    Args:
        parent: whose frames.
        share: of an epoch.
        shifts: eV by atomic number, as ``Replay``.
        cutoff: Å.
        shared: data that points have in common.
        structures: where stores are kept here.
        verify: whether every array is compared with its hash.

    Raises:
        ConfigurationError: the data, or the list of those that were chosen of them, are gone, or others lie
            at their place.
    """
    wanted, config = recorded_data(parent)
    store = _find(wanted, {structures, local_place(config["structures"])})
    if store is None:
        store = _prepare_again(wanted, config, parent, shared, structures)
    if verify:
        store.verify()
    data = read_structure_data(config["data"])
    train, cache = store.part("train"), EdgeCache(store, "train", cutoff)
    chosen = selected_positions(store, data)
    edges: Edges
    if chosen is None:
        frames = np.asarray(train[: data.frames])
        edges = cache.open(len(frames))
    else:
        frames = np.asarray(train[chosen[: data.frames]])
        edges = ChosenEdges(cache, chosen[: data.frames])
    return Replay(store, frames, edges, share, shifts, group_weights(store, frames, data.weights))


def _find(wanted: str, roots: set[Path]) -> FrameStore | None:
    """The prepared store of a hash, where one of some folders has it."""
    for root in sorted(roots):
        for manifest in sorted(root.glob(f"*/{MANIFEST}")):
            if json.loads(manifest.read_text()).get("hash") == wanted:
                return FrameStore(manifest.parent)
    return None


def _prepare_again(
    wanted: str, config: Mapping[str, Any], parent: Parent, shared: SharedData, structures: Path
) -> FrameStore:
    """The store made anew of the parent's files, if they hold what they held."""
    path = config["data"].get("path") or config["data"].get("source")
    gone = (
        f"model.replay: {parent.name} was trained on {path} (hash {wanted[:12]}), which is not prepared in "
        f"{structures} any more"
    )
    way = "Put the file back as it was, or leave model.replay out."
    try:
        store = shared.store(read_structure_data(config["data"]), structures, "off")
    except (ValueError, OSError) as error:
        raise ConfigurationError(f"{gone}, and cannot be made again ({error}) {way}") from None
    if store.hash != wanted:
        raise ConfigurationError(f"{gone}, and the file holds other frames now. {way}")
    return store
