"""ChemGPTs that could be trained next: sizes, FLOPs as counted, memory."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from chemscale.hardware.memory import GIB, STAGES, Transformer, Weights, rank_memory

WIDTHS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
"""Widths of a plan as multiples of the number of heads."""
MIN_STEPS = 100
"""A shorter run is mostly warm-up."""
MIN_SHARE = 1e-4
"""Share of the budget below which a point is not worth a start."""


class PlanError(ValueError):
    """A plan that cannot be made; the message has the reason."""


@dataclass(frozen=True)
class Family:
    """ChemGPTs that differ in width only, and how they are trained.

    Args:
        layers: of every model.
        heads: likewise; widths are multiples of it.
        vocab: symbols.
        length: mean tokens of a molecule, its end included.
        batch_tokens: of an optimizer step over all GPUs.
        accumulate: micro-batches of a step.
        precision: of training.
        convention: which count of parameters the law calls N.
        measured: whether `vocab` and `length` follow from the FLOPs of runs.
    """

    layers: int = 24
    heads: int = 16
    vocab: int = 100
    length: float = 32.0
    batch_tokens: int = 4096
    accumulate: int = 1
    precision: str = "32"
    convention: str = "matrices"
    measured: bool = False

    def counts(self, width: int) -> dict[str, int]:
        """Parameters of a model of this width, by convention."""
        return self._config(width).parameter_counts()

    def flops(self, width: int, tokens: float) -> float:
        """Training FLOPs: three forward passes, attention within molecules of one length."""
        one_million = 10**6
        return (
            3.0
            * self._config(width).forward_flops(one_million, round(one_million * self.length))
            * tokens
            / 1e6
        )

    def flops_of(self, n: np.ndarray, d: np.ndarray) -> np.ndarray:
        """Training FLOPs of sizes N = 12·L·d² between those that can be built.

        Args:
            n: parameters in matrices.
            d: tokens, of the shape of `n`.
        """
        width = np.sqrt(np.asarray(n, dtype=float) / (12 * self.layers))
        return 6.0 * d * (n + self.vocab * width + 2 * self.layers * width * self.length)

    def memory_gib(self, width: int, gpus: int) -> dict[str, float]:
        """Peak GiB of one GPU under each strategy, without what a library reserves (``hardware.memory``)."""
        count = self.counts(width)["all"]
        shape = Transformer(width, self.layers, self.heads, self.vocab)
        weights = Weights(count, shape.block, count - self.layers * shape.block)
        half = self.precision in ("bf16-mixed", "16-mixed")
        tokens = self.batch_tokens / self.accumulate / gpus
        active = shape.activation_bytes(tokens, half=half, recompute=False)
        return {
            stage: rank_memory(stage, weights, gpus, activations=active, accumulate=self.accumulate).total
            / GIB
            for stage in STAGES
        }

    def like_runs(self, n: np.ndarray, d: np.ndarray, flops: np.ndarray) -> Family:
        """This family with the head and attention that counted FLOPs of runs imply.

        C/6D − N is (V + 2·L·length)·width for a ChemGPT of these layers; runs of another shape, or FLOPs that
        are 6ND, show nothing and leave the family as it is.

        Args:
            n: (m,) parameters in matrices.
            d: (m,) tokens.
            flops: (m,) as counted.
        """
        width = np.sqrt(n / (12 * self.layers))
        whole = np.abs(width - np.round(width)) < 1e-6 * width
        if not len(n) or not whole.all():
            return self
        both = float(np.median((flops / (6 * d) - n) / width))
        if both < 8 + 2 * self.layers:
            return self
        vocab = both - 2 * self.layers * self.length
        length = self.length if vocab >= 8 else (both - 8) / (2 * self.layers)
        return replace(self, vocab=max(8, round(vocab)), length=length, measured=True)

    def _config(self, width: int) -> Any:
        from chemscale.models.chemgpt import ChemGPTConfig

        return ChemGPTConfig(self.vocab, width, self.layers, self.heads)


@dataclass(frozen=True)
class Candidates:
    """Points that a budget allows: widths (m,), N and D (m, 2), FLOPs (m,)."""

    width: np.ndarray
    inputs: np.ndarray
    flops: np.ndarray


def candidates(
    family: Family,
    budget: float,
    *,
    widths: tuple[int, int] = (16, 8192),
    ratio: tuple[float, float] = (1.0, 1000.0),
    max_tokens: float = math.inf,
) -> Candidates:
    """Every width with amounts of data a factor of two apart.

    Args:
        family: of the models.
        budget: FLOPs of one point at most.
        widths: least and largest.
        ratio: least and largest tokens a parameter.
        max_tokens: of a point.

    Raises:
        PlanError: nothing fits.
    """
    rows = []
    least = MIN_STEPS * family.batch_tokens
    for width in (family.heads * step for step in WIDTHS):
        if not widths[0] <= width <= widths[1]:
            continue
        n = family.counts(width)[family.convention]
        for tokens in least * 2.0 ** np.arange(40):
            flops = family.flops(width, tokens)
            if (
                ratio[0] <= tokens / n <= ratio[1]
                and tokens <= max_tokens
                and MIN_SHARE <= flops / budget <= 1
            ):
                rows.append((width, n, tokens, flops))
    if not rows:
        smallest = max(family.heads, family.heads * math.ceil(widths[0] / family.heads))
        raise PlanError(
            f"No ChemGPT of {family.layers} layers fits a budget of {budget:.3g} FLOP: {MIN_STEPS} steps "
            f"of {family.batch_tokens} tokens at width {smallest} cost {family.flops(smallest, least):.3g}, "
            f"and tokens a parameter must lie between {ratio[0]:g} and {ratio[1]:g}. Raise the budget, or "
            "lower --layers, --heads or --set batch.tokens=…, or widen --ratio."
        )
    table = np.array(rows)
    return Candidates(table[:, 0].astype(int), table[:, 1:3], table[:, 3])
