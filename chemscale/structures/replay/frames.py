"""Frames of an earlier training set among those of a new one: a fixed share of every epoch, drawn in turn.

Learning old examples again beside new ones ("rehearsal") is the plainest remedy for forgetting (R. Ratcliff,
Connectionist models of recognition memory, Psychological Review 97, 285, 1990).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from chemscale.structures.batches import BatchBudget, EpochPlan, FrameBatches, labels_of, members_of
from chemscale.structures.edges import Edges
from chemscale.structures.graphs import Joined, Structure, join
from chemscale.structures.store import FrameStore


@dataclass(frozen=True, eq=False)
class Replay:
    """Old frames, and how many of them an epoch has.

    Args:
        store: where they are read from; weights that its frames have of their own hold.
        frames: (P,) their numbers in it.
        edges: of these frames, within the cutoff of the new ones.
        share: of all frames of an epoch.
        shifts: eV by atomic number that an atom adds to the energy of an old frame, which puts it on the
            energy scale of the new ones.
        weights: (P,) by which their errors are multiplied besides; None for 1.
    """

    store: FrameStore
    frames: np.ndarray
    edges: Edges
    share: float
    shifts: Mapping[int, float]
    weights: np.ndarray | None = None

    def count(self, new: int) -> int:
        """Old frames of an epoch, at least one.

        Args:
            new: frames of it that are new.
        """
        return max(1, round(new * self.share / (1 - self.share)))

    def plan(self, atoms: np.ndarray, edges: np.ndarray, budget: BatchBudget, seed: int) -> ReplayPlan:
        """Which frames make up each step.

        Args:
            atoms: (F,) of each new frame.
            edges: (F,) of each new frame.
            budget: of a step.
            seed: of the order of the data.
        """
        atoms = np.concatenate([atoms, self.store.sizes[self.frames]])
        edges = np.concatenate([edges, self.edges.counts])
        new = len(atoms) - len(self.frames)
        return ReplayPlan(atoms, edges, budget, seed, new=new, drawn=self.count(new))

    def structure(self, structure: Structure) -> Structure:
        """An old frame on the energy scale of the new ones.

        Args:
            structure: as its store has it.
        """
        shift = sum(self.shifts.get(int(z), 0.0) for z in structure.numbers)
        return replace(structure, energy=structure.energy + shift)


class ReplayPlan(EpochPlan):
    """Every epoch has all new frames and so many of the old ones, shuffled together.

    Old frames come in turn: a shuffled pass over all of them goes on from epoch to epoch, then another one.
    Positions from `new` on are of old frames. Like its base a pure function of the seed.

    Args:
        atoms: (F + P,) of each frame, old ones last.
        edges: (F + P,) likewise.
        budget: of a step.
        seed: of the order of the data.
        new: F.
        drawn: old frames of an epoch.
    """

    def __init__(
        self, atoms: np.ndarray, edges: np.ndarray, budget: BatchBudget, seed: int, *, new: int, drawn: int
    ):
        super().__init__(atoms, edges, budget, seed)
        self.new, self.drawn = new, drawn

    def order(self, number: int) -> np.ndarray:
        """Positions of the frames of an epoch, as ``EpochPlan.order``."""
        positions = np.concatenate([np.arange(self.new), self.new + self.old(number)])
        return np.random.default_rng((self.seed, number)).permutation(positions)

    def old(self, number: int) -> np.ndarray:
        """Which old frames an epoch has, (drawn,).

        Args:
            number: of the epoch.
        """
        pool = len(self.atoms) - self.new
        turns = np.arange(number * self.drawn, (number + 1) * self.drawn)
        found = np.empty(self.drawn, np.int64)
        for turn in np.unique(turns // pool):
            of_turn = np.random.default_rng((self.seed, int(turn), 1)).permutation(pool)
            mine = turns // pool == turn
            found[mine] = of_turn[turns[mine] % pool]
        return found


class ReplayBatches(FrameBatches):
    """Micro-batches of new frames and old ones.

    Args:
        replay: the old frames.
        given: as ``FrameBatches``, with a ``ReplayPlan``.
    """

    def __init__(self, replay: Replay, *given: Any, **options: Any):
        super().__init__(*given, **options)
        self.replay = replay

    def expect(self, positions: np.ndarray) -> None:
        """Let the kernel read frames ahead, as ``FrameBatches.expect``."""
        new, replay = len(self.frames), self.replay
        super().expect(positions[positions < new])
        old = positions[positions >= new] - new
        replay.store.expect(replay.frames[old])
        replay.edges.expect(old)

    def read(self, positions: np.ndarray) -> Joined:
        """Frames one after another, as ``FrameBatches.read``."""
        return join(self.members(positions))

    def members(self, positions: np.ndarray) -> list[Structure]:
        """Frames with their neighbours, as ``FrameBatches.members``."""
        new, replay = len(self.frames), self.replay
        found = []
        for position in positions:
            if position < new:
                found += members_of(self.store, self.frames, self.edges, [position], self.weights)
            else:
                (old,) = members_of(
                    replay.store, replay.frames, replay.edges, [position - new], replay.weights
                )
                found.append(replay.structure(old))
        return found

    def labels_of(self, positions: np.ndarray) -> dict[str, int]:
        """Labels of frames, as ``FrameBatches.labels_of``."""
        new, replay = len(self.frames), self.replay
        own = labels_of(self.store, self.frames[positions[positions < new]])
        old = labels_of(replay.store, replay.frames[positions[positions >= new] - new])
        return {key: own[key] + old[key] for key in own}
