"""Gather rows and sum them by segments: one pair of operations, each the derivative of the other.

``index_add`` adds in an order that a GPU does not promise, and under PyTorch's determinism it sorts first:
fifteen kernels in the place of one. Here the order of the rows of each segment is part of the graph, found
once a batch: sums are the same to the bit, to any order of differentiation.

The kernel is that of ``torch.nn.functional.embedding_bag``, which reads the rows of a bag in turn and adds
them up in registers: on a CPU 3 to 20 times as fast as ``index_add``, on a GPU without atomics (one thread
for each number of the sum, ``EmbeddingBag_updateOutputKernel_sum_mean``). Only its forward pass is taken:
derivatives are gathers and sums of this file again, so that of PyTorch's list of operations that
``use_deterministic_algorithms`` refuses (EmbeddingBag's backward pass of ``mode="max"``) or makes slower
(``index_add``, the derivative of ``index_select``) none is met, to any order. Both are operations of a
library (``torch.ops.chemscale``), so that a traced graph keeps them and their derivatives.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor


class Segments(NamedTuple):
    """M rows that belong to S segments.

    Args:
        ids: (M,) segment of each row.
        offsets: (S + 1,) where each segment begins in `order`, and M.
        order: (M,) rows ordered by segment; None if the rows themselves are.
    """

    ids: Tensor
    offsets: Tensor
    order: Tensor | None = None


def offsets_of(index: Tensor, size: int, order: Tensor | None = None) -> Tensor:
    """Where each segment of an ordered index begins, (S + 1,); nothing is read from the device.

    Args:
        index: (M,) segment of each row.
        size: S.
        order: (M,) rows ordered by segment; None if `index` rises.
    """
    ordered = index if order is None else index.index_select(0, order)
    return torch.searchsorted(ordered.contiguous(), torch.arange(size + 1, device=index.device))


def gather(x: Tensor, segments: Segments) -> Tensor:
    """The row of its segment for each member, (S, …) → (M, …).

    Args:
        x: (S, …) a row for each segment.
        segments: who belongs where.
    """
    rows = torch.ops.chemscale.gather_rows(_flat(x), *segments)
    return rows.view(-1, *x.shape[1:])


def segment_sum(x: Tensor, segments: Segments) -> Tensor:
    """Sums of the rows of each segment, (M, …) → (S, …); 0 where there is none.

    Args:
        x: (M, …) rows.
        segments: who belongs where.
    """
    total = torch.ops.chemscale.segment_sum(_flat(x), *segments)
    return total.view(segments.offsets.shape[0] - 1, *x.shape[1:])


def bag_sum(x: Tensor, rows: Tensor, offsets: Tensor, weights: Tensor | None = None) -> Tensor:
    """out[s] = Σ_k weights[k]·x[rows[k]] over k from offsets[s] to offsets[s + 1], (S, F); no derivative.

    Args:
        x: (M, F) rows, whose last dimension is contiguous.
        rows: (K,) that are summed.
        offsets: (S + 1,) into `rows`.
        weights: (K,) of each; 1 if None.
    """
    return torch._embedding_bag_forward_only(x, rows, offsets, False, 0, False, weights, True)[0]


def _flat(x: Tensor) -> Tensor:
    """At most two dimensions: (M,) or (M, F)."""
    return x.flatten(1) if x.dim() > 2 else x


def _gather_rows(x: Tensor, index: Tensor, offsets: Tensor, order: Tensor | None) -> Tensor:
    return x.index_select(0, index)


def _segment_sum(x: Tensor, index: Tensor, offsets: Tensor, order: Tensor | None) -> Tensor:
    rows = _counting(x.shape[0], x.device) if order is None else order
    matrix = x.contiguous() if x.dim() > 1 else x[:, None]
    return bag_sum(matrix, rows, offsets).view(-1, *x.shape[1:])


_counted: dict[torch.device, Tensor] = {}


def _counting(count: int, device: torch.device) -> Tensor:
    """The numbers from 0 to `count`, made once for each device: a kernel fewer for each sum."""
    held = _counted.get(device)
    if held is None or held.shape[0] < count:
        with torch.inference_mode(False):
            held = _counted[device] = torch.arange(count, device=device)
    return held[:count]


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[1:])


def _gather_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
    return torch.ops.chemscale.segment_sum(gradient, *ctx.saved_tensors), None, None, None


def _segment_sum_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
    return torch.ops.chemscale.gather_rows(gradient, *ctx.saved_tensors), None, None, None


for _name, _kernel, _backward, _shape in (
    ("gather_rows", _gather_rows, _gather_backward, lambda x, index, offsets: index.shape[0]),
    ("segment_sum", _segment_sum, _segment_sum_backward, lambda x, index, offsets: offsets.shape[0] - 1),
):
    torch.library.define(
        f"chemscale::{_name}", "(Tensor x, Tensor index, Tensor offsets, Tensor? order) -> Tensor"
    )
    torch.library.impl(f"chemscale::{_name}", "CompositeExplicitAutograd")(_kernel)
    torch.library.register_fake(
        f"chemscale::{_name}",
        lambda x, index, offsets, order, rows=_shape: x.new_empty(rows(x, index, offsets), *x.shape[1:]),
    )
    torch.library.register_autograd(f"chemscale::{_name}", _backward, setup_context=_save)
