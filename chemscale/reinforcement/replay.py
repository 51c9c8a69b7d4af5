"""The best molecules so far, of which each step learns again (experience replay)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Memory:
    """One remembered molecule.

    Args:
        smiles: canonical.
        ids: of its symbols, as they were drawn.
        reward: above 0.
        prior_nll: nats under the prior.
    """

    smiles: str
    ids: tuple[int, ...]
    reward: float
    prior_nll: float


class Replay:
    """At most so many of the best molecules, each once.

    Args:
        size: molecules that are kept.
        choice: ``prioritised``: drawn in proportion to their reward, as REINVENT's; ``random``: equally.
    """

    def __init__(self, size: int, choice: str):
        self.size, self.choice = size, choice
        self.memories: list[Memory] = []

    def add(self, found: Iterable[Memory]) -> None:
        """Remember molecules; those without a reward, and those that are there already, are left out."""
        known = {each.smiles for each in self.memories}
        for memory in found:
            if memory.reward > 0 and memory.smiles not in known:
                known.add(memory.smiles)
                self.memories.append(memory)
        self.memories.sort(key=lambda memory: -memory.reward)  # stable: of equals the older one first
        del self.memories[self.size :]

    def sample(self, number: int, rng: np.random.Generator) -> list[Memory]:
        """Draw molecules without repetition, fewer where there are fewer.

        Args:
            number: of molecules.
            rng: of random numbers.
        """
        number = min(number, len(self.memories))
        if not number:
            return []
        rewards = np.array([memory.reward for memory in self.memories])
        weights = rewards / rewards.sum() if self.choice == "prioritised" else None
        return [self.memories[i] for i in rng.choice(len(rewards), number, replace=False, p=weights)]

    def to_list(self) -> list[dict[str, Any]]:
        """What it holds, as JSON has it."""
        return [asdict(memory) for memory in self.memories]

    def restore(self, raw: Iterable[dict[str, Any]]) -> None:
        """Hold what ``to_list`` gave."""
        self.memories = [Memory(r["smiles"], tuple(r["ids"]), r["reward"], r["prior_nll"]) for r in raw]
