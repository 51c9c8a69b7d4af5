"""What stands before the molecules of a corpus, and what training leaves out of it now and then."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from chemscale.molecules.order import mix
from chemscale.molecules.ragged import Ragged
from chemscale.molecules.storage.columns import Column
from chemscale.molecules.tokenizers.conditioned import ConditionedTokenizer

SOME = 0.5
"""Share of the molecules with any condition that are seen with some of several."""


@dataclass(frozen=True)
class Prefixes:
    """The prefix of each molecule of a split: one id a value, then the scaffold.

    Args:
        rows: ids of each.
        unknown: the id that stands for each condition where it is not known, in the order of conditions.
        scaffold: whether the last condition is a scaffold, of any number of ids.
    """

    rows: Ragged
    unknown: tuple[int, ...]
    scaffold: bool

    @classmethod
    def of(cls, rows: Ragged, tokenizer: ConditionedTokenizer) -> Prefixes:
        """Stored ids with what a tokenizer says of them.

        Args:
            rows: ids of each molecule.
            tokenizer: that they were made with.
        """
        ids, conditions = tokenizer.condition_ids, tokenizer.conditions
        return cls(rows, tuple(ids[f"<{name}:?>"] for name in conditions.names), conditions.scaffold)

    @property
    def lengths(self) -> Column:
        """(n,) ids of each prefix as it is stored: at most so many positions stand before a molecule."""
        return self.rows.lengths

    def gather(
        self, indices: np.ndarray, left_out: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Ids of prefixes one after another, and the length of each.

        Args:
            indices: (k,) of the molecules.
            left_out: (k, conditions) bool: which to replace by the id for what is not known; None for none.
        """
        ids, lengths = self.rows.gather(indices)
        if left_out is None or not left_out.any():
            return ids, lengths
        ids = ids.copy()
        starts = np.cumsum(lengths) - lengths
        for place, unknown in enumerate(self.unknown):
            ids[starts[left_out[:, place]] + place] = unknown
        if not self.scaffold:
            return ids, lengths
        shortened = np.where(left_out[:, -1], len(self.unknown), lengths)
        within = np.arange(len(ids)) - np.repeat(starts, lengths)
        return ids[within < np.repeat(shortened, lengths)], shortened


@dataclass(frozen=True)
class Dropout:
    """Conditions that a molecule is trained without: a pure function of the seed, the epoch and the molecule.

    With probability `rate` all are left out, so that the model can be sampled without any (as the
    unconditional part of classifier-free guidance, Ho and Salimans 2022). Of several, half of the other
    molecules keep each one by the toss of a coin, so that any of them can be asked for without the others.

    Args:
        rate: the probability; 0 leaves out nothing at all.
        seed: of the data.
    """

    rate: float
    seed: int

    def left_out(self, epochs: np.ndarray, molecules: np.ndarray, conditions: int) -> np.ndarray:
        """Which conditions are left out, (k, conditions) bool.

        Args:
            epochs: (k,) in which epoch each molecule is seen.
            molecules: (k,) their indices in the training set.
            conditions: how many there are.
        """
        draws = [self._uniform(epochs, molecules, number) for number in range(conditions + 2)]
        everything = draws[0] < self.rate
        if conditions == 1:
            return everything[:, None]
        some = draws[1] < (SOME if self.rate else 0.0)
        coins = np.stack(draws[2:], axis=1) < 0.5
        return everything[:, None] | (some[:, None] & coins)

    def _uniform(self, epochs: np.ndarray, molecules: np.ndarray, number: int) -> np.ndarray:
        """(k,) numbers from 0 up to 1."""
        digest = hashlib.blake2b(repr(("conditions", self.seed, number)).encode(), digest_size=8).digest()
        key = np.frombuffer(digest, dtype="<u8")[0]
        value = mix(mix(epochs.astype(np.uint64) ^ key) ^ molecules.astype(np.uint64))
        return (mix(value) >> np.uint64(11)).astype(np.float64) / 2.0**53


def before(
    prefixes: tuple[np.ndarray, np.ndarray], molecules: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Put each prefix before its molecule.

    Args:
        prefixes: ids one after another, and how many each has.
        molecules: likewise.

    Returns:
        The same of both together.
    """
    (ids, sizes), (symbols, lengths) = prefixes, molecules
    both = sizes + lengths
    starts = np.cumsum(both) - both
    is_prefix = np.arange(int(both.sum())) - np.repeat(starts, both) < np.repeat(sizes, both)
    out = np.empty(len(is_prefix), dtype=np.uint16)
    out[is_prefix], out[~is_prefix] = ids, symbols
    return out, both
