"""A frame store: structures and labels as memory-mapped arrays, and a manifest that describes them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path

import numpy as np

from chemscale.common.files import read_manifest
from chemscale.structures.blocks import Block
from chemscale.structures.graphs import Joined, Structure
from chemscale.structures.loading.frame_blocks import frame_blocks
from chemscale.structures.loading.hashing import hash_of_files
from chemscale.structures.loading.mapped import MappedRows, follow_each_other, rows_of

SCHEMA_VERSION = 1
MANIFEST, NAMES = "manifest.json", "names.json"
AGAIN = "Copy the folder again, or delete it to make it anew."
PARTS = ("train", "validation", "test")
ISOLATED = "isolated"
"""Frames of single atoms, which are in none of the parts; a store without any has no such file."""

ATOM_ARRAYS = {"numbers": ("u1", 1), "positions": ("<f8", 3), "forces": ("<f8", 3)}
FRAME_ARRAYS = {
    "sizes": ("<i4", 1),
    "energies": ("<f8", 1),
    "charges": ("i1", 1),
    "spins": ("u1", 1),
    "rows": ("<i8", 1),
    "groups": ("<i4", 1),
}
CELL_ARRAYS = {"cells": ("<f8", 9), "pbc": ("u1", 3)}
"""File name → (type, columns); one row an atom, or one a frame."""

OPTIONAL_ARRAYS = {"stresses": ("<f8", 9), "weights": ("<f8", 1)}
"""One row a frame, where any frame has one."""


class StoreError(ValueError):
    """A store that is not whole, or that does not hold what is asked of it."""


class FrameStore:
    """Frames on disk in eV and Å; only what is read comes into memory.

    Args:
        path: its directory, with ``manifest.json``.

    Raises:
        StoreError: the directory holds no store, or one of another version.
    """

    _numbers: MappedRows
    _positions: MappedRows
    _forces: MappedRows
    _sizes: np.ndarray
    _energies: np.ndarray
    _charges: np.ndarray
    _spins: np.ndarray
    _rows: np.ndarray
    _groups: np.ndarray
    _cells: np.ndarray
    _pbc: np.ndarray
    _stresses: np.ndarray | None = None
    _weights: np.ndarray | None = None

    def __init__(self, path: Path):
        self.path = Path(path)
        try:
            self.manifest = read_manifest(self.path / MANIFEST)
        except FileNotFoundError:
            raise StoreError(f"{self.path}: no frame store there (manifest.json is missing).") from None
        except ValueError as error:
            raise StoreError(
                f"{self.path / MANIFEST}: damaged ({error}). Delete the folder to make it anew."
            ) from None
        if self.manifest.get("schema_version") != SCHEMA_VERSION:
            raise StoreError(
                f"{self.path}: schema version {self.manifest.get('schema_version')!r}, this chemscale reads "
                f"{SCHEMA_VERSION}. Delete the folder to make it anew."
            )
        if not (self.path / NAMES).exists():
            raise StoreError(f"{self.path / NAMES}: missing. {AGAIN}")
        for name, (kind, columns) in ATOM_ARRAYS.items():
            setattr(self, f"_{name}", self._map(name, kind, columns))
        for name, (kind, columns) in FRAME_ARRAYS.items():
            setattr(self, f"_{name}", self._open(name, kind, columns))
        self.periodic = bool(self.manifest["periodic"])
        if self.periodic:
            for name, (kind, columns) in CELL_ARRAYS.items():
                setattr(self, f"_{name}", self._open(name, kind, columns))
        for name, (kind, columns) in OPTIONAL_ARRAYS.items():
            if (self.path / name).exists():
                setattr(self, f"_{name}", self._open(name, kind, columns))
        self._check_lengths()
        self.offsets = np.concatenate([[0], np.cumsum(self.sizes, dtype=np.int64)])
        self._files = np.array([start for start, _ in self.manifest.get("files", [])], np.int64)
        """First row of each file, where the source counts on over several."""

    def __reduce__(self) -> tuple[type[FrameStore], tuple[Path]]:
        return FrameStore, (self.path,)  # another process opens it, and gets no copy of its arrays

    def _check_lengths(self) -> None:
        """Refuse arrays that a copy cut short: those of a store that is being built have no counts yet."""
        counts = self.manifest.get("counts", {})
        for rows, arrays in (("atoms", ATOM_ARRAYS), ("frames", FRAME_ARRAYS | self._of_frames())):
            for name in arrays if rows in counts else ():
                array = getattr(self, f"_{name}")
                found = len(array.in_order if isinstance(array, MappedRows) else array)
                if found != counts[rows]:
                    raise StoreError(
                        f"{self.path / name}: cut short or damaged ({found:,} of {counts[rows]:,} {rows}). "
                        f"{AGAIN}"
                    )

    def _of_frames(self) -> dict[str, tuple[str, int]]:
        """Arrays of one row a frame that this store has and not every one."""
        optional = {k: v for k, v in OPTIONAL_ARRAYS.items() if getattr(self, f"_{k}") is not None}
        return (CELL_ARRAYS if self.periodic else {}) | optional

    def _open(self, name: str, kind: str, columns: int) -> np.ndarray:
        return self._map(name, kind, columns).in_order

    def _map(self, name: str, kind: str, columns: int) -> MappedRows:
        path = self.path / name
        try:
            return MappedRows(path, kind, columns)
        except ValueError:  # half a number, or half a row
            raise StoreError(f"{path}: cut short ({path.stat().st_size:,} bytes). {AGAIN}") from None

    @cached_property
    def names(self) -> list[str]:
        """Names of molecules, by their numbers in ``groups``; training has no need of millions of them.

        Raises:
            StoreError: the file is damaged.
        """
        try:
            return json.loads((self.path / NAMES).read_text())
        except (OSError, ValueError) as error:
            raise StoreError(f"{self.path / NAMES}: damaged ({error}). {AGAIN}") from None

    @property
    def hash(self) -> str:
        """Hash of every array."""
        return self.manifest["hash"]

    @property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers that occur in a part, ascending."""
        return tuple(self.manifest["elements"])

    @property
    def sizes(self) -> np.ndarray:
        """Atoms of each frame, (F,)."""
        return self._sizes

    @property
    def rows(self) -> np.ndarray:
        """Where each frame stood in its source, (F,)."""
        return self._rows

    @property
    def groups(self) -> np.ndarray:
        """Number in ``names`` of each frame's name, (F,)."""
        return self._groups

    def __len__(self) -> int:
        return len(self.sizes)

    def part(self, name: str) -> np.ndarray:
        """Numbers of the frames of a part in the store's own order: any prefix is a fair sample.

        Args:
            name: "train", "validation" or "test"; or "isolated".
        """
        path = self.path / f"{name}.npy"
        if name == ISOLATED and not path.exists():
            return np.zeros(0, np.int64)
        return np.load(path, mmap_mode="r")

    def numbers(self, frame: int) -> np.ndarray:
        """Atomic numbers of a frame, (n,)."""
        return self._numbers.scattered[self.offsets[frame] : self.offsets[frame + 1]]

    def atomic_numbers(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Atomic numbers of frames one after another, (N,), and atoms of each, (k,)."""
        return self._rows_of(self._numbers, frames), np.asarray(self._sizes[frames], np.int64)

    def forces(self, frames: np.ndarray) -> np.ndarray:
        """Forces in frames one after another, eV/Å, (N, 3); NaN where there is no label."""
        return self._rows_of(self._forces, frames)

    def atoms(self, first: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        """Atoms of frames that follow each other; copies, so that no page of the files stays in use.

        Args:
            first: number of the first frame.
            end: number after the last one.

        Returns:
            Atomic numbers (n,), and forces (n, 3) in eV/Å, NaN where there is no label.
        """
        atoms = slice(int(self.offsets[first]), int(self.offsets[end]))
        return np.array(self._numbers.in_order[atoms]), np.array(self._forces.in_order[atoms])

    def structure(self, frame: int) -> Structure:
        """One frame with its labels."""
        atoms = slice(self.offsets[frame], self.offsets[frame + 1])
        periodic = self.periodic and bool(self._pbc[frame].any())
        return Structure(
            numbers=self._numbers.scattered[atoms],
            positions=self._positions.scattered[atoms],
            energy=float(self._energies[frame]),
            forces=self._forces.scattered[atoms],
            charge=int(self._charges[frame]),
            spin=int(self._spins[frame]),
            cell=np.asarray(self._cells[frame]).reshape(3, 3) if periodic else None,
            pbc=np.asarray(self._pbc[frame]).astype(bool) if periodic else None,
            stress=self._stress(frame) if periodic else None,
            weight=1.0 if self._weights is None else float(self._weights[frame]),
        )

    def joined(self, frames: np.ndarray) -> Joined:
        """Frames one after another with their labels, without neighbours.

        Args:
            frames: (k,) numbers in the store.
        """
        frames = np.asarray(frames)
        periodic = self.is_periodic(frames)
        charges = self.electrons(frames)
        joined = Joined(
            numbers=self._rows_of(self._numbers, frames),
            positions=self._rows_of(self._positions, frames),
            forces=self._rows_of(self._forces, frames),
            sizes=np.asarray(self._sizes[frames], np.int64),
            energies=self.energies(frames),
            charges=charges[:, 0],
            spins=charges[:, 1],
            weights=self.weights(frames),
            edges=np.zeros((2, 0), np.int64),
        )
        if periodic.any():
            joined.cells = np.where(periodic[:, None, None], self._cells[frames].reshape(-1, 3, 3), 0.0)
            if self._stresses is not None:
                joined.stresses = np.where(periodic[:, None, None], self.stresses(frames), np.nan)
        return joined

    def expect(self, frames: np.ndarray, *, forces: bool = True) -> None:
        """Let the kernel read frames ahead, without waiting for them.

        Args:
            frames: (k,) numbers in the store.
            forces: read them too.
        """
        for array in (self._numbers, self._positions, *([self._forces] if forces else [])):
            array.expect(self.offsets, frames)

    def _rows_of(self, array: MappedRows, frames: np.ndarray) -> np.ndarray:
        rows = array.in_order if follow_each_other(frames) else array.scattered
        return rows_of(rows, self.offsets, frames)

    def _stress(self, frame: int) -> np.ndarray | None:
        return None if self._stresses is None else np.asarray(self._stresses[frame]).reshape(3, 3)

    @property
    def has_stresses(self) -> bool:
        """Whether any frame has a stress."""
        return self._stresses is not None

    def stresses(self, frames: np.ndarray) -> np.ndarray:
        """Stresses of frames in eV/Å³, (k, 3, 3); NaN where there is no label."""
        if self._stresses is None:
            return np.full((len(frames), 3, 3), np.nan)
        return np.asarray(self._stresses[frames]).reshape(-1, 3, 3)

    def weights(self, frames: np.ndarray) -> np.ndarray:
        """Weights that frames have of their own, (k,); 1 where the source states none."""
        return np.ones(len(frames)) if self._weights is None else np.asarray(self._weights[frames])

    def energies(self, frames: np.ndarray | slice) -> np.ndarray:
        """Energies of frames in eV, (k,); NaN where there is no label."""
        return np.asarray(self._energies[frames])

    @property
    def has_weights(self) -> bool:
        """Whether any frame has a weight of its own."""
        return self._weights is not None

    def volumes(self, frames: np.ndarray) -> np.ndarray:
        """Volumes of the cells of frames in Å³, (k,); NaN where a frame is not periodic in all directions."""
        if not self.periodic:
            return np.full(len(frames), np.nan)
        cells = np.asarray(self._cells[frames]).reshape(-1, 3, 3)
        return np.where(self._pbc[frames].all(axis=1), np.abs(np.linalg.det(cells)), np.nan)

    def electrons(self, frames: np.ndarray) -> np.ndarray:
        """Total charge in e and multiplicity (0 where it is not stated) of frames, (k, 2)."""
        return np.stack([self._charges[frames], self._spins[frames]], axis=1).astype(np.int64)

    def electron_states(self, frames: np.ndarray) -> dict[tuple[int, int], int]:
        """Frames of each total charge in e and multiplicity (0 where it is not stated), rising.

        Args:
            frames: (k,) numbers in the store.
        """
        codes = (self._charges[frames].astype(np.uint16) + np.uint16(128)) * np.uint16(256)
        counts = np.bincount(codes + self._spins[frames], minlength=1 << 16)
        return {(int(c) // 256 - 128, int(c) % 256): int(counts[c]) for c in np.flatnonzero(counts)}

    def is_periodic(self, frames: np.ndarray) -> np.ndarray:
        """Whether frames are periodic in any direction, (k,)."""
        if not self.periodic:
            return np.zeros(len(frames), bool)
        return np.asarray(self._pbc[frames].any(axis=1))

    def directions(self, frames: np.ndarray) -> np.ndarray:
        """Whether frames are periodic in each direction, (k, 3)."""
        if not self.periodic:
            return np.zeros((len(frames), 3), bool)
        return np.asarray(self._pbc[frames]).astype(bool)

    def name(self, frame: int) -> str:
        """Name of a frame in its source."""
        return self.names[self._groups[frame]]

    def where(self, frame: int) -> str:
        """Name and row of a frame in its file, for messages."""
        (row,) = self.rows_in_files(np.array([frame]))
        of_file = ""
        if len(self._files):
            of_file = f" of {self.manifest['files'][int(self._file_of(self._rows[frame]))][1]}"
        return f"{self.name(frame)}, row {row}{of_file}"

    def rows_in_files(self, frames: np.ndarray) -> np.ndarray:
        """Row of each frame in its file, (k,).

        Args:
            frames: (k,) numbers in the store.
        """
        rows = np.asarray(self._rows[frames])
        return rows - self._files[self._file_of(rows)] if len(self._files) else rows

    def _file_of(self, rows: np.ndarray) -> np.ndarray:
        """Place of the file of each row among the files of the source, (k,)."""
        return np.searchsorted(self._files, rows, side="right") - 1

    def blocks(self, frames: np.ndarray) -> Iterator[Block]:
        """Frames as blocks: those of one composition that follow each other together.

        Their rows are those in their files.

        Args:
            frames: (k,) numbers in the store.
        """
        return frame_blocks(self, frames)

    def verify(self) -> None:
        """Compare every array with the manifest's hash.

        Raises:
            StoreError: the data changed since they were prepared.
        """
        if content_hash(self.path) != self.hash:
            raise StoreError(
                f"{self.path}: the arrays do not have the hash of manifest.json. Delete the folder."
            )


def content_hash(path: Path, known: Mapping[str, bytes] | None = None) -> str:
    """SHA-256 over every array of a store, in the order of their names.

    Args:
        path: of the store.
        known: SHA-256 of arrays that need not be read, by name.
    """
    arrays = (*ATOM_ARRAYS, *FRAME_ARRAYS, *CELL_ARRAYS, *OPTIONAL_ARRAYS)
    parts = [f"{part}.npy" for part in (*PARTS, ISOLATED)]
    return hash_of_files(path, [*arrays, *parts, NAMES], known or {})
