"""Attention over the flat batch by the variable-length kernel of FlashAttention, on GPUs in half precision.

Shapes: T tokens of the flat batch, H heads, K head width.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn

from chemscale.models.kernels.compiled import kernels_wanted
from chemscale.models.layers.documents import Attending, Documents

MULTIPLE = 8
"""The kernel takes heads of a multiple of this many numbers."""
WIDEST = 256
"""And of so many at most."""


def has_varlen(qkv: Tensor, heads: int) -> bool:
    """Whether the kernel takes these: bfloat16 or float16 on an Ampere GPU or newer.

    Args:
        qkv: (T, 3·H·K)
        heads: H.
    """
    return takes_heads(qkv.shape[1] // (3 * heads), qkv.dtype, qkv.device)


def takes_heads(width: int, dtype: torch.dtype, device: torch.device) -> bool:
    """Whether the kernel takes heads of a width and a type on a device.

    Args:
        width: K.
        dtype: of queries, keys and values.
        device: where they are.
    """
    return (
        kernels_wanted()
        and device.type == "cuda"
        and dtype in (torch.bfloat16, torch.float16)
        and width <= WIDEST
        and _has_flash(device.index or 0)
    )


def varlen_attention(qkv: Tensor, heads: int, documents: Documents | Attending, window: int | None) -> Tensor:
    """Causal self-attention within each molecule, (T, 3·H·K) → (T, H·K); see ``document_attention``.

    Heads are padded with zeros to a multiple of ``MULTIPLE``, which changes neither a score nor an output. A
    molecule's result does not depend on the other molecules of the batch: keys are not split among thread
    blocks (``num_splits=1``), which would follow the longest molecule.
    """
    tokens, width = qkv.shape[0], qkv.shape[1] // (3 * heads)
    parts = qkv.view(tokens, 3, heads, width)
    if width % MULTIPLE:  # padding by nothing would be a copy
        parts = F.pad(parts, (0, -width % MULTIPLE))
    q, k, v = parts.unbind(1)
    # FlashAttention counts the keys to the left of a query, GPT-Neo's window the query's own too.
    left = -1 if window is None or window >= documents.longest else window - 1
    offsets, longest = documents.offsets, documents.longest
    attend = cast(Callable[..., Tensor], varlen_attn)
    out = attend(
        q, k, v, offsets, offsets, longest, longest, scale=1.0, window_size=(left, 0), **_unsplit(attend)
    )
    return out.narrow(2, 0, width).reshape(tokens, heads * width)


@functools.cache
def _unsplit(kernel: Callable[..., Tensor]) -> dict[str, int]:
    """``num_splits=1`` where this version of PyTorch has it."""
    return {"num_splits": 1} if "num_splits" in inspect.signature(kernel).parameters else {}


@functools.cache
def _has_flash(index: int) -> bool:
    """Whether FlashAttention runs on this GPU; fake ones of a PyTorch without CUDA are taken to be new."""
    return not torch.cuda.is_available() or torch.cuda.get_device_capability(index) >= (8, 0)
