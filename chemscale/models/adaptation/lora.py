"""Low-rank adapters (LoRA) in a model, and the ordinary model that they make of it.

Beside a frozen matrix W stands α/r·B·A, A of r rows and B of r columns, and only A and B are trained; B
begins at 0, so that the model begins as it was. (E. J. Hu, Y. Shen, P. Wallis, Z. Allen-Zhu, Y. Li, S. Wang,
L. Wang and W. Chen, LoRA: low-rank adaptation of large language models, ICLR 2022.)

Linear layers of torch get theirs from ``peft``. Matrices that are parameters of layers of our own (networks
of scalars, and maps that mix the channels of one irrep, which stay equivariant whatever their numbers) get a
parametrization of torch with the same product.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from chemscale.models.adaptation.groups import AdaptationError, Groups

Model = TypeVar("Model", bound=nn.Module)


@dataclass(frozen=True)
class Lora:
    """Adapters of a model.

    Args:
        rank: r, numbers between A and B.
        alpha: α; the adapters weigh α/r.
        targets: which matrices have one, in the words of the model's ``Groups.adapted``; none: all that can.

    Raises:
        AdaptationError: ``peft`` is not installed.
    """

    rank: int
    alpha: float
    targets: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if find_spec("peft") is None:
            raise AdaptationError(
                "model.lora.rank: adapters are made by peft, which is not installed: pip install "
                "'chemscale[lora]'."
            )

    def parameters(self, groups: Groups) -> int:
        """Numbers of all adapters: r·(inputs + outputs) a matrix.

        Args:
            groups: of the model.
        """
        return self.rank * groups.ranks(groups.adapted(self.targets))

    def insert(self, model: nn.Module, groups: Groups) -> None:
        """Put fresh adapters into a model; drawn from torch's generator.

        Args:
            model: it is changed.
            groups: of the model.
        """
        chosen = groups.adapted(self.targets)
        ordered = [name for name, _ in model.named_parameters() if name in chosen]
        linear, others = [], []
        for name in ordered:
            owner, _, last = name.rpartition(".")
            module = model.get_submodule(owner)
            if isinstance(module, nn.Linear):
                linear.append(owner)
            else:
                others.append((module, last))
        if linear:
            self._insert_peft(model, linear)
        for module, last in others:
            beside = LowRank(getattr(module, last), self.rank, self.alpha)
            parametrize.register_parametrization(module, last, beside)

    def _insert_peft(self, model: nn.Module, linear: Iterable[str]) -> None:
        from peft import LoraConfig, inject_adapter_in_model

        options: dict[str, Any] = {"r": self.rank, "lora_alpha": self.alpha, "lora_dropout": 0.0}
        inject_adapter_in_model(LoraConfig(target_modules=list(linear), **options), model)

    def describe_targets(self) -> str:
        """Which matrices have adapters, in words."""
        return ", ".join(self.targets) or "every linear map"


class LowRank(nn.Module):
    """W + α/r·A·B for a parameter W whose last two dimensions are inputs and outputs; one each before them.

    Args:
        weight: W, (…, inputs, outputs).
        rank: r.
        alpha: α.
    """

    def __init__(self, weight: Tensor, rank: int, alpha: float):
        super().__init__()
        *several, inputs, outputs = weight.shape
        bound = inputs**-0.5  # as peft and nn.Linear draw them
        a = torch.empty((*several, inputs, rank), dtype=weight.dtype, device=weight.device)
        self.a = nn.Parameter(a.uniform_(-bound, bound))
        self.b = nn.Parameter(torch.zeros_like(a.new_empty((*several, rank, outputs))))
        self.weight_of_adapter = alpha / rank

    def forward(self, weight: Tensor) -> Tensor:
        """W with what the adapter adds.

        Args:
            weight: (…, inputs, outputs).
        """
        return weight + self.weight_of_adapter * (self.a @ self.b)


def adapter_product_flops(model: nn.Module) -> int:
    """FLOPs of the products A·B in a forward pass: they do not grow with a batch; a backward pass has twice.

    Args:
        model: with adapters or without.
    """
    parts = [module for module in model.modules() if isinstance(module, LowRank)]
    return sum(2 * part.a.numel() * part.b.shape[-1] for part in parts)


def merged(model: Model) -> Model:
    """An ordinary model that computes the same; the model itself where it has no adapters.

    Args:
        model: it stays as it is.
    """

    if not any(hasattr(module, "lora_A") or _has_low_rank(module) for module in model.modules()):
        return model
    plain = deepcopy(model)
    for name, module in list(plain.named_modules()):
        if hasattr(module, "lora_A"):
            layer: Any = module
            layer.merge()
            parent, _, last = name.rpartition(".")
            base: nn.Module = layer.get_base_layer()
            setattr(plain.get_submodule(parent), last, base)
        elif _has_low_rank(module):
            _fold(module)
    return plain.requires_grad_(True)


def _has_low_rank(module: nn.Module) -> bool:
    if not parametrize.is_parametrized(module):
        return False
    of_tensors: Any = module.parametrizations
    return any(isinstance(part, LowRank) for parts in of_tensors.values() for part in parts)


def _fold(module: nn.Module) -> None:
    """Put W + α/r·A·B in the place of W, in a copy of a module.

    ``parametrize.remove_parametrizations`` takes the property out of the class, which a copy shares with
    what it was copied from.
    """
    of_tensors: Any = module.parametrizations
    values = {name: getattr(module, name).detach().clone() for name in of_tensors}
    del module.parametrizations
    module.__class__ = type(module).__bases__[0]
    for name, value in values.items():
        module.register_parameter(name, nn.Parameter(value))
