"""SHA-256 of input files, kept from one start to the next: a run names its corpus or store by them.

10⁹ molecules are some 50 GB of text, and every rank of every run would read all of it before its first step.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

from chemscale.common.files import write_json
from chemscale.common.paths import cache_folder
from chemscale.common.progress import ProgressBar

MIN_BYTES = 1 << 24
"""Of a file whose hash is kept: a smaller one is read in a few milliseconds."""
SETTLED = 10.0
"""Seconds for which a file must have been left alone before its hash is believed later: two changes within
the resolution of a file system's clock look like one, and a server's clock may be behind."""
PIECE = 8 << 20
"""Bytes that are read at a time."""


def file_sha256(path: Path, *, believed: bool = True) -> str:
    """Hexadecimal SHA-256 of a file, remembered for as long as the file is not touched.

    It is read again where its size, its inode, or the time of the last change of its content or of its inode
    (``ctime``, which no program can set back) is another one.

    Args:
        path: of the file.
        believed: whether what is remembered is; else the file is read whatever is known of it.

    Raises:
        OSError: it cannot be read.
    """
    before = os.stat(path)
    if before.st_size < MIN_BYTES:
        return _read(path, before.st_size)
    place = str(Path(path).resolve())
    note = cache_folder() / "hashes" / f"{hashlib.sha256(os.fsencode(place)).hexdigest()[:24]}.json"
    state = _state(place, before)
    kept = _noted(note) if believed else None
    if kept is not None and kept.get("file") == state and isinstance(kept.get("sha256"), str):
        return str(kept["sha256"])
    begun = time.time()
    found = _read(path, before.st_size)
    unchanged = _state(place, os.stat(path)) == state
    if unchanged and max(before.st_mtime, before.st_ctime) < begun - SETTLED:
        with contextlib.suppress(OSError):  # it is read again next time
            write_json(note, {"file": state, "sha256": found})
    return found


def _read(path: Path, size: int) -> str:
    digest, silent = hashlib.sha256(), size < MIN_BYTES
    with (
        open(path, "rb") as file,
        ProgressBar(f"{Path(path).name}: hash of its content", size >> 20, "MiB", silent=silent) as progress,
    ):
        done = 0
        while content := file.read(PIECE):
            digest.update(content)
            done += len(content)
            progress.update(done >> 20)
    return digest.hexdigest()


def _state(place: str, status: os.stat_result) -> dict[str, Any]:
    """What a file is known by without reading it; no device number, which differs between nodes."""
    return {
        "path": place,
        "bytes": status.st_size,
        "inode": status.st_ino,
        "mtime_ns": status.st_mtime_ns,
        "ctime_ns": status.st_ctime_ns,
    }


def _noted(note: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(note.read_text())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
