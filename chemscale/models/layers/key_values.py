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
    that are allowed. A layer with a window gives up what no later query will see when it makes room.

    Args:
        layers: of the model.
    """

    def __init__(self, layers: int):
        self.length = 0
        self._layers: list[_Layer | None] = [None] * layers

    @property
    def bytes(self) -> int:
        """Memory that it takes."""
        return sum(layer.store.nbytes for layer in self._layers if layer is not None)

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
            found = self._layers[layer] = kind(qkv, heads)
        if found.is_full:
            found.make_room(window)
        return found.attend(qkv, window)

    def keep(self, rows: Tensor) -> None:
        """Go on with these sequences only; one that is named twice goes on twice.

        Args:
            rows: their indices, or a mask.
        """
        for layer in self._layers:
            if layer is not None:
                layer.store = layer.store[:, rows]


class _Layer:
    """Keys and values of one layer: `store` is (2, B, H, room, K), of which `filled` positions are taken.

    Args:
        qkv: (B, 3·H·K), for the number of sequences, the precision and the device.
        heads: H.
    """

    axis = 3
    """Of the store that runs over positions."""
    multiple = 1
    """That the room is of."""

    def __init__(self, qkv: Tensor, heads: int):
        self.heads, self.filled = heads, 0
        self.store = self._room(qkv, qkv.shape[0], qkv.shape[1] // (3 * heads), 0)

    @property
    def is_full(self) -> bool:
        """Whether there is no room for another position."""
        return self.filled == self.store.shape[self.axis]

    def make_room(self, window: int | None) -> None:
        """Room for more positions; what no later query sees is given up.

        Args:
            window: of the layer.
        """
        kept = self.filled if window is None else min(self.filled, window - 1)
        size = -(-(kept + CHUNK) // self.multiple) * self.multiple
        other = 7 - self.axis  # of the axes 3 and 4, one is the width
        room = self._room(self.store, self.store.shape[1], self.store.shape[other], size)
        room.narrow(self.axis, 0, kept).copy_(self.store.narrow(self.axis, self.filled - kept, kept))
        self.store, self.filled = room, kept

    def _room(self, like: Tensor, batch: int, width: int, size: int) -> Tensor:
        return like.new_empty(2, batch, self.heads, size, width)

    def attend(self, qkv: Tensor, window: int | None) -> Tensor:
        """As ``KeyValueCache.attend``, where there is room."""
        batch = qkv.shape[0]
        q, k, v = qkv.view(batch, 3, self.heads, 1, -1).unbind(1)
        self.store[0, :, :, self.filled] = k[:, :, 0]
        self.store[1, :, :, self.filled] = v[:, :, 0]
        self.filled += 1
        seen = slice(0 if window is None else max(0, self.filled - window), self.filled)
        keys, values = self.store[0, :, :, seen], self.store[1, :, :, seen]
        return F.scaled_dot_product_attention(q, keys, values, scale=1.0).reshape(batch, -1)


class _KernelLayer(_Layer):
    """The same for the kernel of ``cpu.cpp``: `store` is (2, B, H, K, room), zero where nothing is yet."""

    axis = 4
    multiple = LANES

    def _room(self, like: Tensor, batch: int, width: int, size: int) -> Tensor:
        return like.new_zeros(2, batch, self.heads, width, size)

    def attend(self, qkv: Tensor, window: int | None) -> Tensor:
        self.filled += 1
        first = 0 if window is None else max(0, self.filled - window)
        return step_attention(qkv, self.store, first, self.filled - 1)
