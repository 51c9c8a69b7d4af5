"""Copies of a run's state in host memory, made without holding the host up, in the same memory each time."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

log = logging.getLogger(__name__)


class Staging:
    """Host memory for one copy of a state: page-locked for what lies on a GPU, kept from copy to copy.

    A copy is queued on the GPU behind the step before it and ahead of the one after, which may therefore
    begin at once; locking pages takes seconds, and is done for the first copy only.
    """

    def __init__(self) -> None:
        self._buffers: list[Tensor] = []

    def copy(self, state: dict[str, Any]) -> tuple[dict[str, Any], Callable[[], None]]:
        """The state with its tensors in host memory, valid until the next copy.

        Args:
            state: of any nesting.

        Returns:
            The copy, and what waits until it is complete.
        """
        earlier, self._buffers = iter(self._buffers), []
        devices = set()

        def stage(tensor: Tensor) -> Tensor:
            buffer = next(earlier, None)
            if buffer is None or buffer.shape != tensor.shape or buffer.dtype != tensor.dtype:
                buffer = _host_memory(tensor)
            self._buffers.append(buffer)
            devices.add(tensor.device)
            return buffer.copy_(tensor.detach(), non_blocking=buffer.is_pinned())

        staged = tree_map_only(Tensor, stage, state)
        return staged, _waiter([device for device in devices if device.type == "cuda"])


def _host_memory(like: Tensor) -> Tensor:
    """Memory for a copy of a tensor; pageable where the system has no more pages to lock."""
    if like.is_cuda:
        try:
            return torch.empty(like.shape, dtype=like.dtype, pin_memory=True)
        except RuntimeError as error:
            log.debug("No page-locked memory for a checkpoint's copy: %s", error)
    return torch.empty(like.shape, dtype=like.dtype)


def _waiter(devices: list[torch.device]) -> Callable[[], None]:
    """What waits until all that is queued on these GPUs now is done."""
    events = []
    for device in devices:
        with torch.cuda.device(device):
            event = torch.cuda.Event()
            event.record()
        events.append(event)

    def wait() -> None:
        for event in events:
            event.synchronize()

    return wait
