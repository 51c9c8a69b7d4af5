"""GELU in its tanh form (Hendrycks and Gimpel 2016) as one pass over memory."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from chemscale.models.kernels.compiled import applies, library


def gelu(x: Tensor) -> Tensor:
    """½x·(1 + tanh(√(2/π)(x + 0.044715x³))), by the kernel of ``cpu.cpp`` where it applies."""
    if applies(x) and library() is not None:
        return _Gelu.apply(x)
    return F.gelu(x, approximate="tanh")


class _Gelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.contiguous()
        ctx.save_for_backward(x)
        return _run(x, None)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return _run(x, gradient.contiguous())


def _run(x: Tensor, gradient: Tensor | None) -> Tensor:
    kernels = library()
    assert kernels is not None
    out = torch.empty_like(x)
    slope = None if gradient is None else gradient.data_ptr()
    kernels.gelu(x.data_ptr(), slope, out.data_ptr(), x.numel(), torch.get_num_threads())
    return out
