"""Files of their own for validation and testing, read behind the training files as one source."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from chemscale.structures.blocks import Source, SourceError
from chemscale.structures.sources.combined import CombinedSource
from chemscale.structures.store import PARTS


class SeparateFiles(CombinedSource):
    """The sources of several parts one after another; rows count on, and blocks are called train/NAME, ….

    Args:
        sources: of "train", and of "validation", "test" or both.

    Raises:
        SourceError: one of them publishes parts itself.
    """

    def __init__(self, sources: Mapping[str, Source]):
        super().__init__(list(sources.values()), list(sources))
        for part, source in sources.items():
            if source.splits() is not None:
                raise SourceError(
                    f"The files of the {part} part are divided by those who published them (data.split): "
                    "leave out data.validation_path and data.test_path, or data.split."
                )

    def part_of(self, rows: np.ndarray) -> np.ndarray:
        """Number in ``PARTS`` of the part whose files hold each row; once the source has been read.

        Args:
            rows: (k,) of frames.
        """
        numbers = np.array([PARTS.index(part) for part in self.names])
        return numbers[np.searchsorted(self._starts, rows, side="right") - 1]

    def splits(self) -> dict[str, np.ndarray]:
        """Rows of the files of each part; those of the training files may be divided further."""
        rows = [block.rows for block in self.blocks()]
        every = np.concatenate(rows) if rows else np.zeros(0, np.int64)
        part = self.part_of(every)
        return {name: every[part == PARTS.index(name)] for name in self.names}
