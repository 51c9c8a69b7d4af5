"""What was drawn and what was kept of it, counted; and which molecules were seen before."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from chemscale.molecules.generation.decoding import Row


class Seen:
    """Molecules by 64-bit hashes of their SMILES: eight bytes each.

    Two different ones of n have the same hash with probability n²/2⁶⁵: 3e-6 for ten million.
    """

    def __init__(self) -> None:
        self._known = np.empty(0, np.uint64)  # sorted
        self._fresh: set[int] = set()

    def __len__(self) -> int:
        return len(self._known) + len(self._fresh)

    def add(self, smiles: Iterable[str]) -> list[bool]:
        """Whether each was not seen before, itself included from now on.

        Args:
            smiles: canonical.
        """
        new = []
        for each in smiles:
            number = int.from_bytes(hashlib.blake2b(each.encode(), digest_size=8).digest(), "little")
            known = number in self._fresh or self._is_known(number)
            new.append(not known)
            if not known:
                self._fresh.add(number)
        if len(self._fresh) > 1 << 16:
            fresh = np.fromiter(self._fresh, np.uint64, len(self._fresh))
            self._known = np.union1d(self._known, fresh)
            self._fresh = set()
        return new

    def _is_known(self, number: int) -> bool:
        at = int(np.searchsorted(self._known, np.uint64(number)))
        return at < len(self._known) and int(self._known[at]) == number


@dataclass
class Counts:
    """Numbers of sequences.

    Args:
        batches: drawn.
        drawn: in them.
        valid: of the drawn.
        unique: different molecules among the valid.
        truncated: of the drawn, without an end.
        with_scaffold: of the valid, that contain it.
        kept: rows of the table.
    """

    batches: int = 0
    drawn: int = 0
    valid: int = 0
    unique: int = 0
    truncated: int = 0
    with_scaffold: int = 0
    kept: int = 0

    def add(self, rows: Sequence[Row], new: Sequence[bool]) -> None:
        """Count the rows of one batch.

        Args:
            rows: all that were drawn.
            new: whether each is a molecule that was not there before.
        """
        self.batches += 1
        self.drawn += len(rows)
        self.valid += sum(row.valid for row in rows)
        self.unique += sum(new)
        self.truncated += sum(row.truncated for row in rows)
        self.with_scaffold += sum(row.contains_scaffold is True for row in rows)
