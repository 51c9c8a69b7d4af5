"""The Lightning data module of a frame store: nested subsets, budgeted batches, exact positions."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import pytorch_lightning as pl
from torch.utils.data import DataLoader
from torch_geometric.data import Data

from chemscale.common.samplers import training_loader
from chemscale.structures.batches import BatchBudget, EpochPlan, FrameBatches, ValidationFrames
from chemscale.structures.edges import ChosenEdges, EdgeCache
from chemscale.structures.references import Statistics, statistics
from chemscale.structures.replay.frames import Replay, ReplayBatches
from chemscale.structures.store import FrameStore


class SubsetError(ValueError):
    """A subset that the store cannot give."""


class StructureDataModule(pl.LightningDataModule):
    """Batches of the first `frames` training frames (or of a selection), and a fixed held-out set.

    The position is the trainer's global step: a resumed run reads on where it stopped, also amid an epoch.

    Args:
        store: a prepared frame store.
        budget: of an optimizer step, over all ranks and micro-batches.
        cutoff: Å, of the neighbour lists.
        seed: of the order of the data.
        accumulate: micro-batches that each rank divides its share of a step into.
        frames: size of the nested training subset; None for all.
        selection: positions in the training part of the frames that may be learned from, of which `frames`
            takes the first; None for all.
        validation_frames: size of the nested validation subset; None for all.
        workers: processes that build batches ahead, as ``common.samplers.training_loader``.
        weights: by which the errors of training frames are multiplied, by the name of the frame.
        replay: frames of an earlier training set that are learned again beside them; None for none.

    Raises:
        SubsetError: more frames than there are, nothing to validate on, or a weight for no frame.
    """

    def __init__(
        self,
        store: FrameStore,
        budget: BatchBudget,
        cutoff: float,
        *,
        seed: int,
        accumulate: int = 1,
        frames: int | None = None,
        selection: np.ndarray | None = None,
        validation_frames: int | None = None,
        workers: int | None = None,
        weights: Mapping[str, float] | None = None,
        replay: Replay | None = None,
    ):
        super().__init__()
        self.store, self.budget, self.cutoff, self.workers = store, budget, cutoff, workers
        self.accumulate, self.replay = accumulate, replay
        self.skipped: list[tuple[int, int]] = []  # (step, count) of data skipped after a roll-back
        train, validation = store.part("train"), store.part("validation")
        available = len(train) if selection is None else len(selection)
        if frames is not None and not 1 <= frames <= available:
            what = store.path if selection is None else "the selection"
            raise SubsetError(f"data.frames={frames}: {what} has {available} training frames.")
        if not len(validation):
            raise SubsetError(
                f"{store.path}: there is no frame to validate on. Raise data.validation_fraction, give "
                "data.validation_path, or with data.split_by=molecule, which divides no molecule, change "
                "data.split_seed or take data.split_by=frame."
            )
        chosen = None if selection is None else np.asarray(selection)[:frames]
        self.train = np.asarray(train[:frames] if chosen is None else train[chosen])
        self.validation = np.asarray(validation[:validation_frames])
        known = EdgeCache(store, "train", cutoff)
        self.train_edges = known.open(len(self.train)) if chosen is None else ChosenEdges(known, chosen)
        self.validation_edges = EdgeCache(store, "validation", cutoff).open(len(self.validation))
        self.weights = group_weights(store, self.train, weights)
        plan = EpochPlan if replay is None else replay.plan
        self.plan: EpochPlan = plan(store.sizes[self.train], self.train_edges.counts, budget, seed)

    def statistics(self, method: str | Mapping[int, float]) -> Statistics:
        """Statistics of the training subset.

        Args:
            method: of reference energies, as ``references.reference_energies``.

        Raises:
            ReferenceEnergyError: as there.
        """
        edges = self.train_edges.counts
        return statistics(self.store, self.train, edges, method, cutoff=self.cutoff)

    def training_batches(self, rank: int = 0, world: int = 1) -> FrameBatches:
        """Micro-batches of one rank, by their number in the run.

        Args:
            rank: number of the rank.
            world: number of ranks.
        """
        batches = FrameBatches if self.replay is None else partial(ReplayBatches, self.replay)
        return batches(
            self.store,
            self.train,
            self.train_edges,
            self.plan,
            accumulate=self.accumulate,
            rank=rank,
            world=world,
            weights=self.weights,
        )

    def train_dataloader(self) -> DataLoader[Data]:
        """Micro-batches of this rank from the trainer's step on."""
        trainer = self.trainer
        assert trainer is not None
        return training_loader(
            self.training_batches(trainer.global_rank, trainer.world_size),
            trainer,
            accumulate=self.accumulate,
            skipped=self.skipped,
            workers=self.workers,
        )

    def val_dataloader(self) -> DataLoader[Data]:
        """Held-out batches of the size of a training micro-batch, which is what memory is planned for."""
        world = 1 if self.trainer is None else self.trainer.world_size
        sizes, edges = np.asarray(self.store.sizes[self.validation]), self.validation_edges.counts
        budget = self.budget
        if self.accumulate * world > 1:
            budget = budget.share(self.accumulate * world, sizes, edges)
        batches = ValidationFrames(self.store, self.validation, self.validation_edges, budget)
        return DataLoader(batches, batch_size=None)


def group_weights(
    store: FrameStore, frames: np.ndarray, weights: Mapping[str, float] | None
) -> np.ndarray | None:
    """Weights of frames by their names, (F,); None where all are 1.

    Args:
        store: where they are.
        frames: (F,) their numbers in it.
        weights: by name; names that are not listed weigh 1.

    Raises:
        SubsetError: no frame of the store has a name that is listed, or all frames weigh nothing.
    """
    if not weights:
        return None
    if unknown := sorted(set(weights) - set(store.names)):
        rest = f" and {len(store.names) - 20:,} more" if len(store.names) > 20 else ""
        raise SubsetError(
            f"data.weights.{unknown[0]}: no frame of {store.path} has this name; there are "
            f"{', '.join(store.names[:20])}{rest}."
        )
    of_names = np.array([weights.get(name, 1.0) for name in store.names])
    found = of_names[np.asarray(store.groups[frames])]
    if not (found * store.weights(frames)).any():
        raise SubsetError("data.weights: every training frame weighs 0. Leave out what is not to be learnt.")
    return None if (found == 1).all() else found
