"""From a source to a frame store: one pass in bounded memory, then an order of the frames' own."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import numpy as np

from chemscale.structures.blocks import Block, Source, SourceError
from chemscale.structures.store import (
    ATOM_ARRAYS,
    CELL_ARRAYS,
    FRAME_ARRAYS,
    PARTS,
    SCHEMA_VERSION,
    FrameStore,
    content_hash,
)

log = logging.getLogger(__name__)

BUILDER_VERSION = 1
"""Raise it when the same source and options would give another store."""


@dataclass(frozen=True)
class SplitPolicy:
    """How frames are divided where the source publishes no split.

    ``frame``: by hash of the geometry, so that a frame and its exact copy stay together. ``molecule``: by
    hash of the name and composition, so that no conformer of a held-out molecule is trained on.

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


def store_key(files: list[Path], options: dict) -> str:
    """Twelve digits that name a store: the files' bytes, the options, the version of this code."""
    digest = hashlib.sha256(json.dumps([BUILDER_VERSION, options], sort_keys=True, default=str).encode())
    for path in files:
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:12]


def build_store(source: Source, target: Path, policy: SplitPolicy, *, name: str = "") -> FrameStore:
    """Write the store of `source` at `target`, or open the one that is there.

    It is written beside and renamed at the end: an interrupted build leaves nothing that looks like a store.

    Raises:
        SourceError: the source holds no frame, or none to train on.
    """
    if (target / "manifest.json").exists():
        return FrameStore(target)
    partial = target.with_name(f"{target.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    started = time.monotonic()
    geometry, molecule, names = _write_frames(source, partial, name or target.name)
    if not len(geometry):
        raise SourceError(f"{name or target.name}: there is no frame in it.")
    published = source.splits()
    rows = np.fromfile(partial / "rows", FRAME_ARRAYS["rows"][0])
    parts = (
        _published(published, rows, geometry, policy) if published else _by_hash(geometry, molecule, policy)
    )
    if not len(parts["train"]):
        raise SourceError(
            f"{name or target.name}: no frame is left to train on. Lower the held-out fractions."
        )
    for part in PARTS:
        np.save(partial / f"{part}.npy", parts[part].astype(np.int64))
    (partial / "names.json").write_text(json.dumps(names))
    numbers = np.memmap(partial / "numbers", "u1", mode="r")
    forces = np.memmap(partial / "forces", "<f8", mode="r")
    energies = np.fromfile(partial / "energies", "<f8")
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "name": name,
        "periodic": (partial / "cells").exists() and (partial / "cells").stat().st_size > 0,
        "units": {
            "energy": "eV",
            "length": "Angstrom",
            "forces": "eV/Angstrom",
            "in the source": source.units,
        },
        "level": source.level,
        "notes": list(source.notes),
        "split": "published" if published else asdict(policy),
        "elements": _unique(numbers),
        "counts": {
            "frames": len(geometry),
            "atoms": len(numbers),
            "molecules": len(names),
            "without_energy": int(np.isnan(energies).sum()),
            "force_components_missing": _count_nan(forces),
            **{part: len(parts[part]) for part in PARTS},
        },
        "hash": content_hash(partial),
    }
    (partial / "manifest.json").write_text(json.dumps(manifest, indent=1))
    partial.rename(target)
    log.info("%s: %s frames in %.1f s.", target, f"{len(geometry):,}", time.monotonic() - started)
    return FrameStore(target)


def _write_frames(source: Source, partial: Path, name: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
    files: dict[str, IO[bytes]] = {
        key: open(partial / key, "wb")  # noqa: SIM115 (closed below, all together)
        for key in (*ATOM_ARRAYS, *FRAME_ARRAYS)
    }
    cells: dict[str, IO[bytes]] = {}
    geometry: list[np.ndarray] = []
    molecule: list[np.ndarray] = []
    names: dict[str, int] = {}
    frames, shown = 0, time.monotonic()
    try:
        for block in source.blocks():
            k, n = block.positions.shape[:2]
            group = names.setdefault(block.name, len(names))
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
                kind = {**ATOM_ARRAYS, **FRAME_ARRAYS}[key][0]
                files[key].write(np.ascontiguousarray(values, dtype=kind).tobytes())
            if block.cells is not None and not cells:
                cells = {key: open(partial / key, "wb") for key in CELL_ARRAYS}  # noqa: SIM115
                for key, (kind, width) in CELL_ARRAYS.items():
                    cells[key].write(np.zeros((frames, width), kind).tobytes())
            if cells:
                box = np.zeros((k, 9)) if block.cells is None else block.cells.reshape(k, 9)
                pbc = np.zeros((k, 3)) if block.pbc is None else block.pbc
                cells["cells"].write(box.astype("<f8").tobytes())
                cells["pbc"].write(np.asarray(pbc).astype("u1").tobytes())
            geometry.append(_keys(block))
            molecule.append(
                np.full(k, _hash64(block.name.encode() + bytes(np.sort(block.numbers))), np.uint64)
            )
            frames += k
            if time.monotonic() - shown > 5:
                shown = time.monotonic()
                log.info("%s: %s frames read …", name, f"{frames:,}")
    finally:
        for file in (*files.values(), *cells.values()):
            file.close()
    empty = np.zeros(0, np.uint64)
    return np.concatenate([empty, *geometry]), np.concatenate([empty, *molecule]), list(names)


def _keys(block: Block) -> np.ndarray:
    """(k,) a hash of each geometry, coordinates to 10⁻⁴ Å."""
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
    key = geometry if policy.by == "frame" else molecule
    # A second mixing, so that what decides the part says nothing of the order inside it.
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
    """Published parts; where no validation frames are, they are the last of the training part by hash."""
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
