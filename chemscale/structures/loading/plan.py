"""Which frames make up which step: a budget of frames, atoms and edges, packed anew each epoch."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


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

    def is_at_hand(self, index: int) -> bool:
        """Whether the frames of a step are found without packing another epoch than the last one asked for.

        Args:
            index: of the step in the run.
        """
        if self._epoch is None or len(self._starts) <= self._epoch[0]:
            return False
        start = self._starts[self._epoch[0]]
        return start <= index < start + len(self._epoch[2]) - 1

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
    totals = [
        (limit, np.concatenate([[0], np.cumsum(each, dtype=np.int64)]))
        for limit, each in ((budget.atoms, atoms), (budget.edges, edges))
        if limit is not None
    ]
    bounds = [0]
    while bounds[-1] < len(atoms):
        start, end = bounds[-1], len(atoms)
        if budget.frames is not None:
            end = min(end, start + budget.frames)
        for limit, total in totals:
            end = min(end, int(np.searchsorted(total, total[start] + limit, side="right")) - 1)
        bounds.append(max(end, start + 1))
    return np.array(bounds)


def spans(atoms: np.ndarray, most_frames: int, most_atoms: int) -> Iterator[slice]:
    """Cut a sequence of frames for what is read together, so that few large ones take no more memory.

    Args:
        atoms: (F,) of each frame, in order.
        most_frames: of a span.
        most_atoms: of a span; a larger frame has one of its own.
    """
    bounds = cut(atoms, atoms, BatchBudget(frames=most_frames, atoms=most_atoms))
    return itertools.starmap(slice, itertools.pairwise(bounds.tolist()))


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
