"""Whether the frames of an XYZ file lie one behind the other to its end, before ASE reads them.

ASE stops at the first blank line, whatever follows it, and counts the atoms that a first line claims without
looking whether the file has them.
"""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ase.io.formats import open_with_compression

from chemscale.common.progress import ProgressBar
from chemscale.structures.blocks import SourceError

MAX_LINE = 64 << 20
"""Characters of a line at most."""

COMPRESSED = (".gz", ".bz2", ".xz")

SHOWN = 256
"""Frames between two looks at the clock."""


def check_layout(path: Path, frames: int | None = None) -> int | None:
    """Refuse an XYZ file whose frames do not fill it.

    What ASE itself refuses, such as a first line that is no number or a text that cannot be decoded, is left
    to it.

    Args:
        path: of the file, which may be compressed as ASE reads it.
        frames: that are looked at; None for all.

    Returns:
        The number of frames; None where it was left to ASE.

    Raises:
        SourceError: it ends within a frame, goes on behind a blank line, or has a line without an end.
    """
    try:
        with open_with_compression(str(path), "r") as file:
            return _check(path, file, frames)
    except (OSError, EOFError, UnicodeDecodeError, zlib.error, lzma.LZMAError):
        return None


def _check(path: Path, file: IO[str], frames: int | None) -> int | None:
    # What is read of a compressed file does not tell how much of it is left.
    plain = path.suffix.lower() not in COMPRESSED
    total = path.stat().st_size >> 20 if plain else None
    with ProgressBar(f"{path.name}: looking through", total, "MiB", every=5.0) as progress:
        return _count(path, file, frames, progress)


def _count(path: Path, file: IO[str], frames: int | None, progress: ProgressBar) -> int | None:
    lines = _lines(path, file)
    frame = 0
    line = next(lines, "")
    while line.strip() and (frames is None or frame < frames):
        try:
            atoms = int(line)
        except ValueError:
            return None
        for i in range(atoms + 1):
            if not next(lines, ""):
                raise SourceError(
                    f"{path}, frame {frame}: the file ends behind {max(0, i - 1)} of its {atoms} atoms. "
                    "It was cut short, or its number of atoms is wrong."
                )
        line = next(lines, "")
        while line.lstrip().startswith("VEC"):
            line = next(lines, "")
        frame += 1
        if frame % SHOWN == 0:
            progress.update(file.buffer.tell() >> 20, f"({frame:,} frames)")  # type: ignore[attr-defined]
    if not line.strip():
        for more in lines:
            if more.strip():
                raise SourceError(
                    f"{path}: a blank line behind {frame} frames, and more behind it, which would be lost "
                    f"({more.strip()[:40]!r}). Take the blank line out."
                )
    return frame


def _lines(path: Path, file: IO[str]) -> Iterator[str]:
    while line := file.readline(MAX_LINE):
        if len(line) == MAX_LINE:
            raise SourceError(f"{path}: a line of more than {MAX_LINE >> 20} MiB: no file of frames.")
        yield line
