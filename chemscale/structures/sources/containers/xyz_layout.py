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

from chemscale.structures.blocks import SourceError

MAX_LINE = 64 << 20
"""Characters of a line at most."""


def check_layout(path: Path, frames: int | None = None) -> None:
    """Refuse an XYZ file whose frames do not fill it.

    What ASE itself refuses, such as a first line that is no number or a text that cannot be decoded, is left
    to it.

    Args:
        path: of the file, which may be compressed as ASE reads it.
        frames: that are looked at; None for all.

    Raises:
        SourceError: it ends within a frame, goes on behind a blank line, or has a line without an end.
    """
    try:
        with open_with_compression(str(path), "r") as file:
            _check(path, file, frames)
    except (OSError, EOFError, UnicodeDecodeError, zlib.error, lzma.LZMAError):
        return


def _check(path: Path, file: IO[str], frames: int | None) -> None:
    lines = _lines(path, file)
    frame = 0
    line = next(lines, "")
    while line.strip() and (frames is None or frame < frames):
        try:
            atoms = int(line)
        except ValueError:
            return
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
    if not line.strip():
        for more in lines:
            if more.strip():
                raise SourceError(
                    f"{path}: a blank line behind {frame} frames, and more behind it, which would be lost "
                    f"({more.strip()[:40]!r}). Take the blank line out."
                )


def _lines(path: Path, file: IO[str]) -> Iterator[str]:
    while line := file.readline(MAX_LINE):
        if len(line) == MAX_LINE:
            raise SourceError(f"{path}: a line of more than {MAX_LINE >> 20} MiB: no file of frames.")
        yield line
