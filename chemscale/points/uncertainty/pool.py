"""A pool of unlabelled frames as a model sees it: features, uncertainty, and which frames are known."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from chemscale.common.progress import ProgressBar
from chemscale.points.uncertainty.frames import RunFrames
from chemscale.points.uncertainty.opening import Uncertain
from chemscale.structures.blocks import Block, Source, SourceError
from chemscale.structures.graphs import Structure, collate
from chemscale.structures.preparation.writing import geometry_keys
from chemscale.structures.sources.ase_files import AseFile
from chemscale.structures.sources.combined import CombinedSource, open_sources
from chemscale.structures.sources.frame_files import frame_files
from chemscale.structures.uncertainty.committee import Committee
from chemscale.structures.uncertainty.features import last_layer_features
from chemscale.structures.uncertainty.prediction import largest_force_std

log = logging.getLogger(__name__)


def open_pool(path: str, length: str | None = None) -> Source:
    """Open a file, a folder or a pattern of frames; labels are read where there are any, none are needed.

    Args:
        path: as given.
        length: unit of the positions; None for that of the format.

    Raises:
        FileNotFoundError: nothing is there.
        SourceError: it cannot be read.
        UnitError: an unknown unit.
    """
    files, left_out = frame_files(path, None, "POOL")
    if left_out:
        log.info("Left out of %s: %s.", path, ", ".join(left_out[:12]))
    reading: dict[str, Any] = {"units": {"length": length}} if length else {}
    source = open_sources(files, reading)
    for each in source.sources if isinstance(source, CombinedSource) else [source]:
        if isinstance(each, AseFile):
            each.needs_labels = False
    return source


@dataclass
class Seen:
    """A pool after one pass; K frames may be chosen.

    Args:
        rows: (K,) of each frame in its source.
        scores: (K,) how uncertain each is; NaN where it was not asked for.
        features: (K, P) mean last-layer features of its atoms, mapped from a file; (K, 0) likewise.
        frames: in the pool.
        known: of these, frames that the model was trained on.
        copies: of these, frames that occurred before in the pool.
        refused: of these, frames that the model can say nothing of, by the reason.
    """

    rows: np.ndarray
    scores: np.ndarray
    features: np.ndarray
    frames: int = 0
    known: int = 0
    copies: int = 0
    refused: Counter[str] = field(default_factory=Counter)

    def lines(self) -> list[str]:
        """What was left out, for a person."""
        told = []
        if self.known:
            told.append(f"{self.known:,} are among the frames that the model was trained on: left out.")
        if self.copies:
            told.append(f"{self.copies:,} are copies of an earlier frame of the pool: left out.")
        told += [f"{count:,} left out: {why}" for why, count in self.refused.most_common(5)]
        return [f"{self.frames:,} frames in the pool, {len(self.rows):,} to choose from.", *told]


class PoolReader:
    """Reads a pool once: features go to a file, rows, scores and hashes (about 200 bytes a frame) stay here.

    Args:
        opened: the model.
        known: ``recognised`` of the frames that it was trained on, (T, 2).
        batch: frames at once.
        features: whether features are wanted.
        scores: whether uncertainties are wanted.
    """

    def __init__(
        self, opened: Uncertain, known: np.ndarray, *, batch: int, features: bool = True, scores: bool = True
    ):
        self.opened, self.batch, self.wants, self.scored = opened, batch, features, scores
        self._known = set(known.ravel().tolist())
        self._rows: list[int] = []
        self._scores: list[np.ndarray] = []
        self._width = 0
        self._seen = Seen(np.zeros(0, np.int64), np.zeros(0), np.zeros((0, 0)))

    def read(self, source: Source, file: Path, *, progress: bool = True) -> Seen:
        """Look at every frame.

        Args:
            source: of the pool.
            file: for the features; it is overwritten.
            progress: whether it is shown.

        Raises:
            SourceError: there is no frame in it, or none that may be chosen.
        """
        reasons: list[tuple[int, Structure]] = []
        with (
            open(file, "wb") as out,
            ProgressBar("pool", None, "frames", every=10.0, silent=not progress) as shown,
        ):
            for row, structure in self._new(source, shown):
                reasons.append((row, structure))
                if len(reasons) == self.batch:
                    self._take(reasons, out)
                    reasons = []
            if reasons:
                self._take(reasons, out)
        seen = self._seen
        if not seen.frames:
            raise SourceError("POOL: there is no frame in it.")
        if not self._rows:
            raise SourceError("POOL: no frame is left to choose from. " + " ".join(seen.lines()[1:]))
        seen.rows = np.array(self._rows, np.int64)
        seen.scores = np.concatenate(self._scores) if self._scores else np.full(len(self._rows), np.nan)
        seen.features = (
            np.memmap(file, np.float32, mode="r").reshape(-1, self._width)
            if self._width
            else np.zeros((len(self._rows), 0), np.float32)
        )
        return seen

    def _new(self, source: Source, shown: ProgressBar) -> Iterator[tuple[int, Structure]]:
        """Frames that are neither known nor copies."""
        before: set[int] = set()
        for block in source.blocks():
            for number, keys in enumerate(recognised(block).tolist()):
                self._seen.frames += 1
                if not self._known.isdisjoint(keys):
                    self._seen.known += 1
                elif not before.isdisjoint(keys):
                    self._seen.copies += 1
                else:
                    before.update(keys)
                    yield int(block.rows[number]), structure_in(block, number)
            shown.advance(len(block))

    def _take(self, members: list[tuple[int, Structure]], out: IO[bytes]) -> None:
        """Features and scores of some frames; those that the model refuses are counted."""
        members = self._answerable(members)
        if not members:
            return
        self._rows += [row for row, _ in members]
        if not (self.wants or self.scored):
            return
        data = collate([structure for _, structure in members]).to(self.opened.device)
        sizes = (data.ptr[1:] - data.ptr[:-1]).double()
        if self.wants:
            found = last_layer_features(self.opened.potential, data).of_structures
            mean = (found / sizes[:, None]).float().cpu().numpy()
            self._width = mean.shape[1]
            out.write(np.ascontiguousarray(mean).tobytes())
        if self.scored:
            self._scores.append(score(self.opened, data).cpu().numpy())

    def _answerable(self, members: list[tuple[int, Structure]]) -> list[tuple[int, Structure]]:
        cutoff, model = self.opened.model.cutoff, self.opened.model
        for _, structure in members:
            structure.with_neighbours(cutoff)
        try:
            model.check(collate([structure for _, structure in members]))
            return members
        except ValueError:
            kept = []
            for row, structure in members:
                try:
                    model.check(collate([structure]))
                    kept.append((row, structure))
                except ValueError as error:
                    self._seen.refused[str(error)] += 1
            return kept


def recognised(block: Block) -> np.ndarray:
    """Two hashes of each geometry, (k, 2): a frame is a copy of another if they share one.

    Coordinates are rounded to 10⁻⁴ Å on two grids, half a step apart: one that lies on the edge of a cell of
    the one, and that a file with fewer digits moves over it, lies amid a cell of the other.

    Args:
        block: k frames.
    """
    if block.pbc is not None and not block.pbc.any():
        block = replace(block, cells=None, pbc=None)
    moved = replace(block, positions=block.positions + 0.5e-4)
    # The second grid has hashes of its own: its cells are no cells of the first.
    return np.stack([geometry_keys(block), geometry_keys(moved) ^ np.uint64(1 << 63)], 1)


def training_keys(frames: RunFrames) -> np.ndarray:
    """``recognised`` of all frames that a run was trained on, (T, 2).

    Args:
        frames: of the run.
    """
    found = [recognised(block) for block in frames.store.blocks(frames.training())]
    return np.concatenate(found) if found else np.zeros((0, 2), np.uint64)


def score(opened: Uncertain, data: Any) -> torch.Tensor:
    """How uncertain each structure of a batch is, (B,).

    Of a committee the largest deviation of the force on an atom, eV/Å (Zhang et al. 2019). Of a last layer
    σ(E)/√n, eV: what n atoms that err independently add up to grows so, and its forces would take a pass a
    feature.

    Args:
        opened: the model.
        data: a batch, where the model is.
    """
    if isinstance(opened.model, Committee):
        found = opened.model(data)
        assert found.forces_std is not None
        return largest_force_std(found.forces_std, data.ptr)
    deviation = opened.model(data, forces=False).energy_std
    assert deviation is not None
    return deviation / (data.ptr[1:] - data.ptr[:-1]).double().sqrt()


def structure_in(block: Block, number: int) -> Structure:
    """One frame of a block, without its labels."""
    periodic = block.cells is not None and block.pbc is not None and bool(block.pbc[number].any())
    return Structure(
        numbers=block.numbers,
        positions=block.positions[number],
        charge=int(block.charges[number]),
        spin=int(block.spins[number]),
        cell=block.cells[number] if periodic else None,  # type: ignore[index]
        pbc=block.pbc[number] if periodic else None,  # type: ignore[index]
    )
