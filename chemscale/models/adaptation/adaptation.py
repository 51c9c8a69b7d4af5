"""Which numbers of a model are trained: all, all but some groups, or adapters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from torch import nn

from chemscale.models.adaptation.groups import AdaptationError, Groups
from chemscale.models.adaptation.lora import Lora

Model = TypeVar("Model", bound=nn.Module)


@dataclass(frozen=True)
class Adaptation:
    """What of a model is trained: all of it, all but frozen groups, or adapters and some groups.

    Args:
        freeze: groups (``Groups.members``) that keep their values: no gradient and no optimizer state.
        lora: adapters; everything else keeps its values.
        also: groups that are trained in full beside adapters.
    """

    freeze: tuple[str, ...] = ()
    lora: Lora | None = None
    also: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.lora is not None and self.freeze:
            raise AdaptationError(
                "model.freeze: with model.lora.rank everything but the adapters is frozen. Name what is "
                "trained beside them by model.lora.also, or leave one of the two out."
            )
        if self.lora is None and self.also:
            raise AdaptationError("model.lora.also: it stands beside adapters, set model.lora.rank as well.")

    @property
    def is_full(self) -> bool:
        """Whether everything is trained."""
        return not self.freeze and self.lora is None

    def frozen(self, groups: Groups) -> frozenset[str]:
        """Names of the parameters that keep their values.

        Args:
            groups: of the model.

        Raises:
            AdaptationError: a group or target that the model does not have, or nothing is left to train.
        """
        if self.lora is not None:
            groups.adapted(self.lora.targets)
            return frozenset(groups.shapes) - groups.members(self.also, "model.lora.also")
        kept = groups.members(self.freeze, "model.freeze")
        if len(kept) == len(groups.shapes):
            raise AdaptationError(
                f"model.freeze={', '.join(self.freeze)}: nothing would be trained. Leave a group out."
            )
        return kept

    def adapters(self, groups: Groups) -> int:
        """Numbers of all adapters.

        Args:
            groups: of the model.
        """
        return 0 if self.lora is None else self.lora.parameters(groups)

    def trained_parameters(self, groups: Groups) -> int:
        """Numbers that are trained, adapters included.

        Args:
            groups: of the model.
        """
        return groups.count(set(groups.shapes) - self.frozen(groups)) + self.adapters(groups)

    def apply(self, model: Model, groups: Groups) -> Model:
        """Freeze what is to keep its values and insert the adapters; the model itself is given back.

        Args:
            model: with the weights that it begins from.
            groups: of the model.
        """
        frozen = self.frozen(groups)
        names = dict(model.named_parameters())
        if self.lora is not None:
            self.lora.insert(model, groups)
        for name, parameter in names.items():
            if name in frozen:
                parameter.requires_grad_(False)
            elif name in groups.shapes:
                parameter.requires_grad_(True)
        return model

    def describe(self) -> str:
        """What is trained, in words."""
        if self.lora is not None:
            beside = f" and {', '.join(self.also)}" if self.also else ""
            return f"LoRA of rank {self.lora.rank} on {self.lora.describe_targets()}{beside}"
        return f"frozen: {', '.join(self.freeze)}" if self.freeze else "all weights"
