"""Which numbers of a model are trained, and a model for a longer vocabulary."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from chemscale.models.adaptation.groups import AdaptationError, count, members, shapes
from chemscale.models.adaptation.lora import Lora
from chemscale.models.chemgpt import ChemGPT, ChemGPTConfig


@dataclass(frozen=True)
class Adaptation:
    """What of a model is trained: all of it, all but frozen groups, or adapters and some groups.

    Args:
        freeze: groups (``groups.members``) that keep their values: no gradient and no optimizer state.
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

    def frozen(self, config: ChemGPTConfig) -> frozenset[str]:
        """Names of the parameters that keep their values.

        Args:
            config: of the model.

        Raises:
            AdaptationError: a group that the model does not have, or nothing is left to train.
        """
        if self.lora is not None:
            return frozenset(shapes(config)) - members(config, self.also, "model.lora.also")
        kept = members(config, self.freeze, "model.freeze")
        if len(kept) == len(shapes(config)):
            raise AdaptationError(
                f"model.freeze={', '.join(self.freeze)}: nothing would be trained. Leave a group out."
            )
        return kept

    def trained_parameters(self, config: ChemGPTConfig) -> int:
        """Numbers that are trained, adapters included.

        Args:
            config: of the model.
        """
        names = set(shapes(config)) - self.frozen(config)
        return count(config, names) + (self.lora.parameters(config) if self.lora else 0)

    def apply(self, model: ChemGPT) -> ChemGPT:
        """Freeze what is to keep its values and insert the adapters; the model itself is given back.

        Args:
            model: with the weights that it begins from.
        """
        frozen = self.frozen(model.config)
        names = dict(model.named_parameters())
        if self.lora is not None:
            self.lora.insert(model)
        for name, parameter in names.items():
            parameter.requires_grad_(name not in frozen)
        return model

    def describe(self) -> str:
        """What is trained, in words."""
        if self.lora is not None:
            beside = f" and {', '.join(self.also)}" if self.also else ""
            return f"LoRA of rank {self.lora.rank} on {', '.join(self.lora.targets)}{beside}"
        return f"frozen: {', '.join(self.freeze)}" if self.freeze else "all weights"


def with_vocabulary(model: ChemGPT, config: ChemGPTConfig) -> ChemGPT:
    """The same model for a vocabulary that begins with its own and goes on.

    A new symbol begins as the mean of those that there are, which bounds by how much the first predictions
    change (J. Hewitt, Initializing new word embeddings for pretrained language models, 2021).

    Args:
        model: it is changed and given back.
        config: its shape with the new vocabulary and special ids.
    """
    old = model.token_embedding.weight.detach()
    new = config.vocab_size - len(old)
    if new:
        rows = old.mean(0, keepdim=True).expand(new, -1)
        model.token_embedding = nn.Embedding.from_pretrained(torch.cat([old, rows]), freeze=False)
    model.config = config
    return model
