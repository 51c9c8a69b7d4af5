"""Packing molecules into fixed blocks, whole, with less than a few per cent of padding.

A molecule of n symbols takes n + 1 positions: inputs ``<bos> s1 … sn``, targets ``s1 … sn <eos>``. A prefix
of conditions takes as many as it has ids. A block holds whole molecules only, and the document mask keeps
them apart, so packing changes no loss.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from chemscale.molecules.order import Permutation

LOOK_AHEAD = 256
"""Molecules after the next one among which a gap is closed."""
WINDOW = 1 << 18
"""Molecules packed at a time: a window's plan depends on nothing outside it."""


class PackingError(ValueError):
    """Molecules that cannot be packed as asked."""


def pack(positions: np.ndarray, block: int) -> list[list[int]]:
    """Fill blocks with molecules in order, closing gaps from the next few hundred.

    Args:
        positions: (n,) positions that each molecule takes (symbols + 1), in the order of training.
        block: positions of a block.

    Returns:
        For each block the indices into `positions`, each index in exactly one block.

    Raises:
        PackingError: a molecule is longer than a block.
    """
    if len(positions) and int(positions.max()) > block:
        raise PackingError(
            f"A molecule takes {int(positions.max())} positions, a block has {block}. "
            "Raise data.block, or drop long molecules with data.max_symbols (a scaffold of data.condition "
            "takes positions too)."
        )
    sizes = positions.tolist()
    waiting: dict[int, deque[int]] = {}
    lengths = 0  # a bit for each length that is waiting: the longest that fits is one bit operation away
    taken = bytearray(len(sizes))
    blocks: list[list[int]] = []
    head = entered = 0
    while head < len(sizes):
        while entered < min(len(sizes), head + LOOK_AHEAD):
            waiting.setdefault(sizes[entered], deque()).append(entered)
            lengths |= 1 << sizes[entered]
            entered += 1
        members, room = [], block
        while head < len(sizes) and (taken[head] or sizes[head] <= room):
            if not taken[head]:
                members.append(head)
                room -= sizes[head]
                taken[head] = 1
            head += 1
        while fitting := lengths & ((1 << (room + 1)) - 1):
            length = fitting.bit_length() - 1
            queue = waiting[length]
            while queue and taken[queue[0]]:
                queue.popleft()
            if not queue:
                lengths &= ~(1 << length)
                continue
            index = queue.popleft()
            members.append(index)
            taken[index] = 1
            room -= length
        blocks.append(members)
    return blocks


class BlockPlan:
    """Which molecules stand in which block, for every epoch, as a pure function of the seed.

    Blocks are numbered through all epochs. An epoch is the seed's permutation of the subset, cut into windows
    that are packed one by one; a window's blocks are never mixed with the next one's.

    Args:
        positions: (n,) positions of each molecule of the subset (prefix + symbols + 1).
        block: positions of a block.
        seed: of the order of the data.
        window: molecules packed at a time.

    Raises:
        PackingError: there is no molecule.
    """

    def __init__(self, positions: np.ndarray, *, block: int, seed: int, window: int = WINDOW):
        if len(positions) == 0:
            raise PackingError("There is no molecule to train on.")
        self.positions, self.block, self.seed, self.window = positions, block, seed, window
        self._starts = [0]  # first block of each window walked so far
        self._cached: tuple[int, list[np.ndarray]] | None = None
        self.windows_per_epoch = -(-len(positions) // window)

    def molecules(self, block: int) -> np.ndarray:
        """Indices into the subset of the molecules in a block.

        Args:
            block: its number through all epochs.
        """
        window = self._window_of(block)
        return self._window(window)[block - self._starts[window]]

    def epoch(self, block: int) -> int:
        """Number from 0 of the epoch that a block belongs to.

        Args:
            block: its number through all epochs.
        """
        return self._window_of(block) // self.windows_per_epoch

    def _window_of(self, block: int) -> int:
        while self._starts[-1] <= block:
            self._starts.append(self._starts[-1] + len(self._window(len(self._starts) - 1)))
        return int(np.searchsorted(self._starts, block, side="right")) - 1

    def blocks_of_epoch(self) -> int:
        """Blocks of the first epoch; later epochs differ by a few, their molecules do not."""
        last = self.windows_per_epoch - 1
        while len(self._starts) <= last + 1:
            self._starts.append(self._starts[-1] + len(self._window(len(self._starts) - 1)))
        return self._starts[last + 1]

    def _window(self, window: int) -> list[np.ndarray]:
        """Molecules of each block of a window, the last one that was asked for being kept."""
        if self._cached is None or self._cached[0] != window:
            epoch, part = divmod(window, self.windows_per_epoch)
            n = len(self.positions)
            index = np.arange(part * self.window, min(n, (part + 1) * self.window))
            members = Permutation(n, self.seed, epoch)(index)
            plan = pack(np.asarray(self.positions)[members], self.block)
            self._cached = (window, [members[block] for block in plan])
        return self._cached[1]
