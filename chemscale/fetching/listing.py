"""What is said of data sets before they come: which there are, how large they are, under which licence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from chemscale.fetching.manifest import Manifest
from chemscale.fetching.meter import format_bytes
from chemscale.fetching.places import VARIABLE, data_home, state
from chemscale.fetching.registry import SHIPPED, DataSet, RemoteFile
from chemscale.fetching.transfer.part import Part
from chemscale.fetching.transfer.transport import free


def size_of(data: DataSet | RemoteFile) -> str:
    """Bytes to download, as far as they are known, in a few letters."""
    if isinstance(data, RemoteFile):
        return ("" if data.bytes else "about ") + format_bytes(data.size) if data.size else "unknown"
    if not data.size:
        return "unknown"
    exact = all(file.bytes for file in data.files)
    return ("" if exact else "about " if data.size_is_known else "over ") + format_bytes(data.size)


def table(sets: Mapping[str, DataSet], home: Path) -> list[str]:
    """One line a set: name, kind, size, what is here, licence.

    Args:
        sets: by name.
        home: where data sets lie.
    """
    rows = [("name", "read by", "size", "here", "licence")]
    for name, data in sets.items():
        manifest = Manifest.read(home / name)
        there = sum(manifest.is_whole(file) for file in data.files)
        here = "all" if there == len(data.files) else f"{there} of {len(data.files)} files" if there else "-"
        reader = "potentials" if data.kind == "structures" else "language models"
        rows.append((name, reader, size_of(data), here, data.licence))
    widths = [max(len(row[n]) for row in rows) for n in range(4)]
    return [
        "  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[4]]) for row in rows
    ]


def about(data: DataSet) -> list[str]:
    """Licence, citation and what else its users should read, a line each.

    Args:
        data: the set.
    """
    lines = [f"{data.name}: {data.about}", f"  licence   {data.licence}", f"  cite      {data.citation}"]
    lines.append(f"  home page {data.homepage}")
    if data.note:
        lines.append(f"  note      {data.note}")
    if data.registry != str(SHIPPED):
        lines.append(f"  described by {data.registry}")
    return lines


def plan(data: DataSet, files: Sequence[RemoteFile], home: Path) -> list[str]:
    """What fetching would do, file by file, and whether there is room.

    Args:
        data: the set.
        files: of it that were asked for.
        home: where data sets lie.
    """
    folder = home / data.name
    manifest = Manifest.read(folder)
    lines = about(data)
    for file in files:
        sums = ", ".join(file.checksums) or "no checksum published: recorded at first use"
        lines.append(f"  {file.path}: {size_of(file)}; {sums}; {state(file, folder, manifest)}")
        for mirror in file.mirrors:
            doubt = f"  (not verified: {mirror.unverified})" if mirror.unverified else ""
            lines.append(f"    {mirror.url}{doubt}")
        if file.unpack:
            lines.append(f"    from it: {', '.join(file.unpack.members)} to {folder / file.unpack.to}")
    missing = [file for file in files if not manifest.is_whole(file)]
    needed = sum(max(0, file.room - Part(folder / file.path).size) for file in missing)
    unknown = " at least" if any(file.size is None for file in missing) else ""
    lines.append(
        f"  to {folder}: {format_bytes(needed)}{unknown} are missing, {format_bytes(free(folder))} free. "
        f"Nothing was asked for yet."
    )
    return lines


def use(data: DataSet, paths: Iterable[Path], home: Path) -> list[str]:
    """What to do with a set that is here.

    Args:
        data: the set.
        paths: of its files.
        home: where it lies.
    """
    found = list(paths)
    where = str(found[0]) if len(found) == 1 else f"{len(found)} files in {found[0].parent}" if found else ""
    lines = [f"{data.name}: {where}"]
    if data.use:
        where = "" if home.absolute() == data_home().absolute() else f"{VARIABLE}={home.absolute()} "
        lines.append(f"  {where}python -m chemscale.train {data.use}")
    return lines
