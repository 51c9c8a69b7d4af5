"""What training a part of a ChemGPT costs: operations, and the blocks that a backward pass reaches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from chemscale.models.adaptation.adaptation import Adaptation
from chemscale.models.adaptation.chemgpt import MATRICES, chemgpt_groups
from chemscale.models.chemgpt import ChemGPTConfig


@dataclass(frozen=True)
class Product:
    """A matrix product of the forward pass, or the attention of a block.

    Args:
        block: that it is in; None for the head.
        numbers: of its matrix; 0 for attention.
        trained: whether the matrix is.
        flows: whether a gradient with respect to what it multiplies is wanted.
        adapter: numbers of both matrices of its adapter, A and B.
    """

    block: int | None
    numbers: int = 0
    trained: bool = False
    flows: bool = False
    adapter: tuple[int, int] = (0, 0)

    @property
    def flops(self) -> int:
        """Of the forward and the backward pass for one token.

        The matrix: forward, the gradient of its input, its own gradient. The adapter: forward and its own
        gradients, that of B's input, and that of A's input.
        """
        a, b = self.adapter
        matrix = 2 * self.numbers * (1 + self.flows + self.trained)
        return matrix + 4 * (a + b) + 2 * b + 2 * a * self.flows


def products(config: ChemGPTConfig, adaptation: Adaptation) -> Iterator[Product]:
    """The products of a forward pass in their order.

    A gradient flows into one as soon as anything before it is trained.

    Args:
        config: of the model.
        adaptation: what is trained.
    """
    groups, lora = chemgpt_groups(config), adaptation.lora
    frozen, known = adaptation.frozen(groups), groups.shapes
    adapted = groups.adapted(lora.targets) if lora is not None else frozenset()

    def trains(prefix: str) -> bool:
        return any(name.startswith(prefix) and name not in frozen for name in known)

    flows = trains("token_embedding.") or trains("position_embedding.")
    for block in range(config.layers):
        for layer in ("norm_attention", *MATRICES[:2], "norm_mlp", *MATRICES[2:]):
            prefix = f"blocks.{block}.{layer}."
            name = f"{prefix}weight"
            adapter = (0, 0)
            if lora is not None and name in adapted:
                out, given = known[name]
                adapter = (lora.rank * given, lora.rank * out)
            if layer in MATRICES:
                yield Product(block, known[name].numel(), name not in frozen, flows, adapter)
            flows = flows or trains(prefix) or adapter[0] > 0
            if layer == "qkv":
                yield Product(block, flows=flows)
    head = "token_embedding.weight"
    yield Product(None, known[head].numel(), head not in frozen, flows or trains("norm."))


def training_flops(config: ChemGPTConfig, adaptation: Adaptation, tokens: int, pairs: int) -> float:
    """Count the FLOPs of a forward and a backward pass, by what is trained.

    The forward pass is that of ``ChemGPTConfig.forward_flops``. The backward pass multiplies once for the
    gradient of each trained matrix, and once for that of each product's input where something before it is
    trained; attention costs its double there. With everything trained it is three forward passes.

    Args:
        config: of the model.
        adaptation: what is trained.
        tokens: Σ n over molecules of n tokens.
        pairs: Σ n².
    """
    if adaptation.is_full:
        return 3.0 * config.forward_flops(tokens, pairs)
    found = list(products(config, adaptation))
    attention = sum(4 * config.width * (3 if p.flows else 1) for p in found if not p.numbers)
    return float(tokens * sum(p.flops for p in found) + pairs * attention)


def blocks_with_gradient(config: ChemGPTConfig, adaptation: Adaptation) -> int:
    """Blocks whose activations a backward pass needs: from the first on in which something is trained.

    Args:
        config: of the model.
        adaptation: what is trained.
    """
    found = list(products(config, adaptation))
    return len({p.block for p in found if p.block is not None and (p.flows or p.trained or p.adapter[0])})
