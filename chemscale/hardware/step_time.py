"""How long a training step takes on one GPU, for plans: from what is launched, moved and multiplied.

A step is limited by whichever is slower, the program that launches kernels or the GPU that runs them. Small
models are launches alone: their MFU is a few per cent on any GPU, and a share of the peak, 40 % say, plans
their hours ten times too short.

The constants are estimates of a review of this project's eager steps on an H100; nobody has measured them.
Its roofline (ChemGPT of widths 16 to 2,048 in three precisions) this model gives again to a quarter. A run
measures itself and prints its rate.
"""

from __future__ import annotations

from dataclasses import dataclass

from chemscale.hardware.accelerators import REDUCED, Accelerator
from chemscale.hardware.memory import FLOAT, Transformer

LAUNCH = 6e-6
"""Seconds of the host for one operation of PyTorch, eager."""
KERNEL = 2.5e-6
"""Seconds of the shortest kernel."""
KERNELS = 1.15
"""Kernels of an operation."""
LOOP = 4.5e-3
"""Seconds of the host for an optimizer step beside the model: loop, data, clipping, optimizer."""
PRODUCTS = {"32": 0.67, "tf32": 0.5}
"""Share of a precision's peak that matrix products of training reach; 16 bits: ``HALF_PRODUCTS``."""
HALF_PRODUCTS = 0.55
OPTIMIZER = 28
"""Bytes that a fused AdamW moves of a parameter: weight, gradient and two moments read, three written."""


@dataclass(frozen=True)
class Work:
    """One micro-batch of one rank, forward and backward.

    Args:
        operations: of PyTorch that launch something.
        flops: of matrix products.
        moved: bytes that operations read and write.
        parameters: that the optimizer steps on after the last micro-batch.
    """

    operations: float
    flops: float
    moved: float
    parameters: float = 0.0


@dataclass(frozen=True)
class StepTime:
    """Seconds of an optimizer step.

    Args:
        host: of launching.
        device: of the GPU, while it works for all points that share it.
        loop: of the host, beside the model.
    """

    host: float
    device: float
    loop: float = LOOP

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.loop + max(self.host, self.device)

    @property
    def is_bound_by_launches(self) -> bool:
        """Whether a faster GPU would change nothing."""
        return self.host + self.loop > self.device


def step_time(
    gpu: Accelerator, work: Work, precision: str, *, micro_batches: int = 1, per_gpu: int = 1
) -> StepTime:
    """Estimate an optimizer step.

    Args:
        gpu: that it runs on.
        work: of a micro-batch.
        precision: of the forward pass.
        micro_batches: of the step.
        per_gpu: points that share the GPU: what fills it takes turns, launches and short kernels do not.
    """
    share = HALF_PRODUCTS if precision in REDUCED else PRODUCTS[precision]
    long = per_gpu * (work.flops / (share * gpu.peak_of(precision)) + work.moved / gpu.bandwidth)
    short = KERNEL * KERNELS * work.operations
    # Kernels are of all sizes: the smaller of the two counts half.
    device = micro_batches * (max(long, short) + min(long, short) / 2)
    device += per_gpu * OPTIMIZER * work.parameters / gpu.bandwidth
    return StepTime(LAUNCH * micro_batches * work.operations, device)


def transformer_work(
    shape: Transformer, parameters: float, tokens: float, flops: float, *, half: bool, recompute: bool
) -> Work:
    """The work of a ChemGPT, by its shape; operations and bytes of a block were counted on fake CUDA tensors.

    Args:
        shape: of the model.
        parameters: all.
        tokens: of a micro-batch.
        flops: of training on it.
        half: bf16 or float16 autocast, which casts and moves in two widths.
        recompute: blocks are computed a second time in the backward pass.
    """
    operations = 78 if half else 58
    moved = tokens * shape.width * (380 if half else 580)
    if half and shape.width // shape.heads % 8:
        operations = 110  # heads are padded to the kernel's width
    if shape.keeps_probabilities(half):
        operations = 142
        moved += 8 * tokens * shape.heads * shape.squares * (2 if half else FLOAT)
    again = 4 / 3 if recompute else 1.0
    weights = 20.0 * parameters  # read twice, copied to 16 bits, gradients written
    tail = 6.0 * FLOAT * tokens * shape.vocab
    return Work(
        again * operations * shape.layers + 60,
        again * flops,
        again * shape.layers * moved + weights + tail,
        parameters,
    )
