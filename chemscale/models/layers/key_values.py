"""What a generation keeps of the positions behind it: keys and values of every layer.

Shapes: B sequences, H heads, P positions that a layer has stored, K head width.
"""

from __future__ import annotations

import torch
from torch import Tensor

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
        self._layers = [_Layer() for _ in range(layers)]

    @property
    def bytes(self) -> int:
        """Memory that it takes."""
        return sum(layer.store.nbytes for layer in self._layers if layer.store is not None)

    def append(self, layer: int, k: Tensor, v: Tensor, window: int | None) -> tuple[Tensor, Tensor]:
        """Store this position's key and value; return those that the query may see.

        Args:
            layer: its number.
            k: (B, H, 1, K).
            v: (B, H, 1, K).
            window: positions that the layer sees, this one included; None for all.

        Returns:
            (B, H, P, K) twice.
        """
        return self._layers[layer].append(k, v, window)

    def keep(self, rows: Tensor) -> None:
        """Go on with these sequences only.

        Args:
            rows: their indices, or a mask.
        """
        for layer in self._layers:
            layer.keep(rows)


class _Layer:
    """Keys and values of one layer: `store` is (2, B, H, room, K), of which `filled` positions are taken."""

    def __init__(self) -> None:
        self.store: Tensor | None = None
        self.filled = 0

    def append(self, k: Tensor, v: Tensor, window: int | None) -> tuple[Tensor, Tensor]:
        if self.store is None or self.filled == self.store.shape[3]:
            self._make_room(k, window)
        assert self.store is not None
        self.store[0, :, :, self.filled] = k[:, :, 0]
        self.store[1, :, :, self.filled] = v[:, :, 0]
        self.filled += 1
        seen = slice(0 if window is None else max(0, self.filled - window), self.filled)
        return self.store[0, :, :, seen], self.store[1, :, :, seen]

    def keep(self, rows: Tensor) -> None:
        if self.store is not None:
            self.store = self.store[:, rows]

    def _make_room(self, like: Tensor, window: int | None) -> None:
        batch, heads, _, width = like.shape
        kept = self.filled if window is None else min(self.filled, window - 1)
        room = torch.empty(2, batch, heads, kept + CHUNK, width, dtype=like.dtype, device=like.device)
        if self.store is not None:
            room[:, :, :, :kept] = self.store[:, :, :, self.filled - kept : self.filled]
        self.store, self.filled = room, kept
