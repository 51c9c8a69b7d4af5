"""What a generation keeps of the positions behind it: keys and values of every layer.

Shapes: B sequences, H heads, P positions that a layer has stored, K head width.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from chemscale.models.kernels.stepping import LANES, has_step_kernel, step_attention

CHUNK = 64
"""Positions that room is made for at a time; most molecules end within the first chunk."""


class KeyValueCache:
    """Keys and values for a batch of sequences of one length, in the precision that they come in.

    Room is made in chunks, so that memory follows the molecules that are being written and not the longest
    that are allowed. A layer with a window gives up, by chunks, what no later query will see.

    Args:
        layers: of the model.
    """

    def __init__(self, layers: int):
        self.length = 0
        self._layers: list[_Layer | _KernelLayer | None] = [None] * layers

    @property
    def bytes(self) -> int:
        """Memory that it takes."""
        return sum(part.nbytes for layer in self._layers if layer is not None for part in layer.parts)

    def attend(self, layer: int, qkv: Tensor, heads: int, window: int | None) -> Tensor:
        """Store this position's keys and values, and attend from its queries to all that they may see.

        Args:
            layer: its number.
            qkv: (B, 3·H·K) queries, keys and values of the position.
            heads: H.
            window: positions that the layer sees, this one included; None for all.

        Returns:
            (B, H·K)
        """
        found = self._layers[layer]
        if found is None:
            kind = _KernelLayer if has_step_kernel(qkv) else _Layer
            found = self._layers[layer] = kind(heads)
        return found.attend(qkv, window)

    def keep(self, rows: Tensor) -> None:
        """Go on with these sequences only; one that is named twice goes on twice.

        Args:
            rows: their indices, or a mask.
        """
        for layer in self._layers:
            if layer is not None:
                layer.parts = [part[:, rows] for part in layer.parts]


class _Layer:
    """Keys and values of one layer: one part, (2, B, H, room, K), of which `filled` positions are taken.

    Args:
        heads: H.
    """

    def __init__(self, heads: int):
        self.heads, self.filled = heads, 0
        self.parts: list[Tensor] = []

    def attend(self, qkv: Tensor, window: int | None) -> Tensor:
        """As ``KeyValueCache.attend``."""
        batch = qkv.shape[0]
        q, k, v = qkv.view(batch, 3, self.heads, 1, -1).unbind(1)
        if not self.parts or self.filled == self.parts[0].shape[3]:
            self._make_room(k, window)
        (store,) = self.parts
        store[0, :, :, self.filled] = k[:, :, 0]
        store[1, :, :, self.filled] = v[:, :, 0]
        self.filled += 1
        seen = slice(0 if window is None else max(0, self.filled - window), self.filled)
        keys, values = store[0, :, :, seen], store[1, :, :, seen]
        return F.scaled_dot_product_attention(q, keys, values, scale=1.0).reshape(batch, -1)

    def _make_room(self, like: Tensor, window: int | None) -> None:
        batch, heads, _, width = like.shape
        kept = self.filled if window is None else min(self.filled, window - 1)
        room = like.new_empty(2, batch, heads, kept + CHUNK, width)
        for store in self.parts:
            room[:, :, :, :kept] = store[:, :, :, self.filled - kept : self.filled]
        self.parts, self.filled = [room], kept


class _KernelLayer:
    """The same for the kernel of ``cpu.cpp``: parts of ``LANES`` positions, (2, B, H, K, LANES).

    Args:
        heads: H.
    """

    def __init__(self, heads: int):
        self.heads, self.filled = heads, 0
        self.parts: list[Tensor] = []

    def attend(self, qkv: Tensor, window: int | None) -> Tensor:
        """As ``KeyValueCache.attend``."""
        if self.filled == LANES * len(self.parts):
            batch, width = qkv.shape[0], qkv.shape[1] // (3 * self.heads)
            self.parts.append(qkv.new_zeros(2, batch, self.heads, width, LANES))
        self.filled += 1
        first = 0 if window is None else max(0, self.filled - window)
        while first >= LANES:  # no later query sees the first part
            del self.parts[0]
            first, self.filled = first - LANES, self.filled - LANES
        return step_attention(qkv, self.parts, first, self.filled - 1)
