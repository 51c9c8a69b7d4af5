"""Memory of a language model's rank, and the micro-batch that fits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from chemscale.common.sections import ConfigurationError
from chemscale.hardware.accelerators import REDUCED
from chemscale.hardware.memory import Memory, Transformer, Weights, rank_memory
from chemscale.models.adaptation.adaptation import Adaptation
from chemscale.models.adaptation.chemgpt import chemgpt_groups
from chemscale.models.adaptation.costs import blocks_with_gradient
from chemscale.models.chemgpt import ChemGPTConfig
from chemscale.models.kernels.attention import LARGEST
from chemscale.models.kernels.compiled import library
from chemscale.models.layers.documents import Documents
from chemscale.models.layers.rectangles import SHORT_ON_CPU
from chemscale.molecules.corpus import Corpus
from chemscale.molecules.data_module import BatchShape
from chemscale.molecules.settings import TokenBatch
from chemscale.points.placement import AUTO, choose_micro_batching, what_fits
from chemscale.points.sections import Sections
from chemscale.training.settings import MicroBatching

SAMPLED = 256
"""Molecules whose lengths stand for those of a micro-batch."""


@dataclass(frozen=True)
class Sizes:
    """What memory follows from: the weights, the layout of molecules in a micro-batch, and how it is trained.

    Args:
        weights: parameters of the model.
        transformer: its shape.
        half: whether the forward pass is of reduced precision.
        offload: whether the optimizer's state lies in host memory.
        overlap: whether gradients are reduced while the backward pass goes on.
    """

    weights: Weights
    transformer: Transformer
    half: bool
    offload: bool
    overlap: bool

    def memory(self, strategy: str, world: int, batch_tokens: int, how: MicroBatching) -> Memory:
        """Bytes of one rank.

        Args:
            strategy: never auto.
            world: number of ranks.
            batch_tokens: positions of an optimizer step.
            how: micro-batches and recomputing.
        """
        tokens = batch_tokens / (world * how.accumulate)
        return rank_memory(
            strategy,
            self.weights,
            world,
            activations=self.transformer.activation_bytes(tokens, half=self.half, recompute=how.recompute),
            accumulate=how.accumulate,
            offload=self.offload,
            overlap=self.overlap,
        )


def sizes_of(sections: Sections, model: ChemGPTConfig, corpus: Corpus, adaptation: Adaptation) -> Sizes:
    """What the memory of a point follows from.

    Args:
        sections: of its configuration.
        model: shape.
        corpus: whose first molecules stand for all.
        adaptation: which weights are trained.
    """
    groups = chemgpt_groups(model)
    adapters = adaptation.adapters(groups)
    count = model.parameter_counts()["all"] + adapters
    trained = None if adaptation.is_full else adaptation.trained_parameters(groups)
    reached = None if adaptation.is_full else blocks_with_gradient(model, adaptation)
    lengths = corpus.train.positions[:SAMPLED]
    slots, squares, longest = layout(lengths)
    way = (
        "gpu"
        if sections.placement.has_gpu
        else cpu_attention(model.width // model.heads, longest, sections.trainer.kernels)
    )
    shape = Transformer(
        model.width, model.layers, model.heads, model.vocab_size, slots, squares, way, reached=reached
    )
    rest = count - model.layers * shape.block
    return Sizes(
        Weights(count, shape.block, rest, moments=3 if sections.optimizer.amsgrad else 2, trained=trained),
        shape,
        half=sections.trainer.precision in REDUCED,
        offload=sections.strategy.offload == "cpu",
        overlap=sections.placement.has_gpu,
    )


def cpu_attention(width: int, longest: int, kernels: bool) -> Literal["kernel", "fused", "products"]:
    """How attention is computed on a CPU.

    Args:
        width: of a head.
        longest: tokens of the longest molecule.
        kernels: ``trainer.kernels``.
    """
    if kernels and longest * width <= LARGEST and library() is not None:
        return "kernel"
    return "fused" if longest > SHORT_ON_CPU else "products"


def layout(lengths: np.ndarray) -> tuple[float, float, int]:
    """Slots and squares of the attention rectangles a token, and the longest molecule of the sample.

    Args:
        lengths: (n,) tokens of molecules as they stand in a micro-batch.
    """
    groups = Documents.from_lengths(lengths).groups
    tokens = float(lengths.sum())
    slots = sum(g.molecules * g.longest for g in groups) / tokens
    squares = sum(g.molecules * g.longest**2 for g in groups) / tokens
    return slots, squares, int(lengths.max())


def fit_micro_batching(sections: Sections, batch: TokenBatch, block: int, sizes: Sizes) -> MicroBatching:
    """Decide ``batch.accumulate`` and ``trainer.checkpoint_activations``.

    Raises:
        ConfigurationError: a step that cannot be shared, or what was asked for does not fit.
    """
    world, recompute = sections.placement.world, sections.trainer.checkpoint_activations
    blocks = BatchShape(batch.tokens, block).blocks(world)
    numbers = [batch.accumulate]
    if batch.per_gpu is not None:
        numbers = [k for k in range(1, blocks + 1) if blocks % k == 0]
    if isinstance(batch.per_gpu, int):
        numbers = [k for k in numbers if blocks // k * block <= batch.per_gpu][:1]
        if not numbers:
            raise ConfigurationError(
                f"batch.per_gpu={batch.per_gpu}: less than one block, data.block={block}."
            )
    if AUTO not in (batch.per_gpu, recompute):
        return MicroBatching(numbers[0], bool(recompute))

    def least(strategy: str, ranks: int) -> Memory | None:
        if batch.tokens % (block * ranks) or (strategy == "fsdp2" and sizes.offload):
            return None
        smallest = MicroBatching(batch.tokens // (block * ranks), recompute is not False)
        return sizes.memory(strategy, ranks, batch.tokens, smallest)

    strategy = sections.resolve_strategy()
    return choose_micro_batching(
        numbers,
        recompute,
        lambda how: sizes.memory(strategy, world, batch.tokens, how),
        sections.placement.device_memory(),
        key="batch.per_gpu" if batch.per_gpu == AUTO else "trainer.checkpoint_activations",
        advice=lambda available: what_fits(least, world, available),
    )
