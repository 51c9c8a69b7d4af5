"""Frames that are compared: parts of a prepared store, or files as they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from chemscale.common.hashes.remembered import file_sha256
from chemscale.structures.blocks import Block, Source, total_frames
from chemscale.structures.preparation.splits import hash64
from chemscale.structures.store import FrameStore


class StoreFrames:
    """Frames of a prepared store.

    Args:
        name: as a person named them.
        store: that they are in.
        frames: (k,) their numbers.
        what: which frames these are, in words.
    """

    def __init__(self, name: str, store: FrameStore, frames: np.ndarray, what: str):
        self.name, self.store, self.frames, self.what = name, store, np.asarray(frames), what
        self.total: int | None = len(self.frames)

    @classmethod
    def parts(cls, name: str, store: FrameStore, parts: Sequence[str]) -> StoreFrames:
        """Frames of some parts of a store.

        Args:
            name: as a person named them.
            store: that they are in.
            parts: train, validation or test.
        """
        frames = np.concatenate([np.asarray(store.part(part)) for part in parts])
        return cls(name, store, frames, " and ".join(parts))

    def content(self) -> dict[str, Any]:
        """What decides the frames."""
        return {"store": self.store.hash, "frames": hash64(self.frames.astype("<i8").tobytes())}

    def blocks(self) -> Iterator[Block]:
        """All frames, in bounded memory."""
        return self.store.blocks(self.frames)

    def describe(self) -> str:
        """Which frames these are, in a few words."""
        return f"store {self.store.path.name}, {self.what}"


class SourceFrames:
    """Frames of files.

    Args:
        name: as a person named them.
        source: that reads them.
        files: that it reads.
        reading: how, as JSON can hold it.
    """

    def __init__(self, name: str, source: Source, files: Sequence[Path], reading: dict[str, Any]):
        self.name, self.source, self.files, self.reading = name, source, tuple(files), reading

    @property
    def total(self) -> int | None:
        """Number of the frames, where it is known before they are read."""
        return total_frames(self.source)

    def content(self) -> dict[str, Any]:
        """What decides the frames, whenever and wherever the files lie."""
        return {"files": [file_sha256(path) for path in self.files], "reading": self.reading}

    def blocks(self) -> Iterator[Block]:
        """All frames, in bounded memory."""
        return self.source.blocks()

    def describe(self) -> str:
        """Which frames these are, in a few words."""
        more = f" and {len(self.files) - 1:,} more" if len(self.files) > 1 else ""
        return f"{self.files[0].name}{more}"


FrameSet = StoreFrames | SourceFrames
