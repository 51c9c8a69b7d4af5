"""What is taken out of archives, and what no archive may do here.

Members are named by the last part of their names only, so that none can leave the folder; an archive that
tries is refused whole. Links and devices are never made. What comes out has a limit: the length that an
archive states is checked before its first byte is written, and again while it is.
"""

from __future__ import annotations

import bz2
import fnmatch
import gzip
import logging
import lzma
import re
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from chemscale.fetching.errors import FetchError
from chemscale.fetching.meter import Meter, format_bytes
from chemscale.fetching.registry import Unpack
from chemscale.fetching.transfer.download import CHUNK, MARGIN, write_all
from chemscale.fetching.transfer.transport import free

log = logging.getLogger(__name__)

MAX_RATIO = 100
"""How many times its own length an archive may hold; text of molecules has 3 to 10."""
MIN_LIMIT = 64 << 20
"""Bytes that any archive may hold."""
DAMAGED = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, gzip.BadGzipFile,
    NotImplementedError, UnicodeDecodeError,
)  # fmt: skip
STREAMS: tuple[tuple[bytes, Callable[..., Any]], ...] = (
    (b"\x1f\x8b", gzip.open),
    (b"BZh", bz2.open),
    (b"\xfd7zXZ\x00", lzma.open),
)
"""First bytes of files that are compressed alone, and what opens them."""


@dataclass(frozen=True)
class Member:
    """One entry of an archive.

    Args:
        name: as it stands there.
        size: that it states; None where it states none.
        is_file: whether it is a plain file.
        content: where its bytes are read; None where it has none.
    """

    name: str
    size: int | None
    is_file: bool
    content: IO[bytes] | None


def unpack(archive: Path, plan: Unpack, folder: Path, *, min_limit: int = MIN_LIMIT) -> list[Path]:
    """Take members out of an archive.

    Args:
        archive: zip, tar (plain or compressed), or one file compressed by gzip, bzip2 or xz.
        plan: which members.
        folder: empty, where they go under the last part of their names.
        min_limit: bytes that it may hold whatever its length.

    Returns:
        The files.

    Raises:
        FetchError: it is damaged, hostile, holds too much or not what was looked for.
    """
    limit = max(plan.about_bytes or 0, MAX_RATIO * archive.stat().st_size, min_limit)
    found: list[Path] = []
    held = 0
    try:
        with _members(archive) as members, Meter(f"unpacking {archive.name}", plan.about_bytes) as meter:
            for member in members:
                _refuse_hostile(archive, member)
                held += member.size or 0
                _refuse_bomb(archive, held, limit)
                name = _chosen(member, plan)
                if name is None:
                    continue
                if not member.is_file or member.content is None:
                    raise FetchError(
                        f"{archive}: {member.name} is a link or a device, not a file: not unpacked."
                    )
                target = folder / name
                if target.exists():
                    raise FetchError(f"{archive}: it holds two files called {name}: not unpacked.")
                _check_room(archive, folder, member.size or 0)
                _write(archive, member, target, limit, meter)
                found.append(target)
    except DAMAGED as error:
        raise FetchError(
            f"{archive}: a damaged archive ({error}). Remove it, and run the command again."
        ) from None
    if not found:
        raise FetchError(f"{archive}: it holds no {' or '.join(plan.members)}.")
    if not plan.is_folder and len(found) > 1:
        names = ", ".join(sorted(path.name for path in found))
        raise FetchError(f"{archive}: it holds {names}, of which one alone was expected ({plan.to}).")
    return found


@contextmanager
def _members(archive: Path) -> Iterator[Iterator[Member]]:
    """Entries of an archive, one after the other; what each holds is read before the next is asked for."""
    with open(archive, "rb") as raw:
        begin = raw.read(8)
    if begin.startswith(b"PK"):
        with zipfile.ZipFile(archive) as file:
            yield _of_zip(file)
        return
    try:
        tar = tarfile.open(archive, "r:*")  # noqa: SIM115 - closed below; a stream's end is not checked
    except tarfile.ReadError:
        opener = next((opener for magic, opener in STREAMS if begin.startswith(magic)), None)
        if opener is None:
            raise FetchError(f"{archive}: neither zip nor tar, and not compressed.") from None
        with opener(archive, "rb") as content:
            yield iter([Member(re.sub(r"\.(gz|bz2|xz)$", "", archive.name), None, True, content)])
        return
    with tar:
        yield _of_tar(tar)


def _of_zip(file: zipfile.ZipFile) -> Iterator[Member]:
    for info in file.infolist():
        if info.flag_bits & 1:
            raise FetchError(f"{file.filename}: {info.filename} is encrypted: not unpacked.")
        kind = info.external_attr >> 28
        is_file = not info.is_dir() and kind in (0, 8)  # of Unix modes: none, or a plain file
        if not is_file:
            yield Member(info.filename, info.file_size, info.is_dir(), None)
            continue
        with file.open(info) as content:
            yield Member(info.filename, info.file_size, True, content)


def _of_tar(tar: tarfile.TarFile) -> Iterator[Member]:
    for info in tar:
        content = tar.extractfile(info) if info.isreg() else None
        yield Member(info.name, info.size if info.isreg() else 0, info.isreg() or info.isdir(), content)


def _chosen(member: Member, plan: Unpack) -> str | None:
    """Name that a member is written under; None where it is not wanted."""
    parts = member.name.rstrip("/").split("/")
    if member.is_file and member.content is None:
        return None  # a folder
    if parts[-1].startswith(".") or "__MACOSX" in parts:
        return None
    return parts[-1] if any(fnmatch.fnmatchcase(parts[-1], pattern) for pattern in plan.members) else None


def _refuse_hostile(archive: Path, member: Member) -> None:
    name = member.name
    if name.startswith("/") or ".." in name.split("/") or "\\" in name or re.match(r"[A-Za-z]:", name):
        raise FetchError(f"{archive}: {name!r} leads out of its folder: nothing of this archive is unpacked.")


def _refuse_bomb(archive: Path, held: int, limit: int) -> None:
    if held > limit:
        raise FetchError(
            f"{archive}: it holds more than {format_bytes(limit)}, from "
            f"{format_bytes(archive.stat().st_size)}: a bomb, or not what the registry describes. "
            "Not unpacked."
        )


def _check_room(archive: Path, folder: Path, size: int) -> None:
    if size + MARGIN > (there := free(folder)):
        raise FetchError(
            f"{archive}: unpacking needs {format_bytes(size)}, and {format_bytes(there)} are free. "
            "Make room; the same command goes on."
        )


def _write(archive: Path, member: Member, target: Path, limit: int, meter: Meter) -> None:
    assert member.content is not None
    written = 0
    with open(target, "xb", buffering=0) as out:
        while chunk := member.content.read(CHUNK):
            written += len(chunk)
            if member.size is None:
                _refuse_bomb(archive, written, limit)
            try:
                write_all(out, chunk)
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(target)) from None
            meter.advance(len(chunk))
    if member.size is not None and written != member.size:
        raise FetchError(
            f"{archive}: {member.name} has {written:,} bytes, not {member.size:,}: a damaged archive."
        )


def emptied(folder: Path) -> Path:
    """A folder that is empty, whatever an interrupted attempt left there.

    Args:
        folder: of ours alone.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
