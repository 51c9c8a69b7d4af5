"""Several files as one source."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from chemscale.structures.blocks import Block, Source
from chemscale.structures.units import Units


class CombinedSource:
    """Sources one after another; rows count on, so that published splits of each file still hold."""

    def __init__(self, sources: list[Source], names: list[str]):
        self.sources, self.names = sources, names
        self.level = "; ".join(dict.fromkeys(s.level for s in sources))
        self.units = "; ".join(dict.fromkeys(s.units for s in sources))
        self.notes: list[str] = []
        self._starts: list[int] = []

    def blocks(self) -> Iterator[Block]:
        start = 0
        self._starts, self.notes = [], []
        for source, name in zip(self.sources, self.names, strict=True):
            self._starts.append(start)
            last = -1
            for block in source.blocks():
                last = max(last, int(block.rows.max(initial=-1)))
                block.rows = block.rows + start
                block.name = f"{name}/{block.name}"
                yield block
            start += last + 1
            self.notes += [f"{name}: {note}" for note in source.notes]

    def splits(self) -> dict[str, np.ndarray] | None:
        """Published rows, known once the blocks have been read; None unless every file publishes them."""
        published = [source.splits() for source in self.sources]
        if any(p is None for p in published):
            return None
        parts: dict[str, list[np.ndarray]] = {}
        for start, split in zip(self._starts, published, strict=True):
            for part, rows in (split or {}).items():
                parts.setdefault(part, []).append(np.asarray(rows) + start)
        return {part: np.concatenate(rows) for part, rows in parts.items()}


def open_sources(files: list[Path], reading: dict[str, Any]) -> Source:
    """One file as it is, several as one.

    Args:
        reading: ``format``, ``level``, ``split``, ``units`` (a mapping of ``Units``); None for the default.

    Raises:
        SourceError, UnitError: a file or a unit is refused.
    """
    from chemscale.structures.sources import open_source

    units = {key: value for key, value in (reading.get("units") or {}).items() if value is not None}
    sources: list[Source] = [
        open_source(
            path,
            reading.get("format"),
            level=reading.get("level"),
            split=reading.get("split"),
            units=Units(**units) if units else None,
        )
        for path in files
    ]
    if len(sources) == 1:
        return sources[0]
    return CombinedSource(sources, [path.name.split(".")[0] for path in files])
