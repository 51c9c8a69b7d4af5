"""SHA-256 of large input files, remembered beside the stores for as long as a file stays as it was."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from pathlib import Path

from chemscale.common.files import write_json
from chemscale.common.progress import ProgressBar

REMEMBERED = "digests.json"
"""File in the folder of the stores."""

LARGE = 64 << 20
"""Bytes from which on a file is worth remembering: a second of reading, or a minute on a network disk."""

SETTLED = 10.0
"""Seconds since a file last changed, before which another change might leave the same time."""

CHUNK = 8 << 20


def digest_of(path: Path, folder: Path | None = None) -> bytes:
    """SHA-256 of a file; of a large one that has not changed since it was last read, without reading it.

    A file is as it was where its size, inode and both of its times (of its content, and of any change, which
    no program can set) are.

    Args:
        path: of the file.
        folder: of the stores, where digests are remembered; None to read the file whatever is known.
    """
    state = path.stat()
    if folder is None or state.st_size < LARGE:
        return _read(path, state.st_size)
    stamp = [state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino]
    place, name = folder / REMEMBERED, str(path.resolve())
    known = _known(place).get(name, {})
    if known.get("stamp") == stamp:
        return bytes.fromhex(str(known["sha256"]))
    digest = _read(path, state.st_size)
    after = path.stat()
    unchanged = [after.st_size, after.st_mtime_ns, after.st_ctime_ns, after.st_ino] == stamp
    if unchanged and time.time() - state.st_ctime > SETTLED:
        with contextlib.suppress(OSError):  # a folder that cannot be written: read again next time
            write_json(place, _known(place) | {name: {"stamp": stamp, "sha256": digest.hex()}})
    return digest


def _known(place: Path) -> dict[str, dict[str, object]]:
    """What is remembered; nothing where the file is missing or damaged."""
    try:
        known = json.loads(place.read_text())
    except (OSError, ValueError):
        return {}
    whole = isinstance(known, dict) and all(isinstance(v, dict) and "sha256" in v for v in known.values())
    return known if whole else {}


def _read(path: Path, size: int) -> bytes:
    digest = hashlib.sha256()
    with (
        open(path, "rb") as file,
        ProgressBar(f"{path.name}: hash of its content", size >> 20, "MiB", every=5.0) as progress,
    ):
        done = 0
        while content := file.read(CHUNK):
            digest.update(content)
            done += len(content)
            progress.update(done >> 20)
    return digest.digest()
