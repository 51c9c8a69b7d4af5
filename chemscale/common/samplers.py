"""Where a run stands in its data: what both kinds of data module hand to their loaders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch.utils.data import Sampler


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
