"""Packed batches: flat tokens, their targets, and the document mask."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from chemscale.models.layers.documents import Documents
from chemscale.molecules.conditions.prefixes import Dropout, Prefixes, before
from chemscale.molecules.packing import BlockPlan
from chemscale.molecules.storage.columns import Column
from chemscale.molecules.storage.index import Positions

IGNORED = -100
"""A target that no loss counts, as ``torch.nn.functional.cross_entropy`` has it."""


class Molecules(Protocol):
    """What a batch needs of a corpus split (``corpus.Split``)."""

    lengths: Column
    heavy_atoms: Column
    positions: Positions
    prefixes: Prefixes | None

    def __len__(self) -> int: ...

    def gather(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Flat symbol ids of the given molecules, one after another, and symbols of each."""
        ...


@dataclass
class PackedBatch:
    """Molecules one after another, T positions without padding between them.

    Args:
        tokens: (T,) ids that are read.
        targets: (T,) ids that are predicted; ``IGNORED`` at filler, and where a prefix is predicted.
        positions: (T,) of each token within its molecule.
        documents: which tokens form a molecule.
        molecules: number of them.
        heavy_atoms: of all molecules.
        pairs: Σ tokens² over molecules, which is what attention costs.
        slots: positions that the blocks of the batch offer to molecules, prefixes taken off.
        step_tokens: targets of the whole optimizer step, over micro-batches and ranks, which its loss is a
            mean over.
        filler: positions at the end that belong to no molecule; they make a batch as long as others are.
        given: positions of prefixes: conditions that are read and not predicted.
    """

    tokens: Tensor
    targets: Tensor
    positions: Tensor
    documents: Documents
    molecules: int
    heavy_atoms: int
    pairs: int
    slots: int
    step_tokens: int
    filler: int = 0
    given: int = 0

    @property
    def size(self) -> int:
        """Positions that are computed for molecules and their prefixes: T without filler."""
        return self.tokens.numel() - self.filler

    @property
    def predicted(self) -> int:
        """Targets that the loss counts: symbols and ends of the molecules, whatever stands before them."""
        return self.size - self.given

    @property
    def counts(self) -> dict[str, int]:
        """Tokens, molecules and heavy atoms of the batch, in the units of a record."""
        return {"tokens": self.predicted, "molecules": self.molecules, "heavy_atoms": self.heavy_atoms}

    def to(self, device: torch.device, non_blocking: bool = False) -> PackedBatch:
        """The same on another device, as ``torch.Tensor.to``."""
        return replace(self, **{k: v.to(device, non_blocking=non_blocking) for k, v in self._movable()})

    def pin_memory(self) -> PackedBatch:
        """The same in page-locked memory, as ``torch.Tensor.pin_memory``."""
        return replace(self, **{k: v.pin_memory() for k, v in self._movable()})

    def _movable(self) -> list[tuple[str, Any]]:
        values = ((f.name, getattr(self, f.name)) for f in fields(self))
        return [(name, value) for name, value in values if isinstance(value, Tensor | Documents)]


def packed_batch(
    split: Molecules,
    members: np.ndarray,
    *,
    bos_id: int,
    eos_id: int,
    slots: int,
    step_tokens: int,
    filled: bool = False,
    left_out: np.ndarray | None = None,
) -> PackedBatch:
    """Lay molecules one after another: inputs ``<bos> s1 … sn``, targets ``s1 … sn <eos>``.

    A prefix stands between the begin symbol and the molecule, and its ids are no targets: what is counted is
    the likelihood of the molecule given its conditions. Filler is begin symbols whose targets are ignored, in
    documents of their own that are no longer than the longest molecule: it changes neither the loss nor the
    gradient.

    Args:
        split: where they are read from.
        members: indices of the molecules.
        bos_id: of the begin symbol.
        eos_id: of the end symbol.
        slots: positions that the blocks of the batch offer.
        step_tokens: targets of the whole optimizer step.
        filled: whether filler takes what the molecules leave of the slots.
        left_out: (molecules, conditions) bool: conditions that count as unknown; None for none.
    """
    symbols, lengths = split.gather(members)
    prefixes = np.zeros(len(members), dtype=np.int64)
    if split.prefixes is not None:
        ids, prefixes = split.prefixes.gather(members, left_out)
        symbols, lengths = before((ids, prefixes), (symbols, lengths))
    sizes = lengths.astype(np.int64) + 1
    total = int(sizes.sum())
    documents = np.concatenate([sizes, _filler(slots - total, int(sizes.max()))]) if filled else sizes
    ends = np.cumsum(documents)
    starts, of_molecules = ends - documents, slice(len(sizes))
    is_symbol = np.ones(total, dtype=bool)
    is_symbol[starts[of_molecules]] = False
    tokens = np.full(ends[-1], bos_id, dtype=np.int64)
    tokens[:total][is_symbol] = symbols
    targets = np.full(ends[-1], IGNORED, dtype=np.int64)
    targets[: total - 1] = tokens[1:total]
    targets[ends[of_molecules] - 1] = eos_id
    positions = np.arange(ends[-1]) - np.repeat(starts, documents)
    given = int(prefixes.sum())
    if given:
        targets[:total][positions[:total] < np.repeat(prefixes, sizes)] = IGNORED
    return PackedBatch(
        tokens=torch.from_numpy(tokens),
        targets=torch.from_numpy(targets),
        positions=torch.from_numpy(positions),
        documents=Documents.from_lengths(documents),
        molecules=len(members),
        heavy_atoms=int(split.heavy_atoms[members].astype(np.int64).sum()),
        pairs=int((sizes**2).sum()),
        slots=slots - given,
        step_tokens=step_tokens,
        filler=int(ends[-1]) - total,
        given=given,
    )


