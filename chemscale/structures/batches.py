"""Batches under a budget of frames, atoms and edges, packed anew each epoch, addressed by a number."""

from __future__ import annotations

import resource
from collections.abc import Sequence

import numpy as np
import torch
from torch.utils.data import Dataset, get_worker_info
from torch_geometric.data import Data

from chemscale.structures.edges import Edges
from chemscale.structures.graphs import Joined, Structure, to_graph
from chemscale.structures.loading.frame_blocks import AT_ONCE, ATOMS_AT_ONCE
from chemscale.structures.loading.plan import BatchBudget, BatchError, EpochPlan, cut, deal, spans
from chemscale.structures.store import FrameStore

__all__ = [
    "BatchBudget",
    "BatchError",
    "EpochPlan",
    "FrameBatches",
    "ValidationFrames",
    "batch_of",
    "cut",
    "deal",
    "joined_of",
    "labels",
    "labels_of",
    "members_of",
    "read_batch",
]


READ_AHEAD = 100
"""Batches that the kernel is asked for ahead of time once one had to wait for the disk: those that were asked
for wait no more, and do not tell that it was needed."""


class FrameBatches(Dataset[Data]):
    """Micro-batches of a training subset by their number in the run.

    Each carries ``counts`` (frames, atoms, edges) and what the whole optimizer step holds: labelled energies,
    force and stress components, so that every label weighs the same however a step is cut into micro-batches
    and ranks. A rank that the short last step of an epoch leaves without a frame gets one of the step's
    frames without its labels: it computes along with the others, and adds nothing.

    Args:
        store: where frames are read from.
        frames: (F,) numbers in the store of the subset's frames.
        edges: of the subset's frames.
        plan: which frames make up a step.
        accumulate: micro-batches of an optimizer step on one rank.
        rank: number of this rank.
        world: number of ranks.
        weights: (F,) by which errors of the frames are multiplied, beside weights of their own; None for 1.

    Raises:
        BatchError: more parts than any step has frames.
    """

    def __init__(
        self,
        store: FrameStore,
        frames: np.ndarray,
        edges: Edges,
        plan: EpochPlan,
        *,
        accumulate: int = 1,
        rank: int = 0,
        world: int = 1,
        weights: np.ndarray | None = None,
    ):
        self.store, self.frames, self.edges, self.plan = store, frames, edges, plan
        self.weights = weights
        self.accumulate, self.rank, self.world = accumulate, rank, world
        self._reads_ahead = 0
        fullest = int(np.diff(plan.epoch(0)[1]).max())
        if fullest < accumulate * world:
            raise BatchError(
                f"An optimiser step has at most {fullest} frames, too few for batch.accumulate × ranks = "
                f"{accumulate} × {world} micro-batches: raise batch.frames (or batch.atoms, batch.edges), "
                "which is what a whole step holds, or use fewer ranks."
            )

    def __getitem__(self, index: int) -> Data:
        step, micro = divmod(index, self.accumulate)
        whole = self.plan.frames(step)
        atoms = self.plan.atoms[whole]
        parts = deal(atoms + self.plan.edges[whole], self.accumulate * self.world)
        mine = whole[parts[micro * self.world + self.rank]]
        fetched = _pages_from_disk()
        batch = batch_of(self.read(mine if len(mine) else whole[:1]))
        # What does not lie in memory is asked for while the batch before it is trained on.
        self._reads_ahead = READ_AHEAD if _pages_from_disk() > fetched else max(0, self._reads_ahead - 1)
        if self._reads_ahead:
            worker = get_worker_info()
            self._expect(index + (1 if worker is None else worker.num_workers))
        if not len(mine):
            _take_labels(batch)
        # As if the step were one batch: what is counted must not depend on how it is cut.
        batch.padded_pairs = len(mine) * int(atoms.max()) ** 2
        totals = labels(batch) if len(parts) == 1 else self.labels_of(whole)
        batch.step_energies, batch.step_components = totals["energies"], totals["components"]
        batch.step_stresses = totals["stresses"]
        return batch

    def _expect(self, index: int) -> None:
        """Let the kernel read the frames of a later batch of the same epoch, without waiting for them."""
        step, micro = divmod(index, self.accumulate)
        if not self.plan.is_at_hand(step):
            return
        whole = self.plan.frames(step)
        parts = deal(self.plan.atoms[whole] + self.plan.edges[whole], self.accumulate * self.world)
        self.expect(whole[parts[micro * self.world + self.rank]])

    def expect(self, positions: np.ndarray) -> None:
        """Let the kernel read frames of the subset ahead.

        Args:
            positions: of them within the subset.
        """
        self.store.expect(np.asarray(self.frames[positions]))
        self.edges.expect(positions)

    def read(self, positions: np.ndarray) -> Joined:
        """Frames of the subset one after another, with their neighbours.

        Args:
            positions: of them within the subset.
        """
        return joined_of(self.store, self.frames, self.edges, positions, self.weights)

    def members(self, positions: np.ndarray) -> list[Structure]:
        """Frames of the subset one by one, with their neighbours.

        Args:
            positions: of them within the subset.
        """
        return members_of(self.store, self.frames, self.edges, positions, self.weights)

    def labels_of(self, positions: np.ndarray) -> dict[str, int]:
        """Count labelled energies, force and stress components of frames of the subset.

        Args:
            positions: of them within the subset.
        """
        return labels_of(self.store, self.frames[positions])


