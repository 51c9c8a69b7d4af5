"""What a training step asks of a device: operations launched, bytes read and written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

FREE = ("aten.view", "aten.detach", "aten.alias", "aten.expand", "aten.empty", "aten.lift_fresh")
"""Beginnings of operations that launch nothing: views that do not share storage in name, and bare memory."""


@dataclass
class Counted:
    """Sums over a run.

    Args:
        operations: that launch something.
        moved: bytes of the tensors that they read and write.
        largest: bytes of the largest tensor that one of them made.
    """

    operations: int = 0
    moved: int = 0
    largest: int = 0


class _Counter(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.counted = Counted()

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        made = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        read = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if not made or func.is_view or str(func).startswith(FREE):
            return out
        sizes = [tensor.numel() * tensor.element_size() for tensor in made]
        self.counted.operations += 1
        self.counted.moved += sum(sizes) + sum(tensor.numel() * tensor.element_size() for tensor in read)
        self.counted.largest = max(self.counted.largest, *sizes)
        return out


def count_work(run: Callable[[], Any]) -> Counted:
    """Count the operations of PyTorch while something runs, wherever its tensors lie.

    Args:
        run: forward and backward pass.
    """
    with _Counter() as counter:
        run()
    return counter.counted
