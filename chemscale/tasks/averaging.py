"""An exponential average of a model's weights, which is what is validated and kept."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn


class WeightAverage(nn.Module):
    """The average after n updates, which forgets the first weights: decay min(d, (1 + n)/(10 + n)).

    The number of updates is counted on the host, so that no step waits for a device; its buffer is of the
    checkpoint, under the names of ``torch.optim.swa_utils.AveragedModel``.

    Args:
        model: whose weights and buffers are copied.
        decay: d, of a step.
    """

    n_averaged: Tensor

    def __init__(self, model: nn.Module, decay: float):
        super().__init__()
        self.module = deepcopy(model).requires_grad_(False)
        self.decay, self.updates = decay, 0
        self.register_buffer("n_averaged", torch.tensor(0))
        self.register_state_dict_pre_hook(_write_updates)
        self.register_load_state_dict_post_hook(_read_updates)

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the weights after a step.

        Args:
            model: of the same shapes; its buffers are taken as they are.
        """
        average: list[Tensor] = list(self.module.parameters())
        current: list[Tensor] = list(model.parameters())
        n = self.updates
        if n == 0:
            torch._foreach_copy_(average, current)
        else:
            torch._foreach_lerp_(average, current, 1 - min(self.decay, (1 + n) / (10 + n)))
        buffers = list(self.module.buffers())
        if buffers:
            torch._foreach_copy_(buffers, list(model.buffers()))
        self.updates = n + 1


def _write_updates(average: Any, *_: Any) -> None:
    average.n_averaged.fill_(average.updates)


def _read_updates(average: Any, _: Any) -> None:
    average.updates = int(average.n_averaged)
