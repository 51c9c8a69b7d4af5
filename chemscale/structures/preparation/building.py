"""From a source to a frame store: one pass in bounded memory, then an order of the frames' own."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from chemscale.common.durations import format_duration
from chemscale.common.files import atomic_folder, naming_place, write_array
from chemscale.common.hashes.remembered import file_sha256
from chemscale.common.locks import make_once
from chemscale.structures.blocks import Source, SourceError, left_out_frames
from chemscale.structures.dispersion import Dispersion
from chemscale.structures.overlap.exclusion import FrameExclusion
from chemscale.structures.preparation.isolated import describe_isolated, isolated_frames
from chemscale.structures.preparation.molecules import molecules_of
from chemscale.structures.preparation.separate_files import SeparateFiles
from chemscale.structures.preparation.splits import (
    SplitPolicy,
    divide,
    in_order,
    parts_with_files,
    published_parts,
)
from chemscale.structures.preparation.writing import write_frames
from chemscale.structures.sources.combined import CombinedSource
from chemscale.structures.store import (
    ISOLATED,
    MANIFEST,
    NAMES,
    OPTIONAL_ARRAYS,
    PARTS,
    SCHEMA_VERSION,
    FrameStore,
    content_hash,
)

log = logging.getLogger(__name__)

BUILDER_VERSION = 3
"""Raise it when the same source and options would give another store."""


def store_key(files: list[Path], options: dict[str, Any], *, believed: bool = True) -> str:
    """Twelve digits that name a store.

    Args:
        files: what it is made of; their bytes enter, not their names.
        options: of reading and splitting, which JSON can hold.
        believed: whether what is remembered of large files is; else every file is read.
    """
    digest = hashlib.sha256(json.dumps([BUILDER_VERSION, options], sort_keys=True, default=str).encode())
    for path in files:
        digest.update(bytes.fromhex(file_sha256(path, believed=believed)))
    return digest.hexdigest()[:12]


def build_store(
    source: Source,
    target: Path,
    policy: SplitPolicy,
    *,
    name: str = "",
    subtract: Dispersion | None = None,
    exclude: FrameExclusion | None = None,
) -> FrameStore:
    """Write the store of `source` at `target`, or open the one that is there.

    It is written beside and renamed at the end: an interrupted build leaves nothing that looks like a store.
    Of several processes one writes it, and the others wait.

    Args:
        source: what is read, once.
        target: folder of the store.
        policy: how frames are divided where the source publishes no split.
        name: of the data, for messages and the manifest; that of the folder in messages if empty.
        subtract: dispersion that is taken off the labels.
        exclude: frames that are left out; those of a test part of its own, or a published one, stay.

    Raises:
        SourceError: the source holds no frame, or none to train on.
    """
    with make_once(target / MANIFEST, target.absolute().parent) as missing, naming_place(target):
        if missing:
            _build(source, target, policy, name, subtract, exclude)
    return FrameStore(target)


def _build(
    source: Source,
    target: Path,
    policy: SplitPolicy,
    name: str,
    subtract: Dispersion | None,
    exclude: FrameExclusion | None,
) -> None:
    """Write a store that is not there yet."""
    title = name or target.name
    started = time.monotonic()
    with atomic_folder(target) as folder:
        written = write_frames(source, folder, title, subtract, exclude)
        if not len(written.geometry):
            raise SourceError(f"{title}: there is no frame in it{_but_for(exclude)}.")
        (folder / NAMES).write_text(json.dumps(written.names))
        files = source.files() if isinstance(source, CombinedSource) else []
        manifest = {
            "schema_version": SCHEMA_VERSION,
            "name": name,
            "periodic": (folder / "cells").exists() and (folder / "cells").stat().st_size > 0,
            "units": {
                "energy": "eV",
                "length": "Angstrom",
                "forces": "eV/Angstrom",
                "stress": "eV/Angstrom^3",
                "in the source": source.units,
            },
            "level": source.level,
            "kind": getattr(source, "kind", ""),
            "optional": list(OPTIONAL_ARRAYS),  # what was looked for: stores of before have neither
            "labels": [vars(place) for place in getattr(source, "places", [])],
            "files": files,
        }
        if subtract is not None:
            manifest["subtract"] = subtract.as_key()
        (folder / MANIFEST).write_text(json.dumps(manifest))
        store = FrameStore(folder)
        molecule = molecules_of(store, written.named, written.formulas, written.geometry)
        parts, notes = _divide(source, store, written.geometry, molecule, policy, exclude)
        if not len(parts["train"]):
            left = f"no frame is left to train on{_but_for(exclude)}"
            raise SourceError(f"{title}: {left}. {_ways_out(molecule, policy)}")
        if policy.validation > 0 and not len(parts["validation"]):
            notes.append(f"No frame is left to validate on. {_ways_out(molecule, policy)}")
        for part, members in parts.items():
            write_array(folder / f"{part}.npy", members.astype(np.int64))
        left_out = exclude.write(folder, files) if exclude else []
        contents = _contents(store, parts, molecule, {**left_out_frames(source), **_excluded(exclude)})
        manifest |= {
            "notes": [*source.notes, *_missing(contents["counts"]), *notes, *_without(subtract), *left_out],
            "split": _describe_split(source, policy),
            **contents,
            "hash": content_hash(folder, written.digests),
        }
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=1))
    frames = f"{len(written.geometry):,}"
    log.info("%s: %s frames in %s.", target, frames, format_duration(time.monotonic() - started))


def _divide(
    source: Source,
    store: FrameStore,
    geometry: np.ndarray,
    molecule: np.ndarray,
    policy: SplitPolicy,
    exclude: FrameExclusion | None,
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Frames of each part, those of isolated atoms apart, and what there is to say of them."""
    isolated = isolated_frames(store)
    others = np.delete(np.arange(len(store)), isolated)
    notes: list[str] = []
    if isinstance(source, SeparateFiles):
        part_of = source.part_of(store.rows)
        if "validation" in source.names and not (part_of == PARTS.index("validation")).any():
            _refuse_emptied(exclude)
        parts = parts_with_files(part_of, others, geometry, molecule, policy)
        notes += _copies(parts, geometry)
    elif published := source.splits():
        validation = published.get("validation", np.zeros(0, np.int64))
        if len(validation) and not np.isin(store.rows, validation).any():
            _refuse_emptied(exclude)
        parts = published_parts(published, store.rows, geometry, policy)
        isolated = np.setdiff1d(isolated, np.concatenate(list(parts.values())))  # they stay as published
    else:
        parts = divide(others, geometry, molecule, policy)
    notes += describe_isolated(store, isolated)
    return parts | ({ISOLATED: in_order(isolated, geometry)} if len(isolated) else {}), notes


