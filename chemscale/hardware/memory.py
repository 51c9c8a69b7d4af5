"""What training keeps in the memory of each GPU under every strategy: one model for plans, choices and tests.

Weights, gradients and Adam's moments are float32 everywhere (4, 4 and 8 bytes a parameter); a mixed
precision is autocast in the forward pass, which keeps half-width activations and, until the backward pass
has used them, half-width copies of the weights. What is shared over W ranks is divided by W (Rajbhandari et
al. 2020).

Checked by measuring: activations are what autograd keeps, to 1 % (``tests/hardware/test_memory.py``), and
whole ranks of every strategy stand beside the prediction in ``benchmarks/memory_per_rank.py``. What a library
reserves beyond the tensors is not in here: ``USABLE`` and ``RESERVED`` leave room for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

GIB = float(2**30)
FLOAT = 4
BUCKET = 50_000_000
"""Numbers that ZeRO reduces or gathers at once: 200 MB of float32."""
LIVE = 200_000_000
"""Gathered weights that ZeRO-3 keeps at most; DeepSpeed's own 1e9 would be all of a ChemGPT-1B."""
USABLE = 0.9
"""Share of a GPU's memory that tensors may fill: the rest is lost between them."""
RESERVED = 1.0 * GIB
"""For the driver's context and the communication library."""
STAGES = ("ddp", "zero1", "zero2", "zero3", "fsdp2")
"""Strategies for several ranks, from the most memory to the least."""


@dataclass(frozen=True)
class Weights:
    """Numbers of a model.

    Args:
        count: all.
        block: of the largest unit that is gathered at once.
        rest: outside such units.
        averages: further copies of all weights on every rank (an averaged model).
        moments: that the optimizer keeps of each: 2 for Adam, 3 with amsgrad.
        trained: numbers that have a gradient and moments; None for all.
    """

    count: float
    block: float = 0.0
    rest: float = 0.0
    averages: int = 0
    moments: int = 2
    trained: float | None = None


@dataclass(frozen=True)
class Memory:
    """Bytes of one GPU.

    Args:
        weights: of this rank, with copies for averages.
        gradients: when the backward pass has ended.
        optimizer: moments, and the float32 copy of its part of the weights that DeepSpeed steps on.
        buffers: gathered weights and gradients on their way, during the backward pass.
        activations: that the backward pass needs of a micro-batch.
        carried: of the gradients, what stands when the backward pass begins and activations are most.
        stepping: what is added to weights, gradients and optimizer while the optimizer steps.
        host: bytes of this rank in host memory.
        placing: when the model is brought to the GPU, before it is shared.
    """

    weights: float
    gradients: float
    optimizer: float
    buffers: float = 0.0
    activations: float = 0.0
    carried: float = 0.0
    stepping: float = 0.0
    host: float = 0.0
    placing: float = 0.0

    @property
    def states(self) -> float:
        """Weights, gradients and optimizer when a step's gradients are complete."""
        return self.weights + self.gradients + self.optimizer

    @property
    def total(self) -> float:
        """The peak: when the backward pass begins or ends, while the optimizer steps, or before all."""
        begins = self.carried + self.buffers + self.activations
        ends = self.gradients + max(self.buffers, self.stepping)
        return max(self.weights + self.optimizer + max(begins, ends), self.placing)


def rank_memory(
    strategy: str,
    weights: Weights,
    world: int,
    *,
    activations: float = 0.0,
    accumulate: int = 1,
    offload: bool = False,
    overlap: bool = True,
) -> Memory:
    """Predict the memory of one rank.

    DDP holds all and, in its second step, gradients twice, when it orders its buckets anew. ZeRO-1 and -2
    share the moments and the copy of the weights, and reduce gradients to their owners bucket by bucket;
    with accumulation ZeRO-1 keeps whole gradients between micro-batches. ZeRO-3 and FSDP2 share the weights
    too, and gather them: FSDP2 two blocks and what lies outside the blocks, ZeRO-3 as configured up to
    ``LIVE`` numbers and a bucket that is being copied.

    Args:
        strategy: ``single`` or one of ``STAGES``.
        weights: of the model.
        world: ranks.
        activations: bytes that the backward pass needs of a micro-batch.
        accumulate: micro-batches of a step.
        offload: optimizer state in host memory.
        overlap: buckets are doubled, to be filled while the other is sent (not on CPU ranks).

    Raises:
        ValueError: an unknown strategy.
    """
    n, w = FLOAT * weights.count, max(1, world)
    bucket = FLOAT * BUCKET * (2 if overlap else 1)
    t = n if weights.trained is None else FLOAT * weights.trained
    average, moments = weights.averages * n, weights.moments * t
    part, trained = n / w, t / w
    if strategy in ("single", "ddp"):
        again = t if strategy == "ddp" and w > 1 else 0.0
        return Memory(n + average, t, moments, again, activations, carried=t)
    if strategy not in STAGES:
        raise ValueError(f"strategy={strategy}: choose single or one of {', '.join(STAGES)}.")
    if strategy == "fsdp2":
        gathered = FLOAT * (2 * weights.block + weights.rest)
        unreduced = FLOAT * max(weights.block, weights.rest)
        return Memory(
            part + average, trained, moments / w, gathered + unreduced, activations, carried=trained
        )
    owned = moments / w + trained  # the moments, and the copy that the optimizer steps on
    gradients, host = trained, 0.0
    if offload:
        owned, host, gradients = 0.0, owned + trained, 0.0
    if strategy == "zero3":
        live = FLOAT * (min(weights.count, LIVE) + min(weights.count, BUCKET))
        # Lightning brings the whole model to each GPU, where DeepSpeed then divides it.
        placing = n + average + part
        return Memory(
            part + average,
            gradients,
            owned,
            bucket + live,
            activations,
            gradients,
            part + bucket,
            host,
            placing,
        )
    carried = FLOAT * BUCKET / w if t > FLOAT * BUCKET else 0.0  # of the first bucket that is reduced
    if accumulate > 1:  # later micro-batches begin with what earlier ones left
        carried = t if strategy == "zero1" else gradients
    return Memory(n + average, gradients, owned, bucket, activations, carried, stepping=trained, host=host)


