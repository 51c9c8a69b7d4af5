"""Several files as one source."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from chemscale.structures.blocks import Block, Source, SourceError, left_out_frames, total_frames
from chemscale.structures.sources import AseFile, open_source
from chemscale.structures.sources.labels import LabelKeys, Place
from chemscale.structures.units import UnitError


class CombinedSource:
    """Sources one after another; rows count on, so that published splits of each file still hold.

    Args:
        sources: in order.
        names: of each, which its blocks get in front of their own.
        said: notes about all of them.
    """

    def __init__(self, sources: list[Source], names: list[str], said: Sequence[str] = ()):
        self.sources, self.names, self.said = sources, names, said
        kinds = {getattr(source, "kind", "") for source in sources}
        self.kind = kinds.pop() if len(kinds) == 1 else ""
        self.level = "; ".join(dict.fromkeys(s.level for s in sources))
        self.units = "; ".join(dict.fromkeys(s.units for s in sources))
        self.notes: list[str] = []
        self.places: list[Place] = []
        self._starts: list[int] = []

    def blocks(self) -> Iterator[Block]:
        """Every frame of every source.

        Raises:
            SourceError: one that cannot be read, or no frame with labels in any file.
        """
        start = 0
        self._starts, self.places = [], []
        notes: list[tuple[str, str]] = []
        for source, name in zip(self.sources, self.names, strict=True):
            self._starts.append(start)
            last = -1
            for block in source.blocks():
                last = max(last, int(block.rows.max(initial=-1)))
                block.rows = block.rows + start
                block.name = f"{name}/{block.name}"
                yield block
            start += last + 1
            notes += [(name, note) for note in source.notes]
            if last < 0:
                notes.append((name, "There is no frame in it."))
            found = getattr(source, "places", [])
            self.places += [place for place in found if place not in self.places]
        if start and not self.places and all(isinstance(source, AseFile) for source in self.sources):
            advice = " ".join(f"{name}: {note}" for name, note in notes[:3])
            raise SourceError(f"no frame of {len(self.sources)} files has an energy or forces. {advice}")
        if len({place.name for place in self.places}) > 1:
            listed = ", ".join(place.name for place in self.places)
            notes.append(("", f"The files have their labels in different places: {listed}."))
        self.notes = [*self.said, *_joined(notes)]

    def total(self) -> int | None:
        """Frames of all files; None where one does not know its own."""
        totals = [total_frames(source) for source in self.sources]
        return None if None in totals else sum(total for total in totals if total)

    @property
    def left_out(self) -> dict[str, int]:
        """Frames of all files that are in no block, by the reason."""
        found: Counter[str] = Counter()
        for source in self.sources:
            found.update(left_out_frames(source))
        return dict(found)

    def files(self) -> list[tuple[int, str]]:
        """First row and name of each file, once the source has been read."""
        found: list[tuple[int, str]] = []
        for source, start in zip(self.sources, self._starts, strict=True):
            if isinstance(source, CombinedSource):
                found += [(start + row, name) for row, name in source.files()]
            elif path := getattr(source, "path", None):
                found.append((start, Path(path).name))
        return found

    def splits(self) -> dict[str, np.ndarray] | None:
        """Published rows, each file's counted on; None unless every file publishes them.

        Where a file's rows begin is known when those before it have been read: they are, if need be.
        """
        published = [source.splits() for source in self.sources]
        if any(p is None for p in published):
            return None
        if len(self._starts) < len(self.sources):
            for _ in self.blocks():
                pass
        parts: dict[str, list[np.ndarray]] = {}
        for start, split in zip(self._starts, published, strict=True):
            for part, rows in (split or {}).items():
                parts.setdefault(part, []).append(np.asarray(rows) + start)
        return {part: np.concatenate(rows) for part, rows in parts.items()}


def _joined(notes: list[tuple[str, str]], most: int = 3) -> Iterator[str]:
    """Notes behind the names of their files; those that differ in numbers alone, of many files, as one."""
    alike: dict[str, list[tuple[str, str]]] = {}
    for name, note in notes:
        alike.setdefault(re.sub(r"[\d,.]+", "0", note), []).append((name, note))
    for members in alike.values():
        shown = members if len(members) <= most else members[:1]
        rest = f" (and alike in {len(members) - 1:,} more files)" if len(members) > most else ""
        yield from (f"{name}: {note}{rest}" if name else note for name, note in shown)


def open_sources(files: list[Path], reading: dict[str, Any], said: Sequence[str] = ()) -> Source:
    """Open one file as it is, or several as one.

    Args:
        files: in order.
        reading: ``format``, ``level``, ``split``, ``energy_key``, ``forces_key``, ``stress_key``, ``units``
            (a mapping of ``Units``); None for the default.
        said: notes about the files.

    Raises:
        SourceError: a file is refused, or a key names gradients and the sign is not stated.
        UnitError: a unit is refused.
    """
    given = {key: value for key, value in (reading.get("units") or {}).items() if value is not None}
    LabelKeys.of(reading).check_sign("gradients" in given)
    sources = [_open(path, reading, given) for path in files]
    if len(sources) == 1:
        sources[0].notes += said
        return sources[0]
    for source in sources:
        if isinstance(source, AseFile):
            source.needs_labels = False
    return CombinedSource(sources, _names(files), said)


def _names(files: list[Path]) -> list[str]:
    """Names of files without suffixes; behind that of their folder where files of several have one name."""
    folders: dict[str, set[Path]] = {}
    names = [path.name.split(".")[0] for path in files]
    for name, path in zip(names, files, strict=True):
        folders.setdefault(name, set()).add(path.parent)
    return [
        f"{path.parent.name}/{name}" if len(folders[name]) > 1 else name
        for name, path in zip(names, files, strict=True)
    ]


def _open(path: Path, reading: dict[str, Any], given: dict[str, Any]) -> Source:
    options: dict[str, Any] = {
        "level": reading.get("level"),
        "split": reading.get("split"),
        "keys": LabelKeys.of(reading),
    }
    source = open_source(path, reading.get("format"), **options)
    if not given:
        return source
    # What is given replaces that part of what the format usually holds, and no more.
    try:
        stated = replace(source.conversion, **given)  # type: ignore[attr-defined]
    except TypeError as error:
        raise UnitError(
            f"data.units: {error}. It has energy, length, gradients, stress and compression."
        ) from None
    return open_source(path, reading.get("format"), units=stated, **options)