def _refuse_emptied(exclude: FrameExclusion | None) -> None:
    """Refuse to take training frames for a validation part all of whose frames were left out.

    Raises:
        SourceError: frames were left out.
    """
    if exclude is not None and exclude.left_out:
        raise SourceError(
            f"No frame of the validation part is left{_but_for(exclude)}. Leave out data.validation_path or "
            "data.split to validate on a share of the training frames, or exclude less."
        )


def _but_for(exclude: FrameExclusion | None) -> str:
    """What is said of frames that would be there, had they not been left out."""
    if exclude is None or not exclude.left_out:
        return ""
    names = ", ".join(each.name for each in exclude.sets)
    return f" but the {exclude.left_out.total():,} that are in {names} too (data.exclude)"


def _copies(parts: dict[str, np.ndarray], geometry: np.ndarray) -> list[str]:
    """Sentences on frames that the files of two parts have in common.

    Raises:
        SourceError: all frames of a part are in the training files.
    """
    notes = []
    for part, other in (("validation", "train"), ("test", "train"), ("test", "validation")):
        shared = int(np.isin(geometry[parts[part]], geometry[parts[other]]).sum())
        if shared and other == "train" and shared == len(parts[part]):
            raise SourceError(
                f"All {shared} frames of the {part} part are training frames as well: nothing is held out. "
                f"Give other files as data.{part}_path, or leave it out for a share of the training files."
            )
        if shared:
            held_out = f"{shared} of {len(parts[part])} frames of the {part} part"
            notes.append(f"{held_out} are copies of {other} frames.")
    return notes


