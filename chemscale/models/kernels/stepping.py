"""Attention from the newest position of each sequence of a generation: the kernel of ``cpu.cpp``."""

from __future__ import annotations

import torch
from torch import Tensor

from chemscale.models.kernels.compiled import applies, library

LANES = 16
"""Positions that the kernel works on at a time; the room of a store is a multiple of it."""


def has_step_kernel(qkv: Tensor) -> bool:
    """Whether the kernel can take these queries, keys and values; it has no backward pass.

    Args:
        qkv: (B, 3·H·K)
    """
    wants_gradient = torch.is_grad_enabled() and qkv.requires_grad
    return not wants_gradient and applies(qkv) and library() is not None


def step_attention(qkv: Tensor, store: Tensor, first: int, last: int) -> Tensor:
    """Add keys and values to a store, and attend to them.

    The result of a sequence does not depend on the others, to the bit, nor on the number of threads.

    Args:
        qkv: (B, 3·H·K) float32 of the position `last`.
        store: (2, B, H, K, room) keys and values, written at `last`; zero or finite behind it.
        first: position that the queries see.
        last: position that they see, their own.

    Returns:
        (B, H·K)

    Raises:
        MemoryError: no memory for the probabilities of a sequence.
    """
    _, batch, heads, width, room = store.shape
    qkv = qkv.contiguous()
    out = qkv.new_empty(batch, heads * width)
    kernels = library()
    assert kernels is not None
    failed = kernels.step_attention(
        qkv.data_ptr(),
        store[0].data_ptr(),
        store[1].data_ptr(),
        out.data_ptr(),
        batch,
        heads,
        width,
        room,
        first,
        last,
        torch.get_num_threads(),
    )
    if failed:
        raise MemoryError("There is no memory left for attention.")
    return out
