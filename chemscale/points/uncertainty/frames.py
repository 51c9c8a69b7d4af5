"""Frames of the store that a run was trained on, in batches with their neighbours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch_geometric.data import Data

from chemscale.common.progress import ProgressBar
from chemscale.objects.address import local_place
from chemscale.points.data import open_or_prepare_structures, read_structure_data
from chemscale.points.uncertainty.chosen import selected_positions
from chemscale.records import RunRecord
from chemscale.structures.batches import BatchBudget, ValidationFrames
from chemscale.structures.edges import ChosenEdges, EdgeCache
from chemscale.structures.settings import StructureData
from chemscale.structures.store import FrameStore


@dataclass(frozen=True)
class RunFrames:
    """The store of a run, with what the run saw of it.

    Args:
        store: that it was trained on.
        data: the section of its configuration.
    """

    store: FrameStore
    data: StructureData

    @classmethod
    def of(cls, run: str | Path, record: RunRecord) -> RunFrames:
        """Open the store of a run, prepared again where it is missing.

        Args:
            run: for messages.
            record: of the run.

        Raises:
            ValueError: the store is not what the run was trained on, or a part of it is not there.
            FileNotFoundError: neither the store nor the file that it was made of is there.
        """
        data = read_structure_data(record.config["data"])
        store = open_or_prepare_structures(data, local_place(record.config["structures"]))
        if store.hash != record.data_hash:
            raise ValueError(
                f"{store.path} is not what {run} was trained on: the hashes differ. Put back the file "
                "as it was."
            )
        return cls(store, data)

    def training(self) -> np.ndarray:
        """Numbers in the store of the frames that the run was trained on."""
        chosen = selected_positions(self.store, self.data)
        train = self.store.part("train")
        return np.asarray(train[: self.data.frames] if chosen is None else train[chosen[: self.data.frames]])

    def part(self, part: str) -> np.ndarray:
        """Numbers in the store of a part's frames: of "train" those that were trained on.

        Args:
            part: train, validation or test.
        """
        return self.training() if part == "train" else np.asarray(self.store.part(part))

    def batches(
        self, part: str, cutoff: float, *, frames: int | None = None, size: int = 32, title: str = ""
    ) -> Iterator[Data]:
        """Batches of the first frames of a part.

        Args:
            part: train, validation or test.
            cutoff: Å, of the neighbours.
            frames: how many; all that are known where None.
            size: frames at once.
            title: of a progress bar; none if empty.
        """
        chosen = self.part(part)[:frames]
        if not len(chosen):
            return
        cache = EdgeCache(self.store, part, cutoff)
        listed = selected_positions(self.store, self.data) if part == "train" else None
        edges = cache.open(len(chosen)) if listed is None else ChosenEdges(cache, listed[: len(chosen)])
        batches = ValidationFrames(self.store, chosen, edges, BatchBudget(frames=size))
        with ProgressBar(title, len(chosen), "frames", every=5, silent=not title) as progress:
            for index in range(len(batches)):
                batch = batches[index]
                yield batch
                progress.advance(batch.counts["frames"])