def _describe_split(source: Source, policy: SplitPolicy) -> str | dict[str, Any]:
    if isinstance(source, SeparateFiles):
        own = {part: "files of its own" for part in source.names if part != "train"}
        return {**asdict(policy), **own}
    return "published" if source.splits() else asdict(policy)


def _ways_out(molecule: np.ndarray, policy: SplitPolicy) -> str:
    if policy.by == "molecule":
        return (
            f"Molecules: {len(np.unique(molecule))}, of which data.split_by=molecule divides none: "
            "change data.validation_fraction or data.split_seed, or take data.split_by=frame."
        )
    return "Change the held-out fractions (data.validation_fraction, data.test_fraction)."


def _contents(
    store: FrameStore, parts: dict[str, np.ndarray], molecule: np.ndarray, left_out: dict[str, int]
) -> dict[str, Any]:
    """Elements of the parts, and counts of the whole store, for the manifest."""
    isolated = np.asarray(parts.get(ISOLATED, []), np.int64)
    forces = np.memmap(store.path / "forces", "<f8", mode="r")
    elements = _atoms_of_elements(store)
    for frame in isolated.tolist():
        elements[store.numbers(frame)] -= 1
    return {
        "elements": [int(z) for z in np.flatnonzero(elements)],
        "counts": {
            "frames": len(store),
            "atoms": int(store.offsets[-1]),
            "molecules": len(np.unique(np.delete(molecule, isolated) if len(isolated) else molecule)),
            "without_energy": int(np.isnan(store.energies(slice(None))).sum()),
            "force_components_missing": _count_nan(forces),
            **_stress_counts(store),
            **{part: len(members) for part, members in parts.items()},
            "left_out": left_out,
        },
    }


def _atoms_of_elements(store: FrameStore) -> np.ndarray:
    """Atoms of each element in the whole store, (119,); a frame has one entry for each."""
    numbers = np.memmap(store.path / "numbers", "u1", mode="r")
    # A million at a time: ``bincount`` makes 8 bytes of each.
    return sum((np.bincount(p, minlength=119) for p in _chunks(numbers, 1 << 20)), np.zeros(119, np.int64))


def _stress_counts(store: FrameStore) -> dict[str, int]:
    """Crystals with and without a stress; nothing where no frame has one."""
    if not store.has_stresses:
        return {}
    known = np.isfinite(np.memmap(store.path / "stresses", "<f8", mode="r").reshape(-1, 9)).all(axis=1)
    return {"with_stress": int(known.sum()), "without_stress": int((~known).sum())}


def _missing(counts: dict[str, int]) -> list[str]:
    """What is said of missing labels: they weigh nothing, and should not be missed without a word."""
    energies, components = counts["without_energy"], counts["force_components_missing"]
    notes = []
    if counts.get("without_stress"):
        notes = [
            f"{counts['without_stress']:,} of {counts['frames']:,} frames have no stress: it weighs nothing."
        ]
    if not energies and not components:
        return notes
    return [
        *notes,
        f"Labels that are missing or not finite weigh nothing: {energies:,} of {counts['frames']:,} frames "
        f"have no energy, {components:,} of {3 * counts['atoms']:,} force components are missing.",
    ]


def _without(subtract: Dispersion | None) -> list[str]:
    """What is said of dispersion that the labels are without."""
    if subtract is None:
        return []
    return [f"{subtract.describe()} was subtracted from the labels; predictions have it added again."]


def _excluded(exclude: FrameExclusion | None) -> dict[str, int]:
    """Frames that were left out since other sets have them, by reason."""
    if exclude is None:
        return {}
    return {f"data.exclude: {why}": count for why, count in exclude.left_out.items()}


def _count_nan(values: np.ndarray, step: int = 1 << 22) -> int:
    return sum(int(np.isnan(part).sum()) for part in _chunks(values, step))


def _chunks(values: np.ndarray, step: int) -> Iterator[np.ndarray]:
    for start in range(0, len(values), step):
        yield values[start : start + step]
