"""Is a compiled step right? Outputs and parameter gradients beside those of the model itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

TOLERANCES = {"32": 1e-4, "tf32": 5e-3, "bf16-mixed": 3e-2}
"""Largest relative difference by precision: sums in another order differ by 1e-7 to 1e-5 in float32, and what
a trace loses by 1e-2 and more."""
SHARE = 1e-2
"""A gradient is compared relative to its own norm, or to this share of the whole gradient's if that is more.

The smallest are differences of large numbers.
"""

MOVE = 0.01
"""By which parameters are moved for the comparison."""


@dataclass(frozen=True)
class Difference:
    """The largest relative difference between two computations.

    Args:
        value: norm of the difference over the norm.
        where: of which output or parameter.
    """

    value: float
    where: str

    def exceeds(self, precision: str) -> bool:
        """Whether it is more than rounding; NaN is.

        Args:
            precision: ``trainer.precision``.
        """
        return not self.value <= TOLERANCES[precision]


Outputs = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]
"""From a state to outputs by name, each near 1 in size."""


def compare(reference: Outputs, candidate: Outputs, state: Mapping[str, Tensor]) -> Difference:
    """Compare outputs, and the gradients of a random combination of them with respect to every parameter.

    The combination weighs every number by 1 or -1: unlike a loss its gradient does not vanish as training
    ends. Parameters are moved a little from where they stand, lest one that begins at 0 hides others.

    Args:
        reference: of the parameters.
        candidate: the same, computed otherwise.
        state: parameters and buffers by name.
    """
    moved = {name: _moved(tensor, number) for number, (name, tensor) in enumerate(state.items())}
    wanted = {name: p for name, p in moved.items() if p.requires_grad}
    outputs, gradients = [], []
    for function in (reference, candidate):
        found = function(moved)
        total = sum((signs(output, seed) * output).sum() for seed, output in enumerate(found.values()))
        outputs.append({name: output.detach().double() for name, output in found.items()})
        assert isinstance(total, Tensor)
        each = torch.autograd.grad(total, list(wanted.values()), allow_unused=True)
        zipped = zip(wanted.items(), each, strict=True)
        gradients.append({n: (torch.zeros_like(p) if g is None else g).double() for (n, p), g in zipped})
    whole = torch.stack([g.norm() for g in gradients[0].values()]).norm() if wanted else torch.zeros(())
    compared = [_relative(name, outputs, 0.0) for name in outputs[0]]
    compared += [_relative(name, gradients, SHARE * float(whole)) for name in wanted]
    # max() would lose a NaN.
    return max(compared, key=lambda d: d.value if d.value == d.value else float("inf"))


def signs(like: Tensor, seed: int) -> Tensor:
    """1 and -1 by turns that look random, of a tensor's shape; drawn without touching any generator."""
    number = torch.arange(like.numel(), device=like.device, dtype=torch.float64)
    return torch.where(torch.sin(number * 12.9898 + seed) >= 0, 1.0, -1.0).to(like.dtype).view(like.shape)


def _moved(tensor: Tensor, seed: int) -> Tensor:
    if not isinstance(tensor, nn.Parameter):
        return tensor
    value = tensor.detach()
    return nn.Parameter(value + MOVE * signs(value, seed), requires_grad=tensor.requires_grad)


def _relative(name: str, pair: Sequence[Mapping[str, Tensor]], least: float) -> Difference:
    exact, other = pair[0][name], pair[1][name]
    size = max(float(exact.norm()), least)
    gap = float((other - exact).norm())
    return Difference(gap / size if size else (0.0 if gap == 0 else float("inf")), name)