def _pages_from_disk() -> int:
    """Pages that this process had to wait for because they were not in memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_majflt


def _take_labels(batch: Data) -> None:
    """Leave a batch that weighs nothing: no label, and no frame to be counted."""
    batch.energy = torch.full_like(batch.energy, torch.nan)
    batch.forces = torch.full_like(batch.forces, torch.nan)
    if batch.get("stress") is not None:
        batch.stress = torch.full_like(batch.stress, torch.nan)
    batch.counts = dict.fromkeys(batch.counts, 0)


class ValidationFrames(Dataset[Data]):
    """A fixed set of frames in order, in batches under a budget.

    Args:
        store: where frames are read from.
        frames: (F,) numbers in the store.
        edges: of the frames.
        budget: of a batch.

    Raises:
        BatchError: the largest structure does not fit.
    """

    def __init__(self, store: FrameStore, frames: np.ndarray, edges: Edges, budget: BatchBudget):
        self.store, self.frames, self.edges = store, frames, edges
        budget.check(store.sizes[frames], edges.counts)
        self.bounds = cut(np.asarray(store.sizes[frames]), edges.counts, budget)

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def __getitem__(self, index: int) -> Data:
        if index >= len(self):
            raise IndexError(index)
        positions = np.arange(self.bounds[index], self.bounds[index + 1])
        return read_batch(self.store, self.frames, self.edges, positions)


def read_batch(
    store: FrameStore,
    frames: np.ndarray,
    edges: Edges,
    positions: np.ndarray,
    weights: np.ndarray | None = None,
) -> Data:
    """Some frames of a subset as one graph, with their counts.

    ``padded_pairs`` are the pairs of atoms if every structure were as large as the largest.

    Args:
        store: where frames are read from.
        frames: (F,) numbers in the store of the subset's frames.
        edges: of the subset's frames.
        positions: of the wanted frames within the subset.
        weights: (F,) by which errors of the subset's frames are multiplied; None for 1.
    """
    return batch_of(joined_of(store, frames, edges, positions, weights))


def joined_of(
    store: FrameStore,
    frames: np.ndarray,
    edges: Edges,
    positions: np.ndarray,
    weights: np.ndarray | None = None,
) -> Joined:
    """Some frames of a subset one after another, with their neighbours; arguments as ``read_batch``."""
    positions = np.asarray(positions)
    joined = edges.join(store.joined(np.asarray(frames[positions])), positions)
    if weights is not None:
        joined.weights = joined.weights * weights[positions]
    return joined


def members_of(
    store: FrameStore,
    frames: np.ndarray,
    edges: Edges,
    positions: Sequence[int] | np.ndarray,
    weights: np.ndarray | None = None,
) -> list[Structure]:
    """Some frames of a subset with their neighbours; arguments as ``read_batch``."""
    members = [edges.attach(store.structure(int(frames[p])), int(p)) for p in positions]
    if weights is not None:
        for member, position in zip(members, positions, strict=True):
            member.weight *= float(weights[position])
    return members


def batch_of(joined: Joined) -> Data:
    """Structures as one graph, with their counts, as ``read_batch``.

    Args:
        joined: one after another, with their neighbours.
    """
    batch = to_graph(joined)
    batch.padded_pairs = len(joined) * batch.largest**2
    batch.counts = {"frames": len(joined), "atoms": batch.z.shape[0], "edges": batch.edge_index.shape[1]}
    return batch


def labels(batch: Data) -> dict[str, int]:
    """Count labelled energies, force components and stress components of a batch."""
    stress = batch.get("stress")
    return {
        "energies": int(batch.energy.isfinite().sum()),
        "components": int(batch.forces.isfinite().sum()),
        "stresses": 0 if stress is None else int(stress.isfinite().sum()),
    }


def labels_of(store: FrameStore, frames: np.ndarray) -> dict[str, int]:
    """Count labelled energies, force and stress components of frames of a store, without making a batch.

    Args:
        store: where they are.
        frames: their numbers in it.
    """
    found = dict.fromkeys(("energies", "components", "stresses"), 0)
    for span in spans(store.sizes[frames], AT_ONCE, ATOMS_AT_ONCE):  # a whole training set may be asked for
        part = np.asarray(frames[span])
        found["energies"] += int(np.isfinite(store.energies(part)).sum())
        if store.manifest["counts"]["force_components_missing"]:
            found["components"] += int(np.isfinite(store.forces(part)).sum())
        else:
            found["components"] += 3 * int(store.sizes[part].sum(dtype=np.int64))
        if store.has_stresses:
            found["stresses"] += int(np.isfinite(store.stresses(part[store.is_periodic(part)])).sum())
    return found
