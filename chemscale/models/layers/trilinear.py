"""The product that equivariant networks are made of, without its outer product ever lying in memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

CACHE_NUMBERS = 1 << 16
"""Numbers of the outer product held at once on a CPU: 256 KiB in float32, which stays in a core's cache."""


@contextlib.contextmanager
def in_one_part() -> Iterator[None]:
    """Within it a CPU computes the product as a GPU does, its outer product in memory: for plans."""
    global CACHE_NUMBERS
    before, CACHE_NUMBERS = CACHE_NUMBERS, 1 << 62
    try:
        yield
    finally:
        CACHE_NUMBERS = before


def trilinear(coupling: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """out[m, k, u] = Σ_ij C[k, i, j] · left[m, i, u] · right[m, j, u], to any order of differentiation.

    The derivative of this product with respect to either factor is the same product with C turned, so that
    energies, forces and the gradient of a force loss all run through this one function; C is constant.

    Args:
        coupling: (K, I, J) constant C.
        left: (M, I, U) first factor.
        right: (M, J, U) second factor.

    Returns:
        (M, K, U)
    """
    # Under autocast layers before this one hand over bf16; products of geometry stay in their own precision.
    with torch.autocast(left.device.type, enabled=False):
        return _Trilinear.apply(coupling, left.to(coupling.dtype), right.to(coupling.dtype))


class _Trilinear(torch.autograd.Function):
    """The product in parts that fit a core's cache; its gradients are products of the same kind."""

    @staticmethod
    def forward(ctx: Any, coupling: Tensor, left: Tensor, right: Tensor) -> Tensor:
        ctx.save_for_backward(coupling, left, right)
        rows, channels = left.shape[0], left.shape[2]
        matrix = coupling.flatten(1)  # (K, IJ)
        if not isinstance(rows, int):  # traced for batches of every size: a loop would hold for one
            return torch.matmul(matrix, (left[:, :, None, :] * right[:, None, :, :]).flatten(1, 2))
        step = rows
        if left.device.type == "cpu":
            step = max(1, CACHE_NUMBERS // max(1, matrix.shape[1] * channels))
        out = left.new_empty(rows, matrix.shape[0], channels)
        for start in range(0, rows, max(1, step)):
            part = slice(start, start + step)
            outer = (left[part, :, None, :] * right[part, None, :, :]).flatten(1, 2)  # (m, IJ, U)
            torch.matmul(matrix, outer, out=out[part])
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor | None, Tensor | None]:
        (gradient,) = gradients
        coupling, left, right = ctx.saved_tensors
        of_left = of_right = None
        if ctx.needs_input_grad[1]:
            of_left = trilinear(coupling.permute(1, 0, 2), gradient, right)
        if ctx.needs_input_grad[2]:
            of_right = trilinear(coupling.permute(2, 0, 1), gradient, left)
        return None, of_left, of_right
