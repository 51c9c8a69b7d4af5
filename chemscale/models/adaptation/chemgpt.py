"""What can be chosen of a ChemGPT: its groups, the matrices of its blocks, and a longer vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from torch import nn

from chemscale.models.adaptation.groups import AdaptationError, Groups
from chemscale.models.chemgpt import ChemGPT, ChemGPTConfig

MATRICES = ("qkv", "attention_out", "mlp_in", "mlp_out")
"""Linear layers of a block."""
GROUPS = {
    "embeddings": r"(token|position)_embedding\.",
    "tokens": r"token_embedding\.",
    "head": r"token_embedding\.",
    "positions": r"position_embedding\.",
    "blocks": r"blocks\.",
    "attention": r"blocks\.\d+\.(qkv|attention_out)\.",
    "mlp": r"blocks\.\d+\.(mlp_in|mlp_out)\.",
    "norms": r"(blocks\.\d+\.norm_\w+|norm)\.",
}
"""Group → the names of its parameters. The head is the table of tokens: ChemGPT ties them."""


class ChemGPTGroups(Groups):
    """The parameters of a ChemGPT; adapters stand beside the matrices of its blocks."""

    def adapted(self, targets: Sequence[str]) -> frozenset[str]:
        """Names of the matrices that adapters stand beside.

        Args:
            targets: among ``MATRICES``; none: all of them.

        Raises:
            AdaptationError: a layer that there is not.
        """
        if any(target not in MATRICES for target in targets):
            raise AdaptationError(
                f"model.lora.targets={list(targets)}: choose linear layers of the blocks, "
                f"{', '.join(MATRICES)}."
            )
        return frozenset(self.matching(rf"blocks\.\d+\.({'|'.join(targets or MATRICES)})\.weight"))


@cache
def chemgpt_groups(config: ChemGPTConfig) -> ChemGPTGroups:
    """Groups of a ChemGPT; no weights are allocated.

    Args:
        config: of the model.
    """
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        shapes = {name: parameter.shape for name, parameter in ChemGPT(config).named_parameters()}
    return ChemGPTGroups(shapes, GROUPS, config.layers, "blocks")


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
