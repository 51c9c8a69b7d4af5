"""Where a run stands in its data: what both kinds of data module hand to their loaders."""

from __future__ import annotations

from collections.abc import Iterator

from torch.utils.data import Sampler


class RemainingBatches(Sampler[int]):
    """Micro-batches done … total-1, under the length of the whole run.

    Lightning counts on from the batches of earlier attempts and ends the epoch at the loader's length.
    """

    def __init__(self, done: int, total: int):
        self.done, self.total = done, total

    def __len__(self) -> int:
        return self.total

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.done, self.total))
