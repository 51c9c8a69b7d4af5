"""Where a run stands in its data: what both kinds of data module hand to their loaders."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from torch.utils.data import DataLoader, Dataset, Sampler

GPU_WORKERS = 2
"""Processes that build batches where training is a GPU's: a step there takes no longer than its batch."""

Batch = TypeVar("Batch")


class RemainingBatches(Sampler[int]):
    """Micro-batches of the steps done … total-1, under the length of the whole run.

    Lightning counts on from the batches of earlier attempts and ends the epoch at the loader's length.

    Args:
        done: optimizer steps before the first batch.
        total: optimizer steps of the whole run.
        accumulate: micro-batches of a step.
        skipped: (step, count) of data skipped after roll-backs: from the step on, so many steps' worth.
    """

    def __init__(self, done: int, total: int, accumulate: int, skipped: Sequence[tuple[int, int]] = ()):
        self.done, self.total = accumulate * done, accumulate * total
        self.skipped = [(accumulate * begin, accumulate * count) for begin, count in skipped]

    def __len__(self) -> int:
        return self.total

    def __iter__(self) -> Iterator[int]:
        for number in range(self.done, self.total):
            yield number + sum(count for begin, count in self.skipped if number >= begin)


def training_loader(
    batches: Dataset[Batch],
    trainer: Any,
    *,
    accumulate: int,
    skipped: Sequence[tuple[int, int]],
    workers: int | None,
) -> DataLoader[Batch]:
    """Micro-batches of this rank from the trainer's step on, in page-locked memory for a GPU.

    Args:
        batches: by their number in the run.
        trainer: Lightning's.
        accumulate: micro-batches of a step.
        skipped: as ``RemainingBatches``.
        workers: processes that build batches ahead; 0: this one, when each is wanted; None: for a GPU
            ``GPU_WORKERS`` of them if there are cores for it, for a CPU, whose cores train, none.
    """
    on_gpu = trainer.strategy.root_device.type == "cuda"
    if workers is None:
        workers = GPU_WORKERS if on_gpu and len(os.sched_getaffinity(0)) > GPU_WORKERS else 0
    return DataLoader(
        batches,
        batch_size=None,
        sampler=RemainingBatches(trainer.global_step, int(trainer.max_steps), accumulate, skipped),
        num_workers=workers,
        pin_memory=on_gpu,
        persistent_workers=workers > 0,
    )
