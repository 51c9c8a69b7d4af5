"""Attention from the newest position of each sequence of a generation: the kernel of ``cpu.cpp``."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from chemscale.models.kernels.compiled import applies, library

LANES = 16
"""Positions of a block, which the kernel works on at a time."""


def has_step_kernel(qkv: Tensor) -> bool:
    """Whether the kernel can take these queries, keys and values; it has no backward pass.

    Args:
        qkv: (B, 3·H·K)
    """
    wants_gradient = torch.is_grad_enabled() and qkv.requires_grad
    return not wants_gradient and applies(qkv) and library() is not None


def step_attention(qkv: Tensor, blocks: Sequence[Tensor], first: int, last: int) -> Tensor:
    """Add keys and values to the last block, and attend to them.

    The result of a sequence does not depend on the others, to the bit, nor on the number of threads.

    Args:
        qkv: (B, 3·H·K) float32 of the position `last`.
        blocks: (2, B, H, K, LANES) keys and values of so many positions each; finite where nothing is yet.
        first: position that the queries see, counted from the first block.
        last: position that they see, their own; it lies in the last block.

    Returns:
        (B, H·K)

    Raises:
        MemoryError: no memory for the probabilities of a sequence.
    """
    _, batch, heads, width, _ = blocks[0].shape
    qkv = qkv.contiguous()
    out = qkv.new_empty(batch, heads * width)
    kernels = library()
    assert kernels is not None
    addresses = (ctypes.c_void_p * len(blocks))(*(block.data_ptr() for block in blocks))
    sizes = batch, heads, width, first, last
    threads = torch.get_num_threads()
    if kernels.step_attention(qkv.data_ptr(), addresses, out.data_ptr(), *sizes, threads):
        raise MemoryError("There is no memory left for attention.")
    return out
