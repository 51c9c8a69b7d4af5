"""Low-rank adapters (LoRA) in a ChemGPT through ``peft``, and the ordinary model that they make of it.

Beside a frozen matrix W stands α/r·B·A, A of r rows and B of r columns, and only A and B are trained; B
begins at 0, so that the model begins as it was. (E. J. Hu, Y. Shen, P. Wallis, Z. Allen-Zhu, Y. Li, S. Wang,
L. Wang and W. Chen, LoRA: low-rank adaptation of large language models, ICLR 2022.)
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from torch import nn

from chemscale.models.adaptation.groups import MATRICES, AdaptationError, shapes
from chemscale.models.chemgpt import ChemGPT, ChemGPTConfig


@dataclass(frozen=True)
class Lora:
    """Adapters of a model.

    Args:
        rank: r, numbers between A and B.
        alpha: α; the adapters weigh α/r.
        targets: linear layers of every block that have one, among ``MATRICES``.

    Raises:
        AdaptationError: a layer that there is not, none, or ``peft`` is not installed.
    """

    rank: int
    alpha: float
    targets: tuple[str, ...] = MATRICES

    def __post_init__(self) -> None:
        unknown = [target for target in self.targets if target not in MATRICES]
        if unknown or not self.targets:
            raise AdaptationError(
                f"model.lora.targets={list(self.targets)}: choose linear layers of the blocks, "
                f"{', '.join(MATRICES)}."
            )
        if find_spec("peft") is None:
            raise AdaptationError(
                "model.lora.rank: adapters are made by peft, which is not installed: pip install "
                "'chemscale[lora]'."
            )

    def parameters(self, config: ChemGPTConfig) -> int:
        """Numbers of all adapters: r·(inputs + outputs) a matrix.

        Args:
            config: of the model.
        """
        return sum(self.rank * sum(shape) for name, shape in shapes(config).items() if self.adapts(name))

    def adapts(self, name: str) -> bool:
        """Whether a parameter is a matrix that has an adapter.

        Args:
            name: of the parameter.
        """
        parts = name.split(".")
        return parts[0] == "blocks" and parts[2] in self.targets and parts[3] == "weight"

    def insert(self, model: ChemGPT) -> None:
        """Put fresh adapters into a model, which is frozen but for them; drawn from torch's generator.

        Args:
            model: it is changed.
        """
        from peft import LoraConfig, inject_adapter_in_model

        options: dict[str, Any] = {"r": self.rank, "lora_alpha": self.alpha, "lora_dropout": 0.0}
        inject_adapter_in_model(LoraConfig(target_modules=list(self.targets), **options), model)


def merged(model: ChemGPT) -> ChemGPT:
    """An ordinary model that computes the same; the model itself where it has no adapters.

    Args:
        model: it stays as it is.
    """
    if not any(hasattr(module, "lora_A") for module in model.modules()):
        return model
    plain = deepcopy(model)
    for name, module in list(plain.named_modules()):
        if hasattr(module, "lora_A"):
            layer: Any = module
            layer.merge()
            parent, _, last = name.rpartition(".")
            base: nn.Module = layer.get_base_layer()
            setattr(plain.get_submodule(parent), last, base)
    return plain.requires_grad_(True)
