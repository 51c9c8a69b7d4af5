"""A dispatch mode that sees every operation of a run: it counts them, and notes where the host waits."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from chemscale.testing.fake_cuda.kernels import H100, Roofline, cost_of

aten = torch.ops.aten
PACKAGE = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent


@dataclass
class Phase:
    """Counts of one stretch of a run."""

    operations: int = 0
    kernels: int = 0
    bytes: int = 0
    flops: int = 0
    gpu_seconds: float = 0.0
    host_seconds: float = 0.0
    waits: list[str] = field(default_factory=list)
    """Where the host waited for the device, in words."""
    names: Counter[str] = field(default_factory=Counter)
    """Operations by name."""
    seconds_of: Counter[str] = field(default_factory=Counter)
    """Seconds of the GPU by name."""

    def add(self, other: Phase) -> None:
        """Add another stretch."""
        for key in ("operations", "kernels", "bytes", "flops", "gpu_seconds", "host_seconds"):
            setattr(self, key, getattr(self, key) + getattr(other, key))
        self.waits += other.waits
        self.names += other.names
        self.seconds_of += other.seconds_of


class Operations(TorchDispatchMode):
    """Counts by phase. Numbers that are read from a fake tensor are made up: true, 1.0, `integer`.

    Args:
        integer: what an integer that is read is taken to be, such as atoms of a structure.
        gpu: whose seconds are estimated.
    """

    def __init__(self, integer: int = 1, gpu: Roofline = H100):
        super().__init__()
        self.integer, self.gpu = integer, gpu
        self.phases: dict[Any, Phase] = {}
        self.phase: Any = None

    @property
    def now(self) -> Phase:
        """The stretch that is being counted."""
        return self.phases.setdefault(self.phase, Phase())

    def wait(self, what: str) -> None:
        """Note that the host waits here.

        Args:
            what: makes it wait.
        """
        self.now.waits.append(f"{what} at {place()}")

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is aten._local_scalar_dense.default:
            return self._number(args[0])
        if func in (aten.pin_memory.default, aten._pin_memory.default):
            return pinned(args[0])
        if func is aten.is_pinned.default:
            return is_pinned(args[0])
        if sized_by_data(func, args, kwargs):
            if any(x.device.type == "cuda" for x in tree_leaves(args) if isinstance(x, Tensor)):
                self.wait(f"{func._schema.name.split('::')[1]} (its size depends on data)")
            if func is aten.repeat_interleave.Tensor:
                return args[0].new_empty(args[0].numel() * self.integer)
            return SIZED_BY_DATA[func](*args, **kwargs)
        out = func(*args, **kwargs)
        if kwargs.get("pin_memory"):
            pinned(out)
        self._check_copy(func, args, kwargs, out)
        cost = cost_of(func, args, kwargs, out, self.gpu)
        if cost is not None:
            self._count(func._schema.name.split("::")[1], cost)
        return out

    def _count(self, name: str, cost: Any) -> None:
        now = self.now
        now.operations += 1
        now.kernels += cost.kernels
        now.bytes += cost.bytes
        now.flops += cost.flops
        now.gpu_seconds += cost.seconds
        now.host_seconds += self.gpu.operation + (cost.kernels - 1) * self.gpu.launch
        now.names[name] += 1
        now.seconds_of[name] += cost.seconds

    def _number(self, tensor: Tensor) -> Any:
        if tensor.device.type == "cuda":
            self.wait("a number is read")
        if tensor.dtype == torch.bool:
            return True
        return 1.0 if tensor.is_floating_point() else self.integer

    def _check_copy(self, func: Any, args: Any, kwargs: Any, out: Any) -> None:
        """Copies between host and device wait, unless they are not to and the host's memory is pinned."""
        if func is aten._to_copy.default:
            source, target, lazy = args[0], out, kwargs.get("non_blocking", False)
        elif func is aten.copy_.default:
            target, source = args[:2]
            lazy = args[2] if len(args) > 2 else kwargs.get("non_blocking", False)
        else:
            return
        ways = source.device.type, target.device.type
        if ways not in (("cpu", "cuda"), ("cuda", "cpu")) or not target.numel():
            return
        host = source if ways[0] == "cpu" else target
        if not lazy:
            self.wait(f"a blocking copy from {ways[0]} to {ways[1]}")
        elif not is_pinned(host):
            self.wait(f"a copy from {ways[0]} to {ways[1]} of memory that is not pinned")


def pinned(tensor: Tensor) -> Tensor:
    """Take a tensor of the host to be page-locked; views of it are not known as such."""
    tensor._fake_pinned = True  # type: ignore[attr-defined]
    return tensor


def is_pinned(tensor: Tensor) -> bool:
    """Whether ``pinned`` was called for it."""
    return getattr(tensor, "_fake_pinned", False)


def place() -> str:
    """The innermost line of chemscale that led here; where it only starts the trainer, of torch's caller."""
    frame, caller = sys._getframe(1), ""
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        line = f"{path.name}:{frame.f_lineno} ({frame.f_code.co_name})"
        if HERE not in path.parents and PACKAGE in path.parents:
            ours = path.relative_to(PACKAGE)
            return caller or line if ours.name == "session.py" else f"{ours.parent}/{line}"
        if HERE not in path.parents and "torch" not in path.parts:
            caller = caller or line
        frame = frame.f_back  # type: ignore[assignment]
    return caller or "the backward pass"


def _nonzero(x: Tensor) -> Tensor:
    return x.new_empty((x.numel(), x.dim()), dtype=torch.int64)


def _masked(x: Tensor, mask: Tensor) -> Tensor:
    return x.new_empty(torch.broadcast_shapes(x.shape, mask.shape)).flatten()


def _indexed(x: Tensor, indices: list[Tensor | None]) -> Tensor:
    """A mask as the indices of all that it covers."""
    whole: list[Tensor | None] = []
    for index in indices:
        if index is None or index.dtype not in (torch.bool, torch.uint8):
            whole.append(index)
        else:
            whole += [index.new_empty(index.numel(), dtype=torch.int64)] * index.dim()
    return aten.index.Tensor(x, whole)


SIZED_BY_DATA: dict[Any, Callable[..., Tensor]] = {
    aten.nonzero.default: _nonzero,
    aten.masked_select.default: _masked,
    aten.index.Tensor: _indexed,
}
"""Operations whose result is as large as the data say: it is taken to be as large as it can be."""


def sized_by_data(func: Any, args: Any, kwargs: Any) -> bool:
    """Whether the host has to wait for the size of the result."""
    if func is aten.index.Tensor:
        return any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in args[1])
    if func is aten.repeat_interleave.Tensor:
        return kwargs.get("output_size") is None
    return func in SIZED_BY_DATA