def predicted(split: Molecules, members: np.ndarray) -> int:
    """Targets that the loss counts: symbols of molecules, and one end each.

    Args:
        split: where they are read from.
        members: (k,) indices of the molecules.
    """
    return int(split.lengths[members].astype(np.int64).sum()) + len(members)


def _filler(positions: int, longest: int) -> np.ndarray:
    """Lengths of documents that fill so many positions, none above `longest`."""
    whole, rest = divmod(positions, longest)
    return np.array([longest] * whole + [rest] * (rest > 0), dtype=np.int64)


class TrainingBatches(Dataset[PackedBatch]):
    """Micro-batch i of training, as a pure function of i: no state, any worker, any rank.

    Args:
        split: molecules of the training subset.
        plan: blocks of molecules through all epochs.
        blocks: blocks of one micro-batch on one rank.
        accumulate: micro-batches of an optimizer step.
        bos_id: of the begin symbol.
        eos_id: of the end symbol.
        rank: number of this rank.
        world: number of ranks.
        filled: whether every micro-batch is as long as its blocks.
        dropout: which conditions a molecule is seen without; None for no such thing.
    """

    def __init__(
        self,
        split: Molecules,
        plan: BlockPlan,
        *,
        blocks: int,
        accumulate: int,
        bos_id: int,
        eos_id: int,
        rank: int = 0,
        world: int = 1,
        filled: bool = False,
        dropout: Dropout | None = None,
    ):
        self.split, self.plan, self.filled, self.dropout = split, plan, filled, dropout
        self.blocks, self.accumulate, self.rank, self.world = blocks, accumulate, rank, world
        self.bos_id, self.eos_id = bos_id, eos_id

    def __getitem__(self, index: int) -> PackedBatch:
        step, micro = divmod(index, self.accumulate)
        per_step = self.blocks * self.accumulate * self.world
        whole = [self.plan.molecules(step * per_step + b) for b in range(per_step)]
        first = (micro * self.world + self.rank) * self.blocks
        mine = range(first, first + self.blocks)
        members = np.concatenate([whole[b] for b in mine])
        left_out = None
        if self.dropout is not None and self.split.prefixes is not None:
            epochs = [np.full(len(whole[b]), self.plan.epoch(step * per_step + b)) for b in mine]
            conditions = len(self.split.prefixes.unknown)
            left_out = self.dropout.left_out(np.concatenate(epochs), members, conditions)
        return packed_batch(
            self.split,
            members,
            bos_id=self.bos_id,
            eos_id=self.eos_id,
            slots=self.blocks * self.plan.block,
            step_tokens=predicted(self.split, np.concatenate(whole)),
            filled=self.filled,
            left_out=left_out,
        )


class ValidationBatches(Dataset[PackedBatch]):
    """Every molecule of a split once, in batches of similar length.

    Args:
        split: held-out molecules.
        tokens: positions of a batch, about.
        bos_id: of the begin symbol.
        eos_id: of the end symbol.
    """

    def __init__(self, split: Molecules, *, tokens: int, bos_id: int, eos_id: int):
        self.split, self.bos_id, self.eos_id = split, bos_id, eos_id
        self._order, sizes = sorted_by_size(split.positions)
        self._ends = batch_ends(sizes, tokens)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> PackedBatch:
        if index >= len(self):
            raise IndexError(index)
        members = self._order[self._ends[index - 1] if index else 0 : self._ends[index]].astype(np.int64)
        return packed_batch(
            self.split,
            members,
            bos_id=self.bos_id,
            eos_id=self.eos_id,
            slots=int(self.split.positions[members].sum()),
            step_tokens=predicted(self.split, members),
        )


def sorted_by_size(positions: Positions) -> tuple[np.ndarray, np.ndarray]:
    """Molecules by the positions that they take, those of one size in their order: 4 bytes a molecule.

    Args:
        positions: of each.

    Returns:
        (n,) uint32 molecules; and (longest + 1,) how many there are of each size.
    """
    counts = np.zeros(positions.max() + 1, dtype=np.int64)
    for chunk in positions.chunks():
        counts += np.bincount(chunk, minlength=len(counts))
    order = np.empty(len(positions), dtype=np.uint32)
    first, place = 0, np.cumsum(counts) - counts
    for chunk in positions.chunks():
        inner = np.argsort(chunk.astype(np.uint32), kind="stable")
        here = np.bincount(chunk, minlength=len(counts))
        within = np.arange(len(chunk)) - np.repeat(np.cumsum(here) - here, here)
        order[np.repeat(place, here) + within] = first + inner
        first, place = first + len(chunk), place + here
    return order, counts


def batch_ends(counts: np.ndarray, tokens: int) -> np.ndarray:
    """Where batches end in molecules that are sorted by size: each holds what ends within so many positions.

    Args:
        counts: (sizes,) how many molecules there are of each size.
        tokens: positions of a batch, about.
    """
    molecules, positions = np.cumsum(counts), np.cumsum(counts * np.arange(len(counts)))
    limits = tokens * np.arange(1, -(-int(positions[-1]) // tokens) + 1)
    # How many molecules end at or before each limit: all smaller ones, and some of the size that crosses it.
    size = np.minimum(np.searchsorted(positions, limits, side="right"), len(counts) - 1)
    before = np.where(size > 0, molecules[size - 1], 0)
    begun = np.where(size > 0, positions[size - 1], 0)
    some = np.minimum((limits - begun) // np.maximum(size, 1), counts[size])
    return np.unique((before + some)[before + some > 0])
