"""Frames by the names that people give their sets: files, stores, runs, options of ``data=``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from chemscale.common.files import read_regular
from chemscale.common.sections import read_section
from chemscale.fetching.places import refuse_missing
from chemscale.molecules.overlap.targets import OverlapError
from chemscale.objects.address import local_place
from chemscale.points.overlap.named import on_this_disk, run_named, section_of
from chemscale.points.uncertainty.chosen import selected_positions
from chemscale.records import RunRecord
from chemscale.structures.overlap.frame_sets import FrameSet, SourceFrames, StoreFrames
from chemscale.structures.settings import StructureData
from chemscale.structures.sources.ase_files import AseFile
from chemscale.structures.sources.combined import open_sources
from chemscale.structures.sources.frame_files import frame_files
from chemscale.structures.store import MANIFEST, PARTS, FrameStore


def frames_named(name: str, key: str, *, trained_on: bool = False) -> FrameSet:
    """The frames that a name means.

    Args:
        name: files, a store, a run, an address of one of these in an object store, or an option of ``data=``.
        key: by which it was given, for messages.
        trained_on: take only the training part of a store; of a run it is always the frames of its training.

    Raises:
        FileNotFoundError: a set is not here.
        OverlapError: a run whose store is not here, or a set of molecules.
        ValueError: files are refused.
    """
    place = on_this_disk(name, key)
    if (run := run_named(place)) is not None:
        return _of_run(name, key, RunRecord.load(run))
    if (Path(place) / MANIFEST).is_file():
        store = FrameStore(Path(place))
        return StoreFrames.parts(name, store, ("train",) if trained_on else filled(store, PARTS))
    section = None if Path(place).exists() else section_of(place)
    if section is not None and section.get("source") != "structures":
        raise OverlapError(f"{key}={name}: the set holds no files of frames.")
    # All frames, whatever the parts that were published.
    values = {**(section or {"source": "structures", "path": place, "references": "none"}), "split": None}
    refuse_missing(str(values["path"]), key)
    data = read_section(StructureData, values, "data")
    files, left_out = frame_files(str(data.path), data.format, key)
    said = [f"Left out: {', '.join(left_out)}."] if left_out else []
    source = open_sources(files, data.reading, said)
    for each in getattr(source, "sources", [source]):
        if isinstance(each, AseFile):
            each.needs_labels = False  # a geometry is compared, with labels or without
    return SourceFrames(name, source, files, data.reading)


def filled(store: FrameStore, parts: Sequence[str]) -> tuple[str, ...]:
    """Parts of a store that have frames.

    Args:
        store: that is asked.
        parts: train, validation, test.
    """
    return tuple(part for part in parts if len(store.part(part)))


def _of_run(name: str, key: str, record: RunRecord) -> StoreFrames:
    """The very frames that a run was trained on."""
    root = local_place(record.config.get("structures", "structures"))
    for manifest in sorted(root.glob(f"*/{MANIFEST}")):
        try:
            if json.loads(read_regular(manifest)).get("hash") != record.data_hash:
                continue
        except (OSError, ValueError):
            continue
        store = FrameStore(manifest.parent)
        data = read_section(StructureData, record.config["data"], "data")
        chosen, train = selected_positions(store, data), store.part("train")
        frames = (train if chosen is None else train[chosen])[: data.frames]
        return StoreFrames(name, store, frames, f"the {len(frames):,} frames of its training")
    raise OverlapError(
        f"{key}={name}: the store that this run was trained on is not in {root}: name it, or its files."
    )
