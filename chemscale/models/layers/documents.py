"""Attention that never crosses molecules: the layout of a packed batch and attention over it.

Shapes: T tokens of the flat batch, M molecules of a group, L the longest of them, H heads, K head width.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

SHORT_ON_CPU = 128
"""Up to this many tokens PyTorch's fused kernel for CPUs takes twice as long as the batched products (heads
of width 1 to 8, one and two threads); molecules are almost always below."""


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
class Documents:
    """The document mask of a flat batch: each token belongs to exactly one molecule.

    Args:
        groups: rectangles that hold the molecules.
        inverse: (T,) slot of each flat token in the concatenated rectangles of all groups.
        offsets: (molecules + 1,) int32, the flat place where each molecule begins, and T.
        identity: whether the flat batch is itself one full rectangle, so that nothing needs to be moved.
    """

    groups: list[Group]
    inverse: Tensor
    offsets: Tensor
    identity: bool = False

    @classmethod
    def from_lengths(cls, lengths: Sequence[int] | np.ndarray, *, max_groups: int = 4) -> Documents:
        """Lay out molecules that stand one after another in the flat batch.

        Args:
            lengths: (number of molecules,) tokens of each, in flat order.
            max_groups: split by length into at most so many rectangles; more of them waste fewer slots.

        Raises:
            ValueError: no molecule, or one without a token.
        """
        sizes = np.asarray(lengths, dtype=np.int64)
        if sizes.size == 0 or sizes.min() < 1:
            raise ValueError("A packed batch needs at least one molecule, and each at least one token.")
        if (sizes == sizes[0]).all():
            return cls.rectangle(len(sizes), int(sizes[0]))
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
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
        offsets = np.append(starts, sizes.sum()).astype(np.int32)
        return cls(groups, torch.from_numpy(inverse), torch.from_numpy(offsets))

    @classmethod
    def rectangle(cls, molecules: int, length: int) -> Documents:
        """A dense (molecules, length) batch, every row one molecule (right padding is harmless)."""
        none = torch.empty(0, dtype=torch.int64)
        offsets = torch.arange(molecules + 1, dtype=torch.int32) * length
        return cls([Group(molecules, length, none, none)], none, offsets, identity=True)

    def to(self, device: torch.device, non_blocking: bool = False) -> Documents:
        """The same on another device, as ``torch.Tensor.to``."""

        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device, non_blocking=non_blocking)

        groups = [Group(g.molecules, g.longest, move(g.rows), move(g.padding)) for g in self.groups]
        return Documents(groups, move(self.inverse), move(self.offsets), self.identity)

    def pin_memory(self) -> Documents:
        """The same in page-locked memory, as ``torch.Tensor.pin_memory``."""
        groups = [
            Group(g.molecules, g.longest, g.rows.pin_memory(), g.padding.pin_memory()) for g in self.groups
        ]
        return Documents(groups, self.inverse.pin_memory(), self.offsets.pin_memory(), self.identity)

    @property
    def slots(self) -> int:
        """Slots of all rectangles: what attention pays for; T of them hold a token."""
        return sum(g.molecules * g.longest for g in self.groups)


class Attending(Protocol):
    """Another document mask, that attends in a way of its own."""

    def attend(self, qkv: Tensor, heads: int, window: int | None) -> Tensor: ...


def document_attention(
    qkv: Tensor, heads: int, documents: Documents | Attending, window: int | None
) -> Tensor:
    """Causal self-attention within each molecule, through PyTorch's fused kernels.

    GPT-Neo does not divide by √K (Black et al. 2021, as in transformers' ``GPTNeoSelfAttention``).

    Args:
        qkv: (T, 3·H·K) queries, keys and values side by side.
        heads: H.
        documents: which tokens form a molecule.
        window: a token sees itself and the ``window - 1`` before it; None for all before it.

    Returns:
        (T, H·K)
    """
    if not isinstance(documents, Documents):
        return documents.attend(qkv, heads, window)
    if documents.identity:
        group = documents.groups[0]
        return _attend(qkv, heads, group, window)
    rectangles = _Pad.apply(qkv, documents)
    outputs = [
        _attend(part, heads, group, window) for part, group in zip(rectangles, documents.groups, strict=True)
    ]
    return _Unpad.apply(documents, *outputs)


def _attend(qkv: Tensor, heads: int, group: Group, window: int | None) -> Tensor:
    """Attention over one rectangle, (M·L, 3·H·K) → (M·L, H·K)."""
    molecules, length = group.molecules, group.longest
    q, k, v = qkv.view(molecules, length, 3, heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
    local = window is not None and length > window
    if qkv.device.type == "cpu" and length <= SHORT_ON_CPU:
        out = _short_attention(q, k, v, window if local else None)
    elif local:
        mask = banded_mask(length, window, qkv.device)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1.0)
    else:
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=1.0)
    return out.transpose(1, 2).reshape(molecules * length, -1)


def _short_attention(q: Tensor, k: Tensor, v: Tensor, window: int | None) -> Tensor:
    """The same attention as three batched products, (M, H, L, K) → (M, H, L, K)."""
    molecules, heads, length, _ = q.shape
    allowed = banded_mask(length, window, q.device)
    bias = torch.zeros(length, length, dtype=q.dtype, device=q.device).masked_fill(~allowed, -torch.inf)
    q, k, v = (x.reshape(molecules * heads, length, -1) for x in (q, k, v))
    scores = torch.baddbmm(bias, q, k.transpose(1, 2))
    return torch.bmm(scores.softmax(-1), v).view(molecules, heads, length, -1)


def banded_mask(length: int, window: int | None, device: torch.device) -> Tensor:
    """Causal mask (length, length), True where query i may see key j: i - window < j <= i."""
    i = torch.arange(length, device=device)
    distance = i[:, None] - i[None, :]
    return (distance >= 0) & (distance < (length if window is None else window))


class _Pad(torch.autograd.Function):
    """Flat tokens to the rectangles. Each token has exactly one slot, so the gradient is a gather too."""

    @staticmethod
    def forward(ctx: Any, flat: Tensor, documents: Documents) -> tuple[Tensor, ...]:
        ctx.documents = documents
        return tuple(flat.index_select(0, group.rows) for group in documents.groups)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        # Empty slots name token 0 but are not it: `inverse` never points at them, so nothing leaks.
        return torch.cat(grads).index_select(0, ctx.documents.inverse), None


class _Unpad(torch.autograd.Function):
    """The rectangles of all groups back to flat tokens; the inverse of ``_Pad``."""

    @staticmethod
    def forward(ctx: Any, documents: Documents, *rectangles: Tensor) -> Tensor:
        ctx.documents = documents
        return torch.cat(rectangles).index_select(0, documents.inverse)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        grads = []
        for group in ctx.documents.groups:
            part = grad.index_select(0, group.rows)
            grads.append(part.index_fill_(0, group.padding, 0.0) if group.padding.numel() else part)
        return None, *grads


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
