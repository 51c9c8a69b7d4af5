"""Packing molecules into fixed blocks, whole, with less than a few per cent of padding.

A molecule of n symbols takes n + 1 positions: inputs ``<bos> s1 … sn``, targets ``s1 … sn <eos>``. A prefix
of conditions takes as many as it has ids. A block holds whole molecules only, and the document mask keeps
them apart, so packing changes no loss.
"""

from __future__ import annotations

import bisect
import itertools
from collections import deque
from collections.abc import Iterable
from contextlib import nullcontext

import numpy as np

from chemscale.common.progress import ProgressBar
from chemscale.models.kernels.compiled import kernels_wanted
from chemscale.molecules.order import Permutation
from chemscale.molecules.packing_kernel import filled, library, permuted
from chemscale.molecules.storage.index import Positions
from chemscale.molecules.storage.window_counts import WindowCounts, ordered_threads

LOOK_AHEAD = 256
"""Molecules after the next one among which a gap is closed."""
WINDOW = 1 << 18
"""Molecules packed at a time: a window's plan depends on nothing outside it."""
EXACT_WINDOWS = 256
"""Windows of an epoch (67 million molecules, some seconds) up to which an estimate counts them all."""
SAMPLED_WINDOWS = 16
"""Windows from which the blocks of a longer epoch are estimated."""
SHOWN = 64
"""Windows from which on counting shows a progress bar."""
SAVED_SECONDS = 10.0
"""Between two files of what was counted so far."""


class PackingError(ValueError):
    """Molecules that cannot be packed as asked."""


def _refuse_longer(positions: Positions | np.ndarray, block: int) -> None:
    if len(positions) and int(positions.max()) > block:
        raise PackingError(
            f"A molecule takes {int(positions.max())} positions, a block has {block}. "
            "Raise data.block, or drop long molecules with data.max_symbols (a scaffold of data.condition "
            "takes positions too)."
        )


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
    _refuse_longer(positions, block)
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
    that are packed one by one; a window's blocks are never mixed with the next one's. Which window a block is
    in follows from the number of blocks of all windows before it: those are counted once, on all cores, and
    kept in a file.

    Args:
        positions: (n,) positions of each molecule of the subset (prefix + symbols + 1).
        block: positions of a block.
        seed: of the order of the data.
        window: molecules packed at a time.
        counts: where the numbers of blocks are kept; None for nowhere.

    Raises:
        PackingError: there is no molecule, or one is longer than a block.
    """

    def __init__(
        self,
        positions: Positions | np.ndarray,
        *,
        block: int,
        seed: int,
        window: int = WINDOW,
        counts: WindowCounts | None = None,
    ):
        if len(positions) == 0:
            raise PackingError("There is no molecule to train on.")
        _refuse_longer(positions, block)  # now: its window may be packed only after days of training
        self.positions, self.block, self.seed, self.window = positions, block, seed, window
        self.counts = counts
        self._starts = [0]  # first block of each window counted so far
        self._cached: dict[int, Blocks] = {}
        self.windows_per_epoch = -(-len(positions) // window)
        if counts is not None:
            self._extend(counts.read())

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

    def blocks_of_epoch(self) -> int:
        """Blocks of the first epoch; later epochs differ by a few, their molecules do not."""
        self._count(self.windows_per_epoch)
        return self._starts[self.windows_per_epoch]

    def about_blocks_of_epoch(self) -> int:
        """Blocks of an epoch within some in 100,000: counted in part where there are very many molecules."""
        if self.windows_per_epoch <= max(EXACT_WINDOWS, len(self._starts) - 1):
            return self.blocks_of_epoch()
        some = np.linspace(0, self.windows_per_epoch - 2, SAMPLED_WINDOWS).astype(int)
        blocks = sum(ordered_threads(self._count_window, some.tolist()))
        return round(blocks * len(self.positions) / (self.window * SAMPLED_WINDOWS))

    def _window_of(self, block: int) -> int:
        """The window of a block. The next one is packed; where many are between, they are counted."""
        while self._starts[-1] <= block:
            known = len(self._starts) - 1
            missing = (block - self._starts[-1]) * known // self._starts[-1] if known else 0
            if missing > 1:
                self._count(known + missing)
                continue
            self._starts.append(self._starts[-1] + len(self._window(known)))
            if self.counts is not None and self.counts.writes:
                self.counts.keep(np.diff(self._starts), every=SAVED_SECONDS)
        return bisect.bisect_right(self._starts, block) - 1

    def _extend(self, counts: Iterable[int]) -> None:
        """Take over numbers of blocks of the first windows, if they are more than are known."""
        starts = list(itertools.accumulate(map(int, counts), initial=0))
        if len(starts) > len(self._starts):
            self._starts = starts

    def _count(self, windows: int) -> None:
        """Count the blocks of the first windows; where they are kept, one process does so for all."""
        kept = self.counts
        if len(self._starts) > windows:
            return
        alone = kept is not None and kept.worth_keeping(windows + 1 - len(self._starts))
        with kept.alone() if kept is not None and alone else nullcontext():
            if kept is not None and alone:
                self._extend(kept.read())  # another process may have counted meanwhile
            todo = range(len(self._starts) - 1, windows)
            with ProgressBar("count blocks", len(todo), "windows", silent=len(todo) < SHOWN) as progress:
                for found in ordered_threads(self._count_window, todo):
                    self._starts.append(self._starts[-1] + found)
                    progress.advance(1)
                    if kept is not None and alone:
                        kept.keep(np.diff(self._starts), every=SAVED_SECONDS)
            if kept is not None and alone:
                kept.keep(np.diff(self._starts))

    def _count_window(self, window: int) -> int:
        return len(self._packed(window))

    def _window(self, window: int) -> Blocks:
        """Blocks of a window; the last two are kept, for a step may take from both."""
        if window not in self._cached:
            for other in list(self._cached)[:-1]:
                del self._cached[other]
            self._cached[window] = self._packed(window)
        return self._cached[window]

    def _packed(self, window: int) -> Blocks:
        epoch, part = divmod(window, self.windows_per_epoch)
        n, first = len(self.positions), part * self.window
        count = min(n, first + self.window) - first
        order, kernels = Permutation(n, self.seed, epoch), library() if kernels_wanted() else None
        if kernels is None:
            members = order(np.arange(first, first + count))
        else:
            members = permuted(kernels, order, first, count)
        return packed_blocks(members, np.asarray(self.positions[members], dtype=np.int64), self.block)


class Blocks:
    """Molecules of the blocks of a window.

    Args:
        members: (n,) of all blocks, one after another.
        ends: (blocks,) where the members of each end.
    """

    def __init__(self, members: np.ndarray, ends: np.ndarray):
        self.members, self.ends = members, ends

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, block: int) -> np.ndarray:
        return self.members[self.ends[block - 1] if block else 0 : self.ends[block]]


def packed_blocks(members: np.ndarray, positions: np.ndarray, block: int) -> Blocks:
    """Fill blocks as ``pack`` does, in C++ where that can be had.

    Args:
        members: (n,) molecules in the order of training.
        positions: (n,) that each of them takes, int64.
        block: positions of a block.

    Raises:
        PackingError: a molecule is longer than a block.
    """
    kernels = library() if kernels_wanted() else None
    if kernels is None:
        blocks = pack(positions, block)
        ends = np.cumsum([len(each) for each in blocks])
        return Blocks(members[np.fromiter(itertools.chain(*blocks), np.int64, len(members))], ends)
    _refuse_longer(positions, block)
    chosen, ends = filled(kernels, positions, block, LOOK_AHEAD)
    return Blocks(members[chosen], ends)
