"""The Lightning data module of a molecule corpus: nested subsets, packed batches, exact positions."""

from __future__ import annotations

from dataclasses import dataclass

import pytorch_lightning as pl
from torch.utils.data import DataLoader

from chemscale.common.samplers import training_loader
from chemscale.molecules.batches import PackedBatch, TrainingBatches, ValidationBatches
from chemscale.molecules.conditions.prefixes import Dropout
from chemscale.molecules.corpus import Corpus
from chemscale.molecules.packing import LOOK_AHEAD, WINDOW, BlockPlan
from chemscale.molecules.storage.index_file import index_folders
from chemscale.molecules.storage.window_counts import WindowCounts

MIN_VALIDATION_TOKENS = 8192
"""Positions of a held-out batch where training micro-batches are smaller."""


class SubsetError(ValueError):
    """A subset or batch that the corpus cannot give."""


@dataclass(frozen=True)
class BatchShape:
    """How an optimizer step is divided among blocks, micro-batches and ranks.

    Args:
        tokens: positions of a step.
        block: positions of a block.
        accumulate: micro-batches of a step on one rank.
    """

    tokens: int
    block: int
    accumulate: int = 1

    def blocks(self, world: int) -> int:
        """Blocks of one micro-batch on one rank.

        Args:
            world: number of ranks.

        Raises:
            SubsetError: the step does not divide evenly.
        """
        share = self.block * self.accumulate * world
        if self.tokens < share or self.tokens % share:
            raise SubsetError(
                f"batch.tokens={self.tokens} must be a multiple of data.block × batch.accumulate × ranks "
                f"= {self.block} × {self.accumulate} × {world} = {share}."
            )
        return self.tokens // share


class MoleculeDataModule(pl.LightningDataModule):
    """Batches of the first `molecules` training molecules, and the whole fixed validation subset.

    The position is the trainer's global step, so a resumed run reads on where it stopped, on any number of
    workers.

    Args:
        corpus: a prepared corpus.
        shape: of an optimizer step.
        seed: of the order of the data.
        molecules: size of the nested training subset; None for all.
        validation_molecules: size of the nested validation subset; None for all.
        workers: processes that build batches ahead, as ``common.samplers.training_loader``.
        condition_dropout: probability that a molecule of a conditioned corpus is seen without its conditions.

    Raises:
        SubsetError: more molecules than there are, or nothing to validate on.
    """

    def __init__(
        self,
        corpus: Corpus,
        shape: BatchShape,
        *,
        seed: int,
        molecules: int | None = None,
        validation_molecules: int | None = None,
        workers: int | None = None,
        condition_dropout: float = 0.0,
    ):
        super().__init__()
        self.corpus, self.shape, self.workers = corpus, shape, workers
        self.skipped: list[tuple[int, int]] = []  # (step, count) of data skipped after a roll-back
        self.filled = False  # whether training micro-batches are all of one length, for compiled steps
        if molecules is not None and not 1 <= molecules <= len(corpus.train):
            raise SubsetError(
                f"data.molecules={molecules}: {corpus.path} has {len(corpus.train)} training molecules."
            )
        self.train = corpus.train if molecules is None else corpus.train.prefix(molecules)
        validation = corpus.validation
        enough = validation_molecules is None or validation_molecules >= len(validation)
        self.validation = validation if enough else validation.prefix(int(validation_molecules or 0))
        if len(self.validation) == 0:
            raise SubsetError(f"{corpus.path}: the validation set is empty; raise data.validation_fraction.")
        positions = self.train.positions
        self.plan = BlockPlan(positions, block=shape.block, seed=seed, counts=self._counts(seed))
        self.unique_tokens = self.train.targets
        self.longest = positions.max()
        self.dropout = Dropout(condition_dropout, seed) if condition_dropout else None

    def _counts(self, seed: int) -> WindowCounts:
        """Where the blocks of this order are counted up; made for the order that it is, and no other."""
        folders = index_folders(self.corpus.path, self.corpus.hash)
        of = {"corpus": self.corpus.hash, "molecules": len(self.train), "block": self.shape.block}
        of |= {"seed": seed, "window": WINDOW, "look_ahead": LOOK_AHEAD}
        return WindowCounts(folders, of, min(WINDOW, len(self.train)))

    @property
    def _ids(self) -> dict[str, int]:
        return {"bos_id": self.corpus.tokenizer.bos_id, "eos_id": self.corpus.tokenizer.eos_id}

    def training_batches(self, rank: int = 0, world: int = 1) -> TrainingBatches:
        """Micro-batches of one rank, by their number in the run.

        Args:
            rank: number of the rank.
            world: number of ranks.
        """
        blocks = self.shape.blocks(world)
        if self.plan.counts is not None:
            self.plan.counts.writes = rank == 0
        return TrainingBatches(
            self.train,
            self.plan,
            blocks=blocks,
            accumulate=self.shape.accumulate,
            rank=rank,
            world=world,
            filled=self.filled,
            dropout=self.dropout,
            **self._ids,
        )

    def train_dataloader(self) -> DataLoader[PackedBatch]:
        """Micro-batches of this rank from the trainer's step on."""
        trainer = self.trainer
        assert trainer is not None
        return training_loader(
            self.training_batches(trainer.global_rank, trainer.world_size),
            trainer,
            accumulate=self.shape.accumulate,
            skipped=self.skipped,
            workers=self.workers,
        )

    def val_dataloader(self) -> DataLoader[PackedBatch]:
        """Held-out batches of the size of a training micro-batch, which is what memory is planned for."""
        world = 1 if self.trainer is None else self.trainer.world_size
        tokens = max(self.shape.blocks(world) * self.shape.block, MIN_VALIDATION_TOKENS)
        batches = ValidationBatches(self.validation, tokens=tokens, **self._ids)
        return DataLoader(batches, batch_size=None)
