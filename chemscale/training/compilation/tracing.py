"""A function as one graph of operations, first derivatives included, that can be differentiated again."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import (
    DimDynamic,
    ShapeEnv,
    StatelessSymbolicContext,
    free_symbols,
)
from torch.fx.graph import CodeGen


class CompilationError(RuntimeError):
    """A function that cannot be compiled for every batch; the message says why."""


Function = Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], tuple[Tensor, ...]]
"""Of a state (parameters and buffers by name) and a batch (tensors by name)."""
Dynamic = Mapping[str, Sequence[int]]
"""Name of an input → its dimensions that differ from batch to batch."""


def trace(
    function: Function,
    state: Mapping[str, Tensor],
    inputs: Mapping[str, Tensor],
    dynamic: Dynamic,
) -> tuple[GraphModule, list[str]]:
    """Trace a function for every size of a batch; ``autograd.grad`` within it becomes part of the graph.

    Nothing is computed: all tensors are fake. Sizes that vary are symbols of their own, even where two are
    equal by chance; those of the state are numbers.

    Autograd puts a ``detach`` around what a formula of a first derivative takes from the forward pass. In the
    graph it would cut the second derivative there, without a word, and is taken out.

    Args:
        function: of a state and a batch.
        state: parameters and buffers by name.
        inputs: a batch, by name; only sizes and types matter.
        dynamic: which of its sizes vary.

    Returns:
        The graph, and the names of what it reads of the state: its arguments are these, then the batch.

    Raises:
        CompilationError: the graph would hold for one size alone.
    """
    shapes = ShapeEnv(duck_shape=False)
    mode = FakeTensorMode(shape_env=shapes, allow_non_fake_inputs=True)
    fake_state = {name: _fake(mode, tensor) for name, tensor in state.items()}
    fake_inputs = {name: _fake(mode, x, dynamic.get(name, ())) for name, x in inputs.items()}
    names = [*fake_state, *fake_inputs]

    def flat(*tensors: Tensor) -> tuple[Tensor, ...]:
        named = dict(zip(names, tensors, strict=True))
        return function({key: named[key] for key in state}, {key: named[key] for key in inputs})

    with uncached_autocast(next(iter(inputs.values())).device.type):
        graph = make_fx(flat, tracing_mode="symbolic", _allow_non_fake_inputs=True)(
            *fake_state.values(), *fake_inputs.values()
        )
    for name, tensor in fake_inputs.items():
        for dim in dynamic.get(name, ()):
            if not free_symbols(tensor.shape[dim]):
                raise CompilationError(
                    f"its trace holds for batches with {int(tensor.shape[dim])} {name} only"
                )
    _remove_detach(graph)
    return graph, _remove_unread(graph, list(state))


def _fake(mode: FakeTensorMode, tensor: Tensor, varying: Sequence[int] = ()) -> Tensor:
    sizes: Any = [DimDynamic.DYNAMIC if dim in varying else DimDynamic.STATIC for dim in range(tensor.dim())]
    return mode.from_tensor(tensor, symbolic_context=StatelessSymbolicContext(dynamic_sizes=sizes))


def _remove_detach(graph: GraphModule) -> None:
    for node in list(graph.graph.nodes):
        if node.op == "call_function" and node.target is torch.ops.aten.detach.default:
            node.replace_all_uses_with(node.args[0])
            graph.graph.erase_node(node)
    graph.graph.eliminate_dead_code()
    graph.recompile()


def _remove_unread(graph: GraphModule, state: Sequence[str]) -> list[str]:
    """Take out what nothing reads of the state, as autograd leaves it without a gradient; what is read."""
    places = [node for node in graph.graph.nodes if node.op == "placeholder"][: len(state)]
    read = [name for name, node in zip(state, places, strict=True) if node.users]
    for node in places:
        if not node.users:
            graph.graph.erase_node(node)
    graph.graph.set_codegen(CodeGen())
    graph.recompile()
    return read


@contextlib.contextmanager
def uncached_autocast(device: str) -> Iterator[None]:
    """Autocast as it stands, without its cache of casted weights, which would keep fake tensors."""
    enabled, dtype = torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)
    with torch.autocast(device, dtype=dtype, enabled=enabled, cache_enabled=False):
        yield