# --- what autograd keeps of a ChemGPT --------------------------------------------------------------------


@dataclass(frozen=True)
class Transformer:
    """The numbers of a ChemGPT that its activations follow from.

    Args:
        width: of the residual stream.
        layers: blocks.
        heads: of attention.
        vocab: symbols.
        slots: of the rectangles that molecules are padded to for attention, for each token.
        squares: Σ length² of these rectangles, for each token.
        attention: how it is computed: ``gpu`` (FlashAttention over the flat batch in half precision,
            PyTorch's fused kernels over rectangles in float32), ``kernel`` (ours for CPUs, over the flat
            batch), ``fused`` (PyTorch's for CPUs, over rectangles) or ``products`` (over rectangles, keeps
            probabilities).
        reached: blocks that the backward pass reaches, where others are frozen; None for all. A frozen matrix
            keeps less than is counted here, an adapter a little more.
    """

    width: int
    layers: int
    heads: int
    vocab: int
    slots: float = 1.2
    squares: float = 50.0
    attention: Literal["gpu", "kernel", "fused", "products"] = "gpu"
    reached: int | None = None

    @property
    def block(self) -> int:
        """Numbers of one block: matrices, biases, norms."""
        return 12 * self.width**2 + 10 * self.width

    def layer_bytes(self, half: bool) -> float:
        """Bytes that one block keeps of a token for its backward pass.

        The residual stream before both norms in float32; in the working width what leaves the norms and
        enters the projection, both sides of the GELU (4 + 4 widths), and what attention keeps; two numbers a
        norm.
        """
        d, b = self.width, 2 if half else 4
        return 2 * d * 4 + 11 * d * b + 16 + self.attention_bytes(half)

    def keeps_probabilities(self, half: bool) -> bool:
        """Whether attention keeps its probabilities, having no fused kernel.

        On a GPU the one kernel for float32 and tf32 wants rows of 16 bytes, that is heads of a multiple of 4
        numbers; in half precision any head is padded to what the kernel takes (PyTorch, sdp_utils.cpp).
        """
        wide = half or self.width // self.heads % 4 == 0
        return self.attention == "products" or (self.attention == "gpu" and not wide)

    def attention_bytes(self, half: bool) -> float:
        """Bytes that attention keeps of a token: queries, keys, values, and what its way needs besides."""
        d, b, head = self.width, 2 if half else 4, self.width // self.heads
        if self.attention == "kernel":
            return 3 * d * b
        if self.attention == "gpu" and half:
            wider = -(-head // 8) * 8 / head  # heads are padded to a multiple of 8, the output too
            return 3 * d * b * wider + (d * b * wider if wider > 1 else 0) + 4 * self.heads
        if self.keeps_probabilities(half):
            return 3 * d * b * self.slots + self.heads * b * self.squares
        return (4 * d * b + 4 * self.heads) * self.slots

    def tail_bytes(self, half: bool) -> float:
        """Bytes a token outside the blocks: the last norm, log-probabilities in float32, the ids."""
        return 4 * self.width + (2 if half else 4) * self.width + 8 + 4 * self.vocab + 24

    def activation_bytes(self, tokens: float, *, half: bool, recompute: bool) -> float:
        """Peak of what a micro-batch of `tokens` adds on one GPU.

        Args:
            tokens: of the micro-batch.
            half: bf16 or float16 autocast.
            recompute: blocks keep their input alone (activation checkpointing).
        """
        d, reached = self.width, self.layers if self.reached is None else self.reached
        tail = tokens * self.tail_bytes(half)
        working = tokens * d * (8 + (2 if half else 4))  # gradients on their way through a block
        copies = 2.0 * (12 * d * d * self.layers + self.vocab * d) if half else 0.0
        layer = tokens * self.layer_bytes(half)
        if not recompute:
            return reached * layer + tail + copies + working
        inputs = 4.0 * tokens * d * reached
        # Autocast keeps its copies to the end of the forward pass; the backward pass makes one block's anew.
        backward = layer + (24.0 * d * d if half else 0.0) + working
        return inputs + tail + max(copies, backward)
