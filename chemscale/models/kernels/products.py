"""Matrix products through oneDNN where PyTorch's default library is slow: MKL on processors of AMD.

MKL chooses by the maker of the processor and leaves half or more of an AMD core with AVX-512 idle; oneDNN,
which comes with PyTorch, chooses by instruction set. oneDNN compiles each new shape for about half a
millisecond and keeps the last 1,024, so this is for batches whose sizes recur.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from chemscale.models.kernels.compiled import applies

MIN_PRODUCTS = 1 << 22
"""Multiplications below which MKL is as fast, calls included (measured from 2,048 × 16 × 16 upwards)."""


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x·Wᵀ + b as ``torch.nn.functional.linear``, (…, I) → (…, O).

    Args:
        x: (…, I); oneDNN takes (T, I).
        weight: (O, I)
        bias: (O,)
    """
    if x.dim() == 2 and x.shape[0] * weight.numel() >= MIN_PRODUCTS and mkl_is_slow():
        given = (x, weight) if bias is None else (x, weight, bias)
        if applies(*given) and not torch.is_autocast_enabled("cpu"):
            return _Linear.apply(x, weight, bias)
    return F.linear(x, weight, bias)


class Linear(nn.Linear):
    """``torch.nn.Linear`` by ``linear``; for models whose batches are flat and of recurring size."""

    def forward(self, input: Tensor) -> Tensor:
        return linear(input, self.weight, self.bias)


@functools.cache
def mkl_is_slow() -> bool:
    """Whether this processor has AVX-512 and another maker than Intel, and PyTorch both libraries."""
    return (
        processor_maker() in ("AuthenticAMD", "HygonGenuine")
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
        and torch.backends.mkl.is_available()
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


def processor_maker() -> str | None:
    """``vendor_id`` of the first processor; None where the system does not say."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("vendor_id")), None)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        for_x, for_weight, for_bias = ctx.needs_input_grad
        return (
            _product(gradient, weight.t()) if for_x else None,
            _weight_gradient(gradient, x) if for_weight else None,
            gradient.sum(0) if for_bias else None,
        )


def _weight_gradient(gradient: Tensor, x: Tensor) -> Tensor:
    """gradientᵀ·x, computed in the form with the longer rows, which is the faster one."""
    if gradient.shape[1] > x.shape[1]:
        return _product(x.t(), gradient.t()).t()
    return _product(gradient.t(), x.t())


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x·Wᵀ + b, (A, B), (C, B) → (A, C)."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
