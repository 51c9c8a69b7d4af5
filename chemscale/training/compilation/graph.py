"""A traced function, compiled once for batches of every size."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._dynamo import config as dynamo
from torch._dynamo import mark_dynamic
from torch._functorch import config as functorch
from torch.fx.experimental import _config as symbolic_shapes

from chemscale.training.compilation.tracing import CompilationError, Dynamic, Function, trace

log = logging.getLogger(__name__)

MIN_SIZE = 2
"""Compilers take sizes 0 and 1 for numbers that never change."""

INDUCTOR: dict[str, str | int | bool | Callable[..., Any]] = {
    "deterministic": True,  # no choice by a stopwatch: a run that is resumed adds up in the same order
    "max_autotune": False,
}
"""Options of torch's own backend."""


class CompiledGraph:
    """A compiled function of a state and a batch.

    Args:
        function: of tensors: of the state, then of a batch.
        state: what it reads of parameters and buffers; their present values enter each call.
        inputs: names of what it takes of a batch, in its order.
        varying: dimensions of these that differ from batch to batch.
    """

    def __init__(
        self,
        function: Callable[..., Sequence[Tensor]],
        state: Mapping[str, Tensor],
        inputs: Sequence[str],
        varying: Dynamic,
    ):
        self._function, self._inputs = function, tuple(inputs)
        self._names, self._values = tuple(state), list(state.values())
        self._sizes = [(name, dim) for name in inputs for dim in varying.get(name, ())]

    def takes(self, tensors: Mapping[str, Tensor]) -> bool:
        """Whether the code holds for a batch: the same tensors, and no varying size below `MIN_SIZE`."""
        return tensors.keys() == set(self._inputs) and all(
            tensors[name].shape[dim] >= MIN_SIZE for name, dim in self._sizes
        )

    def __call__(
        self, tensors: Mapping[str, Tensor], state: Mapping[str, Tensor] | None = None
    ) -> tuple[Tensor, ...]:
        """What the function makes of a batch.

        Args:
            tensors: the batch, by name.
            state: other values than the present ones, parameters as ``nn.Parameter``.

        Raises:
            torch._dynamo.exc.RecompileError: the code does not hold for this batch.
        """
        values = self._values if state is None else [state[name] for name in self._names]
        flat = [*values, *(tensors[name] for name in self._inputs)]
        # What is cast stands in the trace: autocast would cast again what it left alone.
        with torch.autocast(flat[0].device.type, enabled=False), dynamo.patch(error_on_recompile=True):
            return tuple(self._function(*flat))


def compile_graph(
    function: Function,
    state: Mapping[str, Tensor],
    inputs: Mapping[str, Tensor],
    varying: Dynamic,
    backend: str = "inductor",
    *,
    cuda_graph: bool = False,
) -> CompiledGraph:
    """Trace a function and compile the trace: forward, and backward where gradients are wanted.

    Args:
        function: of a state and a batch, both by name; ``autograd.grad`` within it becomes part of the graph.
        state: parameters and buffers, by name.
        inputs: a batch of usual sizes, which the code is made for.
        varying: dimensions of the batch that differ from batch to batch.
        backend: of ``torch.compile``; ``trace`` for the trace as it stands.
        cuda_graph: whether a GPU replays it: for sizes that hardly differ from batch to batch.

    Raises:
        CompilationError: a size of the batch is too small to vary, or the trace holds for one size alone.
    """
    for name, tensor in inputs.items():
        if any(tensor.shape[dim] < MIN_SIZE for dim in varying.get(name, ())):
            raise CompilationError(f"the first batch has {name} of shape {tuple(tensor.shape)}")
    traced, read = trace(function, state, inputs, varying)
    kept = {name: state[name] for name in read}
    if backend == "trace":
        return CompiledGraph(traced, kept, list(inputs), varying)
    options = INDUCTOR | {"triton.cudagraphs": cuda_graph} if backend == "inductor" else None
    compiled = torch.compile(traced, fullgraph=True, backend=backend, options=options)
    result = CompiledGraph(compiled, kept, list(inputs), varying)
    example = {name: tensor.clone() for name, tensor in inputs.items()}
    for name, tensor in example.items():
        mark_dynamic(tensor, list(varying.get(name, ())))
    with first_compilation():
        result(example)
    return result


@contextlib.contextmanager
def first_compilation() -> Iterator[None]:
    """Settings of torch under which code is made once for every size of a batch.

    Sizes that are equal by chance stay apart; the graph is not cut at DDP's buckets; the backward pass is
    compiled at once, and not by the thread that first needs it.
    """
    with (
        symbolic_shapes.patch(use_duck_shape=False),  # type: ignore[attr-defined]
        dynamo.patch(optimize_ddp=False),
        functorch.patch(force_non_lazy_backward_lowering=True),
    ):
        yield


def warn_once(error: Exception) -> None:
    """Say that a batch was not for the compiled code; a problem that was told is not told again.

    Args:
        error: why.
    """
    _warn_once(str(error).strip().splitlines()[0])


@functools.cache
def _warn_once(problem: str) -> None:
    log.warning("A batch was computed by the model itself, not by compiled code: %s", problem)
