"""One hash of several files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path


def hash_of_files(folder: Path, names: Sequence[str], known: Mapping[str, bytes]) -> str:
    """SHA-256 over the names and contents of those files that there are, in the order of their names.

    Args:
        folder: where they lie.
        names: of the files.
        known: SHA-256 of files that need not be read, by name.
    """
    total = hashlib.sha256()
    for name in sorted(names):
        if name in known:
            total.update(name.encode() + known[name])
        elif (folder / name).exists():
            with open(folder / name, "rb") as file:
                total.update(name.encode() + hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()
