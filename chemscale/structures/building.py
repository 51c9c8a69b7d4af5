"""From a source to a frame store: one pass in bounded memory, then an order of the frames' own."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from chemscale.common.durations import format_duration
from chemscale.common.files import atomic_folder
from chemscale.common.progress import ProgressBar
from chemscale.structures.blocks import Block, Source, SourceError
from chemscale.structures.store import (
    ATOM_ARRAYS,
    CELL_ARRAYS,
    FRAME_ARRAYS,
    MANIFEST,
    PARTS,
    SCHEMA_VERSION,
    FrameStore,
    content_hash,
)

log = logging.getLogger(__name__)

BUILDER_VERSION = 2
"""Raise it when the same source and options would give another store."""


@dataclass(frozen=True)
class SplitPolicy:
    """How frames are divided where the source publishes no split.

    Args:
        by: ``frame`` for the hash of the geometry, so that a frame and its exact copy stay together;
            ``molecule`` for that of the name and composition, so that no conformer of a held-out molecule is
            trained on.
        validation: share of the frames, or molecules, that are held out.
        test: share of those that are kept for testing.
        seed: of the division.

    Raises:
        ValueError: fractions that leave nothing to train on, or an unknown unit.
    """

    by: str = "frame"
    validation: float = 0.1
    test: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.by not in ("frame", "molecule"):
            raise ValueError(f"data.split_by={self.by!r}: choose frame or molecule.")
        if min(self.validation, self.test) < 0 or self.validation + self.test >= 1:
            raise ValueError("data.validation_fraction and data.test_fraction must leave a part to train on.")


def store_key(files: list[Path], options: dict[str, Any]) -> str:
    """Twelve digits that name a store.

    Args:
        files: what it is made of; their bytes enter, not their names.
        options: of reading and splitting, which JSON can hold.
    """
    digest = hashlib.sha256(json.dumps([BUILDER_VERSION, options], sort_keys=True, default=str).encode())
    for path in files:
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:12]


def build_store(source: Source, target: Path, policy: SplitPolicy, *, name: str = "") -> FrameStore:
    """Write the store of `source` at `target`, or open the one that is there.

    It is written beside and renamed at the end: an interrupted build leaves nothing that looks like a store.

    Args:
        source: what is read, once.
        target: folder of the store.
        policy: how frames are divided where the source publishes no split.
        name: of the data, for messages and the manifest; that of the folder in messages if empty.

    Raises:
        SourceError: the source holds no frame, or none to train on.
    """
    if (target / MANIFEST).exists():
        return FrameStore(target)
    title = name or target.name
    started = time.monotonic()
    with atomic_folder(target) as folder:
        written = _write_frames(source, folder, title)
        if not len(written.geometry):
            raise SourceError(f"{title}: there is no frame in it.")
        published = source.splits()
        rows = np.fromfile(folder / "rows", FRAME_ARRAYS["rows"][0])
        parts = (
            _published(published, rows, written.geometry, policy)
            if published
            else _by_hash(written.geometry, written.molecule, policy)
        )
        if not len(parts["train"]):
            raise SourceError(f"{title}: no frame is left to train on. Lower the held-out fractions.")
        for part in PARTS:
            np.save(folder / f"{part}.npy", parts[part].astype(np.int64))
        (folder / "names.json").write_text(json.dumps(written.names))
        contents = _contents(folder, written, parts)
        manifest = {
            "schema_version": SCHEMA_VERSION,
            "name": name,
            "periodic": (folder / "cells").exists() and (folder / "cells").stat().st_size > 0,
            "units": {
                "energy": "eV",
                "length": "Angstrom",
                "forces": "eV/Angstrom",
                "in the source": source.units,
            },
            "level": source.level,
            "kind": getattr(source, "kind", ""),
            "labels": [vars(place) for place in getattr(source, "places", [])],
            "notes": [*source.notes, *_missing(contents["counts"])],
            "split": "published" if published else asdict(policy),
            **contents,
            "hash": content_hash(folder),
        }
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=1))
    frames = f"{len(written.geometry):,}"
    log.info("%s: %s frames in %s.", target, frames, format_duration(time.monotonic() - started))
    return FrameStore(target)


@dataclass(frozen=True)
class Written:
    """What one pass over a source has left beside its arrays; F frames.

    Args:
        geometry: (F,) hash of each geometry.
        molecule: (F,) hash of each name and composition.
        names: of the molecules, in the order of their numbers in ``groups``.
    """

    geometry: np.ndarray
    molecule: np.ndarray
    names: list[str]


def _contents(folder: Path, written: Written, parts: dict[str, np.ndarray]) -> dict[str, Any]:
    """Elements and counts of the arrays in `folder`, for the manifest."""
    numbers = np.memmap(folder / "numbers", "u1", mode="r")
    forces = np.memmap(folder / "forces", "<f8", mode="r")
    energies = np.fromfile(folder / "energies", "<f8")
    return {
        "elements": _unique(numbers),
        "counts": {
            "frames": len(written.geometry),
            "atoms": len(numbers),
            "molecules": len(written.names),
            "without_energy": int(np.isnan(energies).sum()),
            "force_components_missing": _count_nan(forces),
            **{part: len(parts[part]) for part in PARTS},
        },
    }


def _missing(counts: dict[str, int]) -> list[str]:
    """What is said of missing labels: they weigh nothing, and should not be missed without a word."""
    energies, components = counts["without_energy"], counts["force_components_missing"]
    if not energies and not components:
        return []
    return [
        f"Missing labels weigh nothing: {energies:,} of {counts['frames']:,} frames have no energy, "
        f"{components:,} of {3 * counts['atoms']:,} force components are missing."
    ]


def _write_frames(source: Source, folder: Path, name: str) -> Written:
    """Append every block of a source to the arrays of a store."""
    geometry = [np.zeros(0, np.uint64)]
    molecule = [np.zeros(0, np.uint64)]
    names: dict[str, int] = {}
    with (
        contextlib.closing(ArrayFiles(folder)) as files,
        ProgressBar(f"{name}: reading", None, "frames", every=5.0) as progress,
    ):
        for block in source.blocks():
            files.append(block, names.setdefault(block.name, len(names)))
            geometry.append(_keys(block))
            kind = _hash64(block.name.encode() + bytes(np.sort(block.numbers)))
            molecule.append(np.full(len(block), kind, np.uint64))
            progress.advance(len(block))
    return Written(np.concatenate(geometry), np.concatenate(molecule), list(names))


class ArrayFiles:
    """The growing arrays of a store, one file each; those of cells begin with the first crystal."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.frames = 0
        self._kinds = {**ATOM_ARRAYS, **FRAME_ARRAYS}
        self._files: dict[str, IO[bytes]] = {
            key: open(folder / key, "wb")  # noqa: SIM115 (until close)
            for key in self._kinds
        }
        self._cells: dict[str, IO[bytes]] = {}

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
            self._files[key].write(np.ascontiguousarray(values, dtype=self._kinds[key][0]).tobytes())
        if block.cells is not None and not self._cells:
            self._begin_cells()
        if self._cells:
            cells = np.zeros((k, 9)) if block.cells is None else block.cells.reshape(k, 9)
            pbc = np.zeros((k, 3)) if block.pbc is None else block.pbc
            self._cells["cells"].write(cells.astype("<f8").tobytes())
            self._cells["pbc"].write(np.asarray(pbc).astype("u1").tobytes())
        self.frames += k

    def _begin_cells(self) -> None:
        """Open the arrays of cells, with zeros for the molecules that came before."""
        for key, (kind, width) in CELL_ARRAYS.items():
            self._cells[key] = open(self.folder / key, "wb")  # noqa: SIM115 (until close)
            self._cells[key].write(np.zeros((self.frames, width), kind).tobytes())

    def close(self) -> None:
        """Close every file."""
        for file in (*self._files.values(), *self._cells.values()):
            file.close()


