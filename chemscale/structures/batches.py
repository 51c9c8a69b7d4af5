"""Batches under a budget of frames, atoms and edges, packed anew each epoch, addressed by a number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Dataset
from torch_geometric.data import Data

from chemscale.structures.edges import Edges
from chemscale.structures.graphs import Joined, Structure, to_graph
from chemscale.structures.store import FrameStore


class BatchError(ValueError):
    """A budget that cannot hold the data."""


@dataclass(frozen=True)
class BatchBudget:
    """The most that one optimizer step may hold, over all ranks and micro-batches; None is no limit.

    Args:
        frames: structures.
        atoms: of all structures.
        edges: of all structures.

    Raises:
        BatchError: no limit at all, or one below 1.
    """

    frames: int | None = None
    atoms: int | None = None
    edges: int | None = None

    def __post_init__(self) -> None:
        limits = {key: getattr(self, key) for key in ("frames", "atoms", "edges")}
        if all(limit is None for limit in limits.values()):
            raise BatchError("Set at least one of batch.frames, batch.atoms and batch.edges.")
        for key, limit in limits.items():
            if limit is not None and limit < 1:
                raise BatchError(f"batch.{key}={limit}: must be at least 1.")

    def share(self, parts: int, atoms: np.ndarray, edges: np.ndarray) -> BatchBudget:
        """The budget of one part of a step, rounded up, and at least the largest structure.

        Args:
            parts: that a step is divided into.
            atoms: (F,) of each frame.
            edges: (F,) of each frame.
        """
        largest = {"frames": 1, "atoms": int(atoms.max(initial=1)), "edges": int(edges.max(initial=1))}
        limits = {key: getattr(self, key) for key in largest}
        return BatchBudget(
            **{k: limit and max(largest[k], math.ceil(limit / parts)) for k, limit in limits.items()}
        )

    def check(self, atoms: np.ndarray, edges: np.ndarray) -> None:
        """Refuse a budget that the largest structure does not fit in.

        Args:
            atoms: (F,) of each frame.
            edges: (F,) of each frame.

        Raises:
            BatchError: naming the limit and what it has to be at least.
        """
        for key, limit, largest in (
            ("atoms", self.atoms, atoms.max(initial=0)),
            ("edges", self.edges, edges.max(initial=0)),
        ):
            if limit is not None and largest > limit:
                raise BatchError(
                    f"batch.{key}={limit}, but the largest structure has {largest} {key}: raise it to that."
                )


class EpochPlan:
    """Which frames make up optimizer step i of the whole run: a pure function of (seed, i).

    Each epoch shuffles its frames and cuts the sequence where the budget is full. Ranks and micro-batches do
    not enter: they share a step's frames among them (``deal``).

    Args:
        atoms: (F,) of each frame of the subset.
        edges: (F,) of each frame of the subset.
        budget: of a step.
        seed: of the order of the data.
    """

    def __init__(self, atoms: np.ndarray, edges: np.ndarray, budget: BatchBudget, seed: int):
        self.atoms, self.edges = np.asarray(atoms, np.int64), np.asarray(edges, np.int64)
        self.budget, self.seed = budget, seed
        budget.check(self.atoms, self.edges)
        self._starts = [0]
        self._epoch: tuple[int, np.ndarray, np.ndarray] | None = None

    def epoch(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Order of the frames in an epoch, (F,), and where each step starts in it, (steps + 1,).

        Args:
            number: of the epoch.
        """
        if self._epoch is None or self._epoch[0] != number:
            order = self.order(number)
            self._epoch = (number, order, cut(self.atoms[order], self.edges[order], self.budget))
        return self._epoch[1:]

    def order(self, number: int) -> np.ndarray:
        """Positions of the frames of an epoch within the subset, (F,).

        Args:
            number: of the epoch.
        """
        return np.random.default_rng((self.seed, number)).permutation(len(self.atoms))

    def locate(self, index: int) -> tuple[int, int]:
        """Epoch of a step, and its number within that.

        Args:
            index: of the step in the run.
        """
        while self._starts[-1] <= index:
            batches = len(self.epoch(len(self._starts) - 1)[1]) - 1
            self._starts.append(self._starts[-1] + batches)
        epoch = int(np.searchsorted(self._starts, index, side="right")) - 1
        return epoch, index - self._starts[epoch]

    def frames(self, index: int) -> np.ndarray:
        """Positions within the subset of a step's frames.

        Args:
            index: of the step in the run.
        """
        epoch, batch = self.locate(index)
        order, bounds = self.epoch(epoch)
        return order[bounds[batch] : bounds[batch + 1]]


def cut(atoms: np.ndarray, edges: np.ndarray, budget: BatchBudget) -> np.ndarray:
    """Boundaries that fill each batch of a sequence as far as the budget goes, (batches + 1,).

    Args:
        atoms: (F,) of each frame, in order.
        edges: (F,) of each frame, in order.
        budget: of a batch.
    """
    atoms_so_far = np.concatenate([[0], np.cumsum(atoms)])
    edges_so_far = np.concatenate([[0], np.cumsum(edges)])
    bounds = [0]
    while bounds[-1] < len(atoms):
        start, end = bounds[-1], len(atoms)
        if budget.frames is not None:
            end = min(end, start + budget.frames)
        for limit, total in ((budget.atoms, atoms_so_far), (budget.edges, edges_so_far)):
            if limit is not None:
                end = min(end, int(np.searchsorted(total, total[start] + limit, side="right")) - 1)
        bounds.append(max(end, start + 1))
    return np.array(bounds)


def deal(loads: np.ndarray, parts: int) -> list[np.ndarray]:
    """Share the frames of a step among `parts` micro-batches, nearly evenly in number and in load.

    In rounds: the heaviest frames that are left, one for each part, the heaviest of them to the part that has
    least. A part is empty only where there are fewer frames than parts.

    Args:
        loads: (n,) what each frame costs.
        parts: number of micro-batches.

    Returns:
        For each part the rising positions of its frames, each position in exactly one part.
    """
    if parts == 1:
        return [np.arange(len(loads))]
    order = np.argsort(-loads, kind="stable")
    totals = np.zeros(parts, dtype=np.int64)
    members: list[list[int]] = [[] for _ in range(parts)]
    for start in range(0, len(order), parts):
        round_ = order[start : start + parts]
        for frame, part in zip(round_, np.argsort(totals, kind="stable"), strict=False):
            members[part].append(int(frame))
            totals[part] += loads[frame]
    return [np.array(sorted(part), dtype=np.int64) for part in members]


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
        batch = batch_of(self.read(mine if len(mine) else whole[:1]))
        if not len(mine):
            _take_labels(batch)
        # As if the step were one batch: what is counted must not depend on how it is cut.
        batch.padded_pairs = len(mine) * int(atoms.max()) ** 2
        totals = labels(batch) if len(parts) == 1 else self.labels_of(whole)
        batch.step_energies, batch.step_components = totals["energies"], totals["components"]
        batch.step_stresses = totals["stresses"]
        return batch

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
    if store.manifest["counts"]["force_components_missing"]:
        forces = [f for f in (store.structure(int(frame)).forces for frame in frames) if f is not None]
        components = sum(int(np.isfinite(f).sum()) for f in forces)
    else:
        components = 3 * int(np.asarray(store.sizes[frames], np.int64).sum())
    return {
        "energies": int(np.isfinite(store.energies(frames)).sum()),
        "components": components,
        "stresses": int(np.isfinite(store.stresses(frames)[store.is_periodic(frames)]).sum())
        if store.has_stresses
        else 0,
    }
