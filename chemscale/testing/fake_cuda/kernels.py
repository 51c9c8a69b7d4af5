"""What an operation costs on a GPU: kernels launched, bytes moved, FLOPs, seconds on a roofline."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

FREE = frozenset(
    (
        *("detach", "lift_fresh", "alias", "_unsafe_view", "_reshape_alias", "is_pinned", "record_stream"),
        *("set_", "resize_", "is_same_size", "_has_compatible_shallow_copy_type"),
    )
)
"""Operations without a kernel, beside views."""
EMPTY = frozenset(
    ("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "empty_permuted")
)

SORTED_SUM = 15
"""Kernels of ``index_add`` under deterministic algorithms: checks, a radix sort, the sum (Indexing.cu)."""
LAUNCHES = {
    "index_put": 13, "index_put_": 13, "_index_put_impl_": 13, "embedding_dense_backward": 8, "sort": 5,
    "argsort": 5, "cumsum": 2, "native_layer_norm_backward": 2, "nll_loss_backward": 2,
    "slice_backward": 2, "select_backward": 2, "diagonal_backward": 2, "scatter_add": 2, "topk": 4,
    "_scaled_dot_product_flash_attention_backward": 3, "_scaled_dot_product_efficient_attention_backward": 3,
    "_flash_attention_backward": 3, "_varlen_attn": 2, "_varlen_attn_backward": 3,
}  # fmt: skip
"""Kernels of operations that are more than one, in torch 2.13's CUDA sources."""
TENSORS_A_LAUNCH = {1: 110, 2: 64, 3: 48, 4: 36, 5: 30}
"""How many tensors one kernel of a list operation takes, by the number of lists (MultiTensorApply.cuh)."""
GATHERS = frozenset(("embedding", "index_select", "index", "gather"))
"""They read as much of their table as they write, whatever the size of the table."""


@dataclass(frozen=True)
class Roofline:
    """A GPU as a roofline model sees it; rates are what good kernels reach, not what the maker prints.

    Args:
        bandwidth: bytes/s.
        half: FLOP/s of products of 16 bits.
        tf32: of float32 products in tf32.
        single: of float32.
        double: of float64.
        kernel: seconds that the shortest kernel takes.
        operation: seconds that the host takes for an operation, its first kernel included.
        launch: seconds for each further kernel.
    """

    bandwidth: float = 2.8e12
    half: float = 550e12
    tf32: float = 225e12
    single: float = 45e12
    double: float = 40e12
    kernel: float = 2.5e-6
    operation: float = 6e-6
    launch: float = 3e-6

    def flops_of(self, dtype: torch.dtype | None) -> float:
        """FLOP/s of products whose result has this dtype."""
        if dtype in (torch.float16, torch.bfloat16):
            return self.half
        if dtype == torch.float64:
            return self.double
        return self.single if torch.get_float32_matmul_precision() == "highest" else self.tf32


H100 = Roofline()
"""An H100 SXM: 3.35 TB/s and 989 TFLOP/s on paper (data sheet); of that, what good kernels reach."""


@dataclass(frozen=True)
class Cost:
    """Of one operation."""

    kernels: int
    bytes: int
    flops: int
    seconds: float


def cost_of(func: Any, args: Any, kwargs: Any, out: Any, gpu: Roofline = H100) -> Cost | None:
    """What an operation costs on a GPU; None where it launches nothing there.

    Args:
        func: the overload that was called.
        args: its arguments.
        kwargs: likewise.
        out: its result.
        gpu: whose seconds are given.
    """
    namespace, name = func._schema.name.split("::")
    if namespace == "prim":  # questions, such as for the device
        return None
    inputs = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
    outputs = [x for x in tree_leaves(out) if isinstance(x, Tensor)]
    tensors = inputs + outputs or []
    if name in FREE or is_view(func) or not any(x.device.type == "cuda" for x in tensors):
        return None
    if name in EMPTY:
        filled = torch.are_deterministic_algorithms_enabled() and _fills()
        return _cost(gpu, 1, sum(map(stored, outputs)), 0, None) if filled else None
    if not sum(x.numel() for x in outputs or inputs):
        return None
    flops = 0
    formula = flop_registry.get(func._overloadpacket)
    if formula is not None:
        flops = int(formula(*args, **kwargs, out_val=out))
    dtype = outputs[0].dtype if outputs else None
    return _cost(gpu, launches(name, args, tensors), moved(name, inputs, outputs), flops, dtype)


def _cost(gpu: Roofline, kernels: int, size: int, flops: int, dtype: torch.dtype | None) -> Cost:
    busy = max(size / gpu.bandwidth, flops / gpu.flops_of(dtype), gpu.kernel)
    return Cost(kernels, size, flops, busy + (kernels - 1) * gpu.kernel)


def _fills() -> bool:
    return bool(torch.utils.deterministic.fill_uninitialized_memory)  # type: ignore[attr-defined]


def is_view(func: Any) -> bool:
    """Whether the result is an input in another shape, nothing written."""
    aliases = [r.alias_info for r in func._schema.returns]
    return any(alias is not None and not alias.is_write for alias in aliases)


def launches(name: str, args: Any, tensors: Iterable[Tensor]) -> int:
    """Kernels of an operation.

    Args:
        name: without its namespace and overload.
        args: its arguments.
        tensors: inputs and outputs.
    """
    if name.startswith(("_foreach", "_fused_adam", "_amp_foreach")):
        lists = [x for x in args if isinstance(x, list | tuple) and x and isinstance(x[0], Tensor)]
        most = TENSORS_A_LAUNCH[min(5, max(1, len(lists)))]
        return -(-len(lists[0]) // most) if lists else 1
    if name in ("index_add", "index_add_"):
        copy = name == "index_add"
        return copy + (SORTED_SUM if torch.are_deterministic_algorithms_enabled() else 1)
    return LAUNCHES.get(name, 1)


def moved(name: str, inputs: list[Tensor], outputs: list[Tensor]) -> int:
    """Bytes that an operation reads and writes in the memory of the GPU."""
    written = sum(map(stored, outputs))
    if name in GATHERS:
        return 2 * written + sum(map(stored, inputs[1:]))
    return written + sum(map(stored, inputs))


def stored(tensor: Tensor) -> int:
    """Bytes of a tensor; a dimension that is only expanded is stored once."""
    count = 1
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        if size == 0:
            return 0
        count *= size if stride or size == 1 else 1
    return count * tensor.element_size()