def _keys(block: Block) -> np.ndarray:
    """Hash of each geometry, coordinates to 10⁻⁴ Å: (k,)."""
    rounded = np.round(block.positions * 1e4).astype(np.int64)
    box = np.zeros((len(block), 0)) if block.cells is None else np.round(block.cells * 1e4)
    head = bytes(block.numbers)
    return np.array(
        [_hash64(head + rounded[i].tobytes() + box[i].astype(np.int64).tobytes()) for i in range(len(block))],
        np.uint64,
    )


def _hash64(content: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")


def _by_hash(geometry: np.ndarray, molecule: np.ndarray, policy: SplitPolicy) -> dict[str, np.ndarray]:
    """Frames of each part, divided by hash, in the order of the hash of their geometry."""
    key = geometry if policy.by == "frame" else molecule
    # A second mixing, so that what decides the part is independent of the order inside it.
    salt = np.uint64(_hash64(f"split {policy.seed}".encode()))
    with np.errstate(over="ignore"):
        mixed = (key ^ salt) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(32)
        mixed *= np.uint64(0xD6E8FEB86659FD93)
    share = (mixed >> np.uint64(11)).astype(np.float64) / 2.0**53
    order = np.argsort(geometry, kind="stable")
    held = share[order]
    test, validation = held < policy.test, (held >= policy.test) & (held < policy.test + policy.validation)
    return {"train": order[~test & ~validation], "validation": order[validation], "test": order[test]}


def _published(
    published: dict[str, np.ndarray], rows: np.ndarray, geometry: np.ndarray, policy: SplitPolicy
) -> dict[str, np.ndarray]:
    """Frames of the published parts; the last training frames by hash where none are for validation."""
    parts = {}
    for part in PARTS:
        wanted = np.asarray(published.get(part, []), dtype=np.int64)
        frames = np.flatnonzero(np.isin(rows, wanted))
        parts[part] = frames[np.argsort(geometry[frames], kind="stable")]
    if not len(parts["validation"]):
        held = round(policy.validation * len(parts["train"]))
        cut = len(parts["train"]) - held
        parts["train"], parts["validation"] = parts["train"][:cut], parts["train"][cut:]
    return parts


def _unique(numbers: np.ndarray) -> list[int]:
    return [int(z) for z in np.flatnonzero(np.bincount(numbers, minlength=119))]


def _count_nan(values: np.ndarray, step: int = 1 << 22) -> int:
    return sum(int(np.isnan(part).sum()) for part in _chunks(values, step))


def _chunks(values: np.ndarray, step: int) -> Iterator[np.ndarray]:
    for start in range(0, len(values), step):
        yield values[start : start + step]
