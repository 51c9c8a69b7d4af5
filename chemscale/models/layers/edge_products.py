"""Sums of products along edges, without a product of all edges ever lying in memory.

Each sum is a derivative of one multilinear form: of Σ g_r · c_e · x_s for a convolution with filters c, of
Σ g_r,d · a_e · y_e,d for outer products. All derivatives of such a sum, of any order, are derivatives of
the same form, so that energies, forces and the gradient of a force loss run through the few functions
below. On a CPU they work on runs of edges that stay in a core's cache; elsewhere, wherever a computation is
traced or counted, and with ``trainer.kernels=false``, the plain gathers, products and sums are taken, the
reference.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from chemscale.models.kernels.compiled import applies
from chemscale.models.layers.segments import Segments, bag_sum, gather, segment_sum

CACHE_BYTES = 1 << 19
"""Of the features of a run of edges: with what else is at work it stays in a core's second-level cache."""


class Ends(NamedTuple):
    """The two ends of E edges.

    Args:
        senders: edges by the atom that each starts from.
        receivers: edges by the atom that each ends at.
        pairs: the two edges of each of H = E/2 pairs of neighbours, one from either end, if filters are those
            of pairs; None if they are those of edges.
    """

    senders: Segments
    receivers: Segments
    pairs: Segments | None = None

    def turned(self) -> Ends:
        """The same edges, each from its receiver to its sender."""
        return Ends(self.receivers, self.senders, self.pairs)


def convolve(filters: Tensor, x: Tensor, ends: Ends) -> Tensor:
    """out[i] = Σ_j filters_ij ∘ x[j] over the neighbours j of i: (H, F), (N, …, F) → (N, …, F).

    Args:
        filters: (H, F) of each pair of neighbours, or (E, F) of each edge where the ends know no pairs.
        x: (N, …, F) features of atoms.
        ends: of the edges.
    """
    if not _fused(filters, x):
        rows = gather(x, ends.senders)
        if ends.pairs is not None:
            filters = gather(filters, ends.pairs)
        return segment_sum(filters.view(filters.shape[0], *[1] * (x.dim() - 2), -1) * rows, ends.receivers)
    wide = x.flatten(1, -2) if x.dim() > 2 else x[:, None]
    return _Convolution.apply(ends, filters, wide).view(x.shape)


def sum_outer(features: Tensor, weights: Tensor, ends: Ends) -> Tensor:
    """out[i, d] = Σ_j weights_ij,d · features_ij over the neighbours j of i: (E, F), (E, D) → (N, D, F).

    Args:
        features: (E, F) of each edge.
        weights: (E, D) of each edge, components of its direction.
        ends: of the edges.
    """
    if ends.receivers.order is not None or not _fused(features, weights):
        return segment_sum(weights[:, :, None] * features[:, None, :], ends.receivers)
    return _OuterSum.apply(ends.receivers, features, weights)


def _fused(*tensors: Tensor) -> bool:
    """Whether the cached kernels apply: wanted, on a CPU, in one precision, not traced, faked or counted."""
    return (
        applies(*tensors, dtypes=(torch.float32, torch.float64))
        and all(t.dtype == tensors[0].dtype for t in tensors)
        and torch._C._functorch.peek_interpreter_stack() is None
    )


def _runs(segments: Segments, width: int, size: int) -> Iterator[tuple[int, int, int, int]]:
    """Runs of whole segments: (first row, end of rows, first segment, end of segments) of each.

    Args:
        segments: that are walked through in order.
        width: numbers in a row.
        size: bytes of a number.
    """
    rows, count = segments.ids.shape[0], segments.offsets.shape[0] - 1
    step = max(1, CACHE_BYTES // max(1, width * size))
    if rows <= step:
        yield 0, rows, 0, count
        return
    targets = torch.arange(step, rows, step)
    ends = torch.unique_consecutive(torch.searchsorted(segments.offsets, targets, right=True) - 1)
    bounds = [0, *(e for e in ends.tolist() if 0 < e < count), count]
    at = segments.offsets[torch.tensor(bounds)].tolist()
    yield from zip(at[:-1], at[1:], bounds[:-1], bounds[1:], strict=True)


def _convolve(filters: Tensor, x: Tensor, ends: Ends) -> Tensor:
    """(H, F), (N, D, F) → (N, D, F), run by run of receivers."""
    senders, receivers, pairs = ends
    atoms, parts, width = x.shape
    x = x.reshape(atoms, parts * width)
    out = x.new_empty(receivers.offsets.shape[0] - 1, parts * width)
    from_atoms, by = senders.ids, None if pairs is None else pairs.ids
    if receivers.order is not None:
        from_atoms = from_atoms.index_select(0, receivers.order)
        by = receivers.order if by is None else by.index_select(0, receivers.order)
    steps = torch.arange(from_atoms.shape[0])
    for start, end, first, last in _runs(receivers, parts * width, x.element_size()):
        products = x.index_select(0, from_atoms[start:end])
        part = filters[start:end] if by is None else filters.index_select(0, by[start:end])
        products.view(-1, parts, width).mul_(part[:, None])
        out[first:last] = bag_sum(products, steps[: end - start], receivers.offsets[first : last + 1] - start)
    return out.view(-1, parts, width)


def _pair_products(x: Tensor, g: Tensor, ends: Ends) -> Tensor:
    """out[h] = Σ_d x[s(e), d] ∘ g[r(e), d] over the edges e of pair h: (N, D, F), (N, D, F) → (H, F)."""
    _, parts, width = x.shape
    x, g = x.reshape(-1, parts * width), g.reshape(-1, parts * width)
    members: list[Tensor | slice] = [slice(None)]
    if ends.pairs is not None:
        assert ends.pairs.order is not None
        members = [ends.pairs.order[0::2], ends.pairs.order[1::2]]
    both = [(ends.senders.ids[rows], ends.receivers.ids[rows]) for rows in members]
    out = x.new_empty(both[0][0].shape[0], width)
    step = max(1, CACHE_BYTES // max(1, parts * width * x.element_size()))
    for start in range(0, out.shape[0], step):
        run, fresh = slice(start, start + step), True
        for senders, receivers in both:
            left = x.index_select(0, senders[run]).view(-1, parts, width)
            right = g.index_select(0, receivers[run]).view(-1, parts, width)
            for part in range(parts):
                if fresh:
                    torch.mul(left[:, part], right[:, part], out=out[run])
                else:
                    out[run].addcmul_(left[:, part], right[:, part])
                fresh = False
    return out


class _Convolution(torch.autograd.Function):
    """∂/∂g of Σ g_r · c_e · x_s; by c_e it is a product of pairs, by x_s a convolution of turned edges."""

    @staticmethod
    def forward(ctx: Any, ends: Ends, filters: Tensor, x: Tensor) -> Tensor:
        ctx.ends = ends
        ctx.save_for_backward(filters, x)
        return _convolve(filters, x, ends)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor | None, Tensor | None]:
        (g,) = gradients
        filters, x = ctx.saved_tensors
        of_filters = _PairProducts.apply(ctx.ends, x, g) if ctx.needs_input_grad[1] else None
        of_x = _Convolution.apply(ctx.ends.turned(), filters, g) if ctx.needs_input_grad[2] else None
        return None, of_filters, of_x


class _PairProducts(torch.autograd.Function):
    """∂/∂c of Σ g_r · c_e · x_s; both of its derivatives are convolutions."""

    @staticmethod
    def forward(ctx: Any, ends: Ends, x: Tensor, g: Tensor) -> Tensor:
        ctx.ends = ends
        ctx.save_for_backward(x, g)
        return _pair_products(x, g, ends)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor | None, Tensor | None]:
        (c,) = gradients
        x, g = ctx.saved_tensors
        of_x = _Convolution.apply(ctx.ends.turned(), c, g) if ctx.needs_input_grad[1] else None
        of_g = _Convolution.apply(ctx.ends, c, x) if ctx.needs_input_grad[2] else None
        return None, of_x, of_g


