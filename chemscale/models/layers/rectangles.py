"""Attention over padded rectangles of molecules: PyTorch's own operations, on every device and in every type.

It is the reference of the faster ways, and what runs where they do not apply.

Shapes: T tokens of the flat batch, M molecules of a group, L the longest of them, H heads, K head width.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from chemscale.models.layers.documents import Documents, Group, Rectangles

SHORT_ON_CPU = 128
"""Up to this many tokens PyTorch's fused kernel for CPUs takes twice as long as the batched products (heads
of width 1 to 8, one and two threads); molecules are almost always below."""


def rectangle_attention(qkv: Tensor, heads: int, documents: Documents, window: int | None) -> Tensor:
    """Causal self-attention within each molecule, (T, 3·H·K) → (T, H·K); see ``document_attention``."""
    if documents.identity:
        return _attend(qkv, heads, documents.groups[0], window)
    rectangles = documents.rectangles
    padded = _Pad.apply(qkv, rectangles)
    outputs = [
        _attend(part, heads, group, window) for part, group in zip(padded, rectangles.groups, strict=True)
    ]
    return _Unpad.apply(rectangles, *outputs)


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
    def forward(ctx: Any, flat: Tensor, rectangles: Rectangles) -> tuple[Tensor, ...]:
        ctx.rectangles = rectangles
        return tuple(flat.index_select(0, group.rows) for group in rectangles.groups)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        # Empty slots name token 0 but are not it: `inverse` never points at them, so nothing leaks.
        return torch.cat(grads).index_select(0, ctx.rectangles.inverse), None


class _Unpad(torch.autograd.Function):
    """The rectangles of all groups back to flat tokens; the inverse of ``_Pad``."""

    @staticmethod
    def forward(ctx: Any, rectangles: Rectangles, *padded: Tensor) -> Tensor:
        ctx.rectangles = rectangles
        return torch.cat(padded).index_select(0, rectangles.inverse)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        grads = []
        for group in ctx.rectangles.groups:
            part = grad.index_select(0, group.rows)
            grads.append(part.index_fill_(0, group.padding, 0.0) if group.padding.numel() else part)
        return None, *grads
