"""Where molecules stand in a flat batch, and the rectangles that PyTorch's fused kernels need of it.

Shapes: T tokens of the flat batch, M molecules of a group, L the longest of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor


@dataclass
class Group:
    """Molecules of similar length, attended to together as one padded (M, L) rectangle.

    Slots right of a molecule's end repeat token 0 of the batch. Under a causal mask no real query ever sees
    them, and their own output is dropped.

    Args:
        molecules: M.
        longest: L.
        rows: (M·L,) which flat token stands in each slot.
        padding: (P,) the slots of the rectangle that hold no token.
    """

    molecules: int
    longest: int
    rows: Tensor
    padding: Tensor


@dataclass
class Rectangles:
    """All tokens of a flat batch in padded rectangles.

    Args:
        groups: the rectangles.
        inverse: (T,) slot of each flat token in the concatenated rectangles of all groups.
    """

    groups: list[Group]
    inverse: Tensor

    def map(self, move: Callable[[Tensor], Tensor]) -> Rectangles:
        """The same with every tensor replaced."""
        groups = [Group(g.molecules, g.longest, move(g.rows), move(g.padding)) for g in self.groups]
        return Rectangles(groups, move(self.inverse))


@dataclass
class Documents:
    """The document mask of a flat batch: each token belongs to exactly one molecule.

    Args:
        offsets: (molecules + 1,) int32, the flat place where each molecule begins, and T.
        longest: tokens of the longest molecule.
        identity: whether the flat batch is itself one full rectangle, so that nothing needs to be moved.
        max_groups: split by length into at most so many rectangles; more of them waste fewer slots.
    """

    offsets: Tensor
    longest: int
    identity: bool = False
    max_groups: int = 4
    _rectangles: Rectangles | None = None
    _offsets_on_host: Tensor | None = None

    @classmethod
    def from_lengths(cls, lengths: Sequence[int] | np.ndarray, *, max_groups: int = 4) -> Documents:
        """Molecules that stand one after another in the flat batch.

        Args:
            lengths: (number of molecules,) tokens of each, in flat order.
            max_groups: of the rectangles, if they are asked for.

        Raises:
            ValueError: no molecule, or one without a token.
        """
        sizes = np.asarray(lengths, dtype=np.int64)
        if sizes.size == 0 or sizes.min() < 1:
            raise ValueError("A packed batch needs at least one molecule, and each at least one token.")
        if (sizes == sizes[0]).all():
            return cls.rectangle(len(sizes), int(sizes[0]))
        offsets = np.zeros(len(sizes) + 1, dtype=np.int32)
        np.cumsum(sizes, out=offsets[1:])
        return cls(torch.from_numpy(offsets), int(sizes.max()), max_groups=max_groups)

    @classmethod
    def rectangle(cls, molecules: int, length: int, device: torch.device | None = None) -> Documents:
        """A dense (molecules, length) batch, every row one molecule (right padding is harmless)."""
        offsets = torch.arange(molecules + 1, dtype=torch.int32, device=device) * length
        none = torch.empty(0, dtype=torch.int64)
        return cls(offsets, length, True, 1, Rectangles([Group(molecules, length, none, none)], none))

    def to(self, device: torch.device, non_blocking: bool = False) -> Documents:
        """The same on another device, as ``torch.Tensor.to``."""

        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device, non_blocking=non_blocking)

        rectangles = None if self._rectangles is None else self._rectangles.map(move)
        host = self.offsets_on_host
        return replace(self, offsets=move(self.offsets), _rectangles=rectangles, _offsets_on_host=host)

    def pin_memory(self) -> Documents:
        """The same in page-locked memory, as ``torch.Tensor.pin_memory``."""
        rectangles = None if self._rectangles is None else self._rectangles.map(Tensor.pin_memory)
        pinned = self.offsets.pin_memory()
        return replace(self, offsets=pinned, _rectangles=rectangles, _offsets_on_host=pinned)

    @property
    def offsets_on_host(self) -> Tensor:
        """`offsets` for the host to read, which waits for no device that they have moved to since."""
        if self._offsets_on_host is None:
            self._offsets_on_host = self.offsets.cpu()
        return self._offsets_on_host

    @property
    def rectangles(self) -> Rectangles:
        """The padded rectangles, where the offsets are, laid out when they are first asked for."""
        if self._rectangles is None:
            lengths = np.diff(self.offsets_on_host.numpy()).astype(np.int64)
            self._rectangles = _lay_out(lengths, self.max_groups).map(self._beside_offsets)
        return self._rectangles

    def _beside_offsets(self, tensor: Tensor) -> Tensor:
        """A tensor of the host on the device of the offsets, without waiting for it."""
        device = self.offsets.device
        if device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(device, non_blocking=True)

    @property
    def groups(self) -> list[Group]:
        """The rectangles that hold the molecules."""
        return self.rectangles.groups

    @property
    def slots(self) -> int:
        """Slots of all rectangles: what attention in rectangles pays for; T of them hold a token."""
        return sum(g.molecules * g.longest for g in self.groups)


class Attending(Protocol):
    """A document mask of another kind, which attends in a way of its own where no kernel for GPUs does.

    `offsets` and `longest` are as in ``Documents``.
    """

    offsets: Tensor
    longest: int

    def attend(self, qkv: Tensor, heads: int, window: int | None) -> Tensor:
        """Causal self-attention within each molecule, (T, 3·H·K) → (T, H·K)."""
        ...


def _lay_out(sizes: np.ndarray, max_groups: int) -> Rectangles:
    """Rectangles for molecules of these lengths that stand one after another in the flat batch."""
    starts = np.cumsum(sizes) - sizes
    inverse = np.empty(int(sizes.sum()), dtype=np.int64)
    groups, base = [], 0
    for members in _split_by_length(sizes, max_groups):
        longest = int(sizes[members].max())
        column = np.arange(longest)
        slots = starts[members, None] + column
        real = column < sizes[members, None]
        flat_slots = base + np.arange(real.size)
        inverse[slots[real]] = flat_slots[real.ravel()]
        groups.append(
            Group(
                molecules=len(members),
                longest=longest,
                rows=torch.from_numpy(np.where(real, slots, 0).ravel()),
                padding=torch.from_numpy(np.flatnonzero(~real.ravel())),
            )
        )
        base += real.size
    return Rectangles(groups, torch.from_numpy(inverse))


def _split_by_length(sizes: np.ndarray, max_groups: int) -> list[np.ndarray]:
    """Molecules sorted by length and cut where a cut saves most slots; in at most `max_groups` parts."""
    order = np.argsort(sizes, kind="stable")
    cuts = [0, len(order)]
    while len(cuts) - 1 < max_groups:
        best_saving, best_cut = 0, 0
        for low, high in itertools.pairwise(cuts):
            if high - low < 2:
                continue
            at = np.arange(low + 1, high)
            saving = (sizes[order[high - 1]] - sizes[order[at - 1]]) * (at - low)
            if saving.max() > best_saving:
                best_saving, best_cut = int(saving.max()), int(at[saving.argmax()])
        # A rectangle costs about as much as attention over a few hundred slots: do not cut for less.
        if best_saving < 128:
            break
        cuts = sorted([*cuts, best_cut])
    return [order[low:high] for low, high in itertools.pairwise(cuts)]
