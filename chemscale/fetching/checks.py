"""Whether a file on the disk is the one that was meant: its length and its checksums."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from chemscale.fetching.meter import Meter

CHUNK = 1 << 20


def digests(path: Path, algorithms: Iterable[str]) -> dict[str, str]:
    """Checksums of a file, read once.

    Args:
        path: of the file.
        algorithms: md5 or sha256.

    Returns:
        Hexadecimal digits by algorithm.
    """
    sums = {name: hashlib.new(name, usedforsecurity=False) for name in algorithms}
    with open(path, "rb") as file, Meter(f"checking {path.name}", path.stat().st_size) as meter:
        while chunk := file.read(CHUNK):
            for each in sums.values():
                each.update(chunk)
            meter.advance(len(chunk))
    return {name: each.hexdigest() for name, each in sums.items()}


def difference(
    size: int, sums: Mapping[str, str], bytes: int | None, wanted: Mapping[str, str]
) -> str | None:
    """How a file differs from what was published, in one clause; None where it does not.

    Args:
        size: of the file, in bytes.
        sums: its checksums by algorithm.
        bytes: its published length, where there is one.
        wanted: its published checksums.
    """
    if bytes is not None and size != bytes:
        return f"{size:,} bytes, not the {bytes:,} that are published"
    for name, value in wanted.items():
        if sums[name] != value:
            return f"its {name} is {sums[name]}, not {value}"
    return None
