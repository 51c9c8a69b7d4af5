"""Attention within documents as one operation that compilers do not look into.

``document_attention`` chooses its way, and its shapes, by the lengths of the documents. Behind one operation
a compiled graph knows two shapes alone, those of the queries, keys and values and of the output: the graph
is the same for every batch of one length.

Shapes: T tokens of the flat batch, N documents at most, H heads, K head width.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from chemscale.models.layers.attention import document_attention
from chemscale.models.layers.documents import Documents


@dataclass
class OpaqueDocuments:
    """A document mask as tensors alone; ``document_attention`` over it is one operation of a compiled graph.

    Args:
        offsets: (N + 1,) int32, the flat place where each document begins, and T as often as there are
            fewer than N. On the host, or, for the kernel that reads it there, on the GPU.
        longest: tokens of the longest document, at least.
    """

    offsets: Tensor
    longest: int

    def attend(self, qkv: Tensor, heads: int, window: int | None) -> Tensor:
        """``document_attention`` over these documents, (T, 3·H·K) → (T, H·K).

        Raises:
            ValueError: offsets on a GPU, for an attention that reads them on the host.
        """
        if self.offsets.device.type == "cuda":
            raise ValueError("Attention without the kernel for GPUs reads where documents begin on the host.")
        return _forward(qkv, self.offsets, heads, 0 if window is None else window)


@torch.library.custom_op("chemscale::document_attention", mutates_args=())
def _forward(qkv: Tensor, offsets: Tensor, heads: int, window: int) -> Tensor:
    """(T, 3·H·K) → (T, H·K); `window` 0 for none."""
    with torch.no_grad():
        return _attention(qkv, offsets, heads, window).contiguous()


@torch.library.custom_op("chemscale::document_attention_backward", mutates_args=())
def _backward(gradient: Tensor, qkv: Tensor, offsets: Tensor, heads: int, window: int) -> Tensor:
    """Gradient of `qkv`, (T, 3·H·K), from that of the output, (T, H·K).

    The forward pass is computed again: what it keeps for its gradient is of shapes that no graph could know.
    """
    with differentiable(), torch.enable_grad():
        leaf = qkv.detach().requires_grad_()
        return torch.autograd.grad(_attention(leaf, offsets, heads, window), leaf, gradient)[0].contiguous()


@_forward.register_fake
def _(qkv: Tensor, offsets: Tensor, heads: int, window: int) -> Tensor:
    return qkv.new_empty(qkv.shape[0], qkv.shape[1] // 3)


@_backward.register_fake
def _(gradient: Tensor, qkv: Tensor, offsets: Tensor, heads: int, window: int) -> Tensor:
    return qkv.new_empty(qkv.shape)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    qkv, offsets, ctx.heads, ctx.window = inputs
    ctx.save_for_backward(qkv, offsets)


def _differentiate(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    return _backward(gradient, *ctx.saved_tensors, ctx.heads, ctx.window), None, None, None


_forward.register_autograd(_differentiate, setup_context=_keep)


def _attention(qkv: Tensor, offsets: Tensor, heads: int, window: int) -> Tensor:
    documents = _documents(offsets.numpy().tobytes(), qkv.device)
    return document_attention(qkv, heads, documents, window or None)


@functools.lru_cache(maxsize=4)
def _documents(offsets: bytes, device: torch.device) -> Documents:
    """The layout of a batch, which all its layers share."""
    lengths = np.diff(np.frombuffer(offsets, dtype=np.int32))
    return Documents.from_lengths(lengths[lengths > 0]).to(device)


@contextlib.contextmanager
def differentiable() -> Iterator[None]:
    """Record operations for ``autograd.grad`` within the kernel of an operation, where PyTorch does not."""
    excluded = torch._C._dispatch_tls_local_exclude_set()
    for key in (
        torch._C.DispatchKey.AutogradFunctionality,
        torch._C.DispatchKey.AutogradOther,
        torch._C.DispatchKey.AutogradCPU,
        torch._C.DispatchKey.AutogradCUDA,
        torch._C.DispatchKey.ADInplaceOrView,
    ):
        excluded = excluded.remove(key) if excluded.has(key) else excluded
    with torch._C._ForceDispatchKeyGuard(torch._C._dispatch_tls_local_include_set(), excluded):
        yield