class _OuterSum(torch.autograd.Function):
    """∂/∂g of Σ g_r,d · a_e · y_e,d: (E, F), (E, D) → (N, D, F)."""

    @staticmethod
    def forward(ctx: Any, receivers: Segments, features: Tensor, weights: Tensor) -> Tensor:
        ctx.receivers = receivers
        ctx.save_for_backward(features, weights)
        features, weights = features.contiguous(), weights.T.contiguous()
        out = features.new_empty(receivers.offsets.shape[0] - 1, weights.shape[0], features.shape[1])
        steps = torch.arange(features.shape[0])
        for start, end, first, last in _runs(receivers, features.shape[1], features.element_size()):
            offsets = receivers.offsets[first : last + 1] - start
            for part, weight in enumerate(weights):
                rows = steps[start:end]
                out[first:last, part] = bag_sum(features, rows, offsets, weight[start:end])
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor | None, Tensor | None]:
        (g,) = gradients
        features, weights = ctx.saved_tensors
        of_features = _WeightedRows.apply(ctx.receivers, weights, g) if ctx.needs_input_grad[1] else None
        of_weights = _RowProducts.apply(ctx.receivers, features, g) if ctx.needs_input_grad[2] else None
        return None, of_features, of_weights


class _WeightedRows(torch.autograd.Function):
    """∂/∂a of Σ g_r,d · a_e · y_e,d: (E, D), (N, D, F) → (E, F)."""

    @staticmethod
    def forward(ctx: Any, receivers: Segments, weights: Tensor, g: Tensor) -> Tensor:
        ctx.receivers = receivers
        ctx.save_for_backward(weights, g)
        edges, parts = weights.shape
        rows = (receivers.ids[:, None] * parts + torch.arange(parts)).flatten()
        offsets = torch.arange(0, edges * parts + 1, parts)
        return bag_sum(g.reshape(-1, g.shape[2]), rows, offsets, weights.flatten())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor | None, Tensor | None]:
        (a,) = gradients
        weights, g = ctx.saved_tensors
        of_weights = _RowProducts.apply(ctx.receivers, a, g) if ctx.needs_input_grad[1] else None
        of_g = _OuterSum.apply(ctx.receivers, a, weights) if ctx.needs_input_grad[2] else None
        return None, of_weights, of_g


class _RowProducts(torch.autograd.Function):
    """∂/∂y of Σ g_r,d · a_e · y_e,d: (E, F), (N, D, F) → (E, D)."""

    @staticmethod
    def forward(ctx: Any, receivers: Segments, features: Tensor, g: Tensor) -> Tensor:
        ctx.receivers = receivers
        ctx.save_for_backward(features, g)
        edges, (_, parts, width) = features.shape[0], g.shape
        rows = g.reshape(-1, parts * width)
        out = g.new_empty(edges, parts)
        step = max(1, CACHE_BYTES // max(1, parts * width * g.element_size()))
        for start in range(0, edges, step):
            run = slice(start, start + step)
            products = rows.index_select(0, receivers.ids[run]).view(-1, parts, width)
            torch.sum(products.mul_(features[run, None]), 2, out=out[run])
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor | None, Tensor | None]:
        (y,) = gradients
        features, g = ctx.saved_tensors
        of_features = _WeightedRows.apply(ctx.receivers, y, g) if ctx.needs_input_grad[1] else None
        of_g = _OuterSum.apply(ctx.receivers, features, y) if ctx.needs_input_grad[2] else None
        return None, of_features, of_g
