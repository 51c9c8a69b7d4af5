"""Attention within each molecule of a packed batch, without rectangles: the kernel of ``cpu.cpp``."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from chemscale.models.kernels.compiled import applies, library

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
LARGEST = 1 << 16
"""Numbers of one head of one document: sixteen of seven such tensors are worked on at a time. Faster than
rectangles for widths 1 to 128 and documents of 40 to 500 tokens; beyond this it was not tried."""


def has_kernel(qkv: Tensor, heads: int, longest: int) -> bool:
    """Whether the kernel can, and should, take these queries, keys and values.

    Args:
        qkv: (T, 3·H·K)
        heads: H.
        longest: tokens of the longest document.
    """
    small = longest * (qkv.shape[1] // (3 * heads)) <= LARGEST
    return small and applies(qkv, dtypes=DTYPES) and library() is not None


def kernel_attention(qkv: Tensor, heads: int, offsets: Tensor, longest: int, window: int | None) -> Tensor:
    """Causal attention within each document; nothing but `qkv` is kept for the backward pass.

    The result of a document does not depend on the other documents of the batch, to the bit, nor on the
    number of threads.

    Args:
        qkv: (T, 3·H·K) float32, or a half type that is computed with in float32.
        heads: H.
        offsets: (documents + 1,) int32, where each document begins, and the end.
        longest: tokens of the longest document.
        window: a token sees itself and the ``window - 1`` before it; None for all before it.

    Returns:
        (T, H·K)

    Raises:
        MemoryError: no memory for the work on a document.
    """
    return _Attention.apply(qkv, heads, offsets, longest, longest if window is None else window)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv: Tensor, heads: int, offsets: Tensor, longest: int, window: int) -> Tensor:
        ctx.save_for_backward(qkv)
        ctx.shape = heads, offsets, longest, window
        out = qkv.new_empty(qkv.shape[0], qkv.shape[1] // 3, dtype=torch.float32)
        _run(qkv.float().contiguous(), None, out, *ctx.shape)
        return out.to(qkv.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (qkv,) = ctx.saved_tensors
        out = torch.empty(qkv.shape, dtype=torch.float32)
        _run(qkv.float().contiguous(), gradient.float().contiguous(), out, *ctx.shape)
        return out.to(qkv.dtype), None, None, None, None


def _run(
    qkv: Tensor, gradient: Tensor | None, out: Tensor, heads: int, offsets: Tensor, longest: int, window: int
) -> None:
    kernels = library()
    assert kernels is not None
    failed = kernels.document_attention(
        qkv.data_ptr(),
        None if gradient is None else gradient.data_ptr(),
        out.data_ptr(),
        offsets.data_ptr(),
        len(offsets) - 1,
        longest,
        heads,
        qkv.shape[1] // (3 * heads),
        window,
        torch.get_num_threads(),
    )
    if failed:
        raise MemoryError("There is no memory left for attention.")
