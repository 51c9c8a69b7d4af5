"""A trial step: how long one takes on the device that is here, before anything is spent."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from chemscale.training.metrics.precision import computing_in

TRIALS = 2
"""On a CPU, of which the faster counts."""
WARM_UP = 3
"""Steps on a GPU before the clock runs: libraries load, kernels are chosen, memory is taken."""
LONG_ENOUGH = 0.3
"""Seconds of steps on a GPU that are timed together, so that its queue stays full as in training."""
MAX_TRIALS = 50


def time_trial(step: Callable[[], object], device: torch.device, precision: str) -> float:
    """Seconds of a step as training takes it.

    Args:
        step: forward and backward pass of a micro-batch.
        device: that it runs on.
        precision: of the forward pass.
    """
    with computing_in(precision, device.type):
        if device.type != "cuda":
            return min(_seconds(step, 1, device) for _ in range(TRIALS))
        _seconds(step, WARM_UP, device)
        once = _seconds(step, 1, device)
        trials = min(MAX_TRIALS, max(TRIALS, round(LONG_ENOUGH / max(once, 1e-6))))
        return _seconds(step, trials, device) / trials


def _seconds(step: Callable[[], object], times: int, device: torch.device) -> float:
    started = time.perf_counter()
    for _ in range(times):
        step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def free_gpu(device: torch.device) -> None:
    """Give back what a trial step took, for the training that follows."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
