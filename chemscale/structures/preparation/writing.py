"""One pass over a source: its frames appended to the arrays of a store, in bounded memory."""

from __future__ import annotations

import contextlib
import hashlib
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from chemscale.common.progress import ProgressBar
from chemscale.structures.blocks import Block, Source, total_frames
from chemscale.structures.dispersion import Dispersion
from chemscale.structures.overlap.exclusion import FrameExclusion
from chemscale.structures.preparation.molecules import name_and_formula
from chemscale.structures.preparation.splits import hash64
from chemscale.structures.store import ATOM_ARRAYS, CELL_ARRAYS, FRAME_ARRAYS, OPTIONAL_ARRAYS


@dataclass(frozen=True)
class Written:
    """What one pass over a source has left beside its arrays; F frames.

    Args:
        geometry: (F,) hash of each geometry.
        named: (F,) hash of each name and composition.
        formulas: (F,) hash of each composition.
        names: of the molecules, in the order of their numbers in ``groups``.
        digests: SHA-256 of each array that was written.
    """

    geometry: np.ndarray
    named: np.ndarray
    formulas: np.ndarray
    names: list[str]
    digests: dict[str, bytes]


def write_frames(
    source: Source,
    folder: Path,
    name: str,
    subtract: Dispersion | None,
    exclude: FrameExclusion | None = None,
) -> Written:
    """Append every block of a source to the arrays of a store.

    Args:
        source: what is read, once.
        folder: of the store.
        name: of the data, for the progress.
        subtract: dispersion that is taken off the labels.
        exclude: sets whose frames are left out; None for none.
    """
    if exclude is not None:
        exclude.open(source)
    columns = [array("Q") for _ in range(3)]  # 8 bytes a frame each, however small the blocks are
    names: dict[str, int] = {}
    with (
        contextlib.closing(ArrayFiles(folder)) as files,
        ProgressBar(f"{name}: reading", total_frames(source), "frames", every=5.0) as progress,
    ):
        for whole in source.blocks():
            progress.advance(len(whole))
            block = exclude.rest_of(whole) if exclude is not None else whole
            if not len(block):
                continue
            if subtract is not None:
                subtract.subtract(block)
            files.append(block, names.setdefault(block.name, len(names)))
            of_block = name_and_formula(block)
            keys = (geometry_keys(block), *(np.full(len(block), key, np.uint64) for key in of_block))
            for column, values in zip(columns, keys, strict=True):
                column.frombytes(values.tobytes())
    geometry, named, formulas = (np.frombuffer(column, np.uint64) for column in columns)
    return Written(geometry, named, formulas, list(names), files.digests())


UNKNOWN = {"cells": 0.0, "pbc": 0.0, "stresses": np.nan, "weights": 1.0}
"""What stands in an array that not every store has, for frames that lack it."""


EARLIER = 1 << 16
"""Frames without a value that are written at once when an array begins."""


class ArrayFiles:
    """The growing arrays of a store, one file each.

    Those of cells, stresses and weights begin with the first frame that has any.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.frames = 0
        self._kinds = {**ATOM_ARRAYS, **FRAME_ARRAYS}
        self._files: dict[str, IO[bytes]] = {
            key: open(folder / key, "wb")  # noqa: SIM115 (until close)
            for key in self._kinds
        }
        self._later: dict[str, IO[bytes]] = {}
        self._digests = {key: hashlib.sha256() for key in self._kinds}

    def append(self, block: Block, group: int) -> None:
        """Write the frames of a block.

        Args:
            block: k frames of n atoms.
            group: number of the block's name.
        """
        k, n = block.positions.shape[:2]
        columns = {
            "numbers": np.tile(block.numbers, k),
            "positions": block.positions,
            "forces": block.forces,
            "sizes": np.full(k, n),
            "energies": block.energies,
            "charges": block.charges,
            "spins": block.spins,
            "rows": block.rows,
            "groups": np.full(k, group),
        }
        for key, values in columns.items():
            self._write(self._files[key], key, np.ascontiguousarray(values, dtype=self._kinds[key][0]))
        of_frames = {key: getattr(block, key) for key in (*CELL_ARRAYS, *OPTIONAL_ARRAYS)}
        if block.cells is not None and block.pbc is None:
            of_frames["pbc"] = np.zeros((k, 3))
        for key, (kind, width) in {**CELL_ARRAYS, **OPTIONAL_ARRAYS}.items():
            self._append_later(key, of_frames[key], k, np.dtype(kind), width)
        self.frames += k

    def _append_later(self, key: str, values: np.ndarray | None, k: int, kind: np.dtype, width: int) -> None:
        """Write to an array that begins with the first values that say anything."""
        unknown = UNKNOWN[key]
        if key not in self._later:
            says = values is not None and (
                key in CELL_ARRAYS or bool((np.isfinite(values) & (values != unknown)).any())
            )
            if not says:
                return
            self._later[key] = open(self.folder / key, "wb")  # noqa: SIM115 (until close)
            self._digests[key] = hashlib.sha256()
            for start in range(0, self.frames, EARLIER):
                earlier = min(EARLIER, self.frames - start)
                self._write(self._later[key], key, np.full((earlier, width), unknown, kind))
        rows = np.full((k, width), unknown) if values is None else np.asarray(values).reshape(k, width)
        self._write(self._later[key], key, np.ascontiguousarray(rows, dtype=kind))

    def _write(self, file: IO[bytes], key: str, values: np.ndarray) -> None:
        content = values.reshape(-1).view(np.uint8).data
        file.write(content)
        self._digests[key].update(content)

    def digests(self) -> dict[str, bytes]:
        """SHA-256 of each array as it was written: the store's hash reads none of them again."""
        return {key: digest.digest() for key, digest in self._digests.items()}

    def close(self) -> None:
        """Close every file."""
        for file in (*self._files.values(), *self._later.values()):
            file.close()


def geometry_keys(block: Block) -> np.ndarray:
    """Hash of each geometry, coordinates to 10⁻⁴ Å: (k,).

    Args:
        block: k frames.
    """
    rounded = np.round(block.positions * 1e4).astype(np.int64)
    box = np.zeros((len(block), 0)) if block.cells is None else np.round(block.cells * 1e4)
    head = bytes(block.numbers)
    return np.array(
        [hash64(head + rounded[i].tobytes() + box[i].astype(np.int64).tobytes()) for i in range(len(block))],
        np.uint64,
    )
