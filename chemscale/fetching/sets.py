"""A whole data set: one process at a time, room first, then file by file, each recorded when it is whole."""

from __future__ import annotations

import fnmatch
import logging
import os
import shutil
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from chemscale.common.locks import file_lock
from chemscale.fetching.checks import difference, digests
from chemscale.fetching.errors import FetchError
from chemscale.fetching.manifest import Manifest, length
from chemscale.fetching.meter import format_bytes
from chemscale.fetching.registry import DataSet, RemoteFile, Unpack
from chemscale.fetching.transfer.download import MARGIN, Got, Patience, download
from chemscale.fetching.transfer.part import Part
from chemscale.fetching.transfer.transport import free
from chemscale.fetching.unpacking import emptied, unpack

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """How a set is fetched.

    Args:
        only: patterns of files, or parts of their names; empty for all.
        verify: read what is there already, and check it again.
        wait: whether to wait for another process that fetches the set.
        keep_archives: whether archives stay beside what was taken out of them.
        patience: with mirrors.
    """

    only: Sequence[str] = ()
    verify: bool = False
    wait: bool = True
    keep_archives: bool = False
    patience: Patience = field(default_factory=Patience)


def chosen(data: DataSet, only: Sequence[str]) -> list[RemoteFile]:
    """Files of a set that were asked for, and those that belong to any of them.

    Args:
        data: the set.
        only: patterns of their paths, or parts of them; empty for all.

    Raises:
        FetchError: a pattern fits no file.
    """
    for pattern in only:
        if not any(_fits(file, pattern) for file in data.files):
            there = ", ".join(file.path for file in data.files)
            raise FetchError(f"--only {pattern}: {data.name} has no such file, but {there}.")
    return [file for file in data.files if not only or file.always or any(_fits(file, each) for each in only)]


def _fits(file: RemoteFile, pattern: str) -> bool:
    return fnmatch.fnmatchcase(file.path, pattern) or fnmatch.fnmatchcase(file.path, f"*{pattern}*")


def fetch_set(data: DataSet, home: Path, options: Options | None = None) -> list[Path]:
    """Fetch a set into ``<home>/<name>``, as far as it is not there.

    Args:
        data: the set.
        home: where data sets lie.
        options: how.

    Returns:
        The files that readers read.

    Raises:
        FetchError: a file cannot be had, the disk has no room, or another process is at it.
        OSError: the place cannot be written.
    """
    options = options or Options()
    files = chosen(data, options.only)
    folder = home / data.name
    with _alone(data.name, folder, options.wait):
        manifest = Manifest.read(folder)
        missing = [file for file in files if not manifest.is_whole(file)]
        _check_room(data, folder, missing)
        for file in files:
            if file in missing:
                _fetch(data, file, folder, manifest, options)
            elif options.verify:
                _verify(file, folder, manifest)
            else:
                _refuse_other(file, folder, manifest)
        if files and not missing and not options.verify:
            log.info("%s: all there, in %s (--verify reads and checks it again).", data.name, folder)
    return [path for file in files for path in outputs(file, folder, manifest)]


def outputs(file: RemoteFile, folder: Path, manifest: Manifest) -> list[Path]:
    """What readers read of a file: itself, or what was taken out of it.

    Args:
        file: which; it is whole.
        folder: of its set.
        manifest: of that folder.
    """
    return [folder / name for name in manifest.files[file.path].get("contents", {file.path: None})]


@contextmanager
def _alone(name: str, folder: Path, wait: bool) -> Iterator[None]:
    """Keep other processes out of a set's folder, here and on other machines that share the disk."""

    def busy(owner: str) -> FetchError | None:
        who = owner or "another process"
        if not wait:
            return FetchError(
                f"{name} is being fetched by {who}. Without --no-wait this command waits for it."
            )
        log.info("%s is being fetched by %s: waiting for it.", name, who)
        return None

    with file_lock(
        folder / ".fetch.lock", busy=busy, without="fetch a data set from one machine at a time"
    ) as lock:
        lock.seek(0)
        lock.truncate()
        lock.write(
            f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%Y-%m-%d %H:%M:%S')}\n"
        )
        lock.flush()
        yield


def _check_room(data: DataSet, folder: Path, missing: Sequence[RemoteFile]) -> None:
    needed = sum(max(0, file.room - Part(folder / file.path).size) for file in missing)
    there = free(folder)
    if needed and needed + MARGIN > there:
        raise FetchError(
            f"{data.name} needs {format_bytes(needed)} more, and the disk of {folder} has "
            f"{format_bytes(there)} free. Make room, fetch a part (--only), or name another place: --data, "
            "or CHEMSCALE_DATA."
        )


def _fetch(data: DataSet, file: RemoteFile, folder: Path, manifest: Manifest, options: Options) -> None:
    """Bring one file here, whatever of it is here."""
    target = folder / file.path
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        if manifest.files.get(file.path, {}).get("bytes") != length(target):
            got = _adopt(file, target, manifest)
            manifest.add(file, got.url, got.bytes, got.sums)
            manifest.write(data)
    else:
        first = not file.checksums and not manifest.recorded(file)
        got = download(file, target, recorded=manifest.recorded(file), patience=options.patience)
        manifest.add(file, got.url, got.bytes, got.sums)
        manifest.write(data)
        if first:
            log.info("%s: no checksum is published; recorded sha256 %s.", file.path, got.sums["sha256"])
    if file.unpack:
        try:
            _take_out(file, file.unpack, folder, manifest)
        except FetchError:
            if not file.checksums:  # what was recorded at first use was no good
                del manifest.files[file.path]
                manifest.write(data)
            raise
        manifest.write(data)
        if not options.keep_archives:
            target.unlink()


def _adopt(file: RemoteFile, target: Path, manifest: Manifest) -> Got:
    """Check a file that lies there without a record, such as one that a browser downloaded.

    Raises:
        FetchError: it is not the file; it stays as it is.
    """
    wanted = file.checksums or manifest.recorded(file)
    sums = digests(target, {"sha256", *wanted})
    size = target.stat().st_size
    if wrong := difference(size, sums, file.bytes, wanted):
        raise FetchError(
            f"{target} lies there and is not the file: {wrong}. Move it away, and run the command again."
        )
    if not wanted:
        log.warning("%s lay there; nothing is published to check it by. Its sha256 is recorded.", target)
    else:
        log.info("%s lay there; it is the file.", target)
    return Got("", size, sums)


def _take_out(file: RemoteFile, plan: Unpack, folder: Path, manifest: Manifest) -> None:
    """Unpack an archive beside itself, check what came out, and move it into its place."""
    workplace = emptied(folder / f".{file.path.replace('/', '-')}.unpacked.part")
    try:
        found = unpack(folder / file.path, plan, workplace)
        sums = {path.name: digests(path, {"sha256"})["sha256"] for path in found}
        for name, value in (plan.sha256 or {}).items():
            if sums.get(name) != value:
                raise FetchError(
                    f"{folder / file.path}: the sha256 of {name} in it is {sums.get(name)}, not {value}."
                )
        places = {path: _place(path, plan) for path in sorted(found)}
        contents = {
            place: {"bytes": path.stat().st_size, "sha256": sums[path.name]} for path, place in places.items()
        }
        if plan.is_folder and plan.to != "./" and not (folder / plan.to).exists():
            (folder / plan.to).parent.mkdir(parents=True, exist_ok=True)
            workplace.rename(folder / plan.to)  # all at once: a reader of the folder sees it whole
        else:
            for path, place in places.items():
                _move(path, folder / place, sums[path.name])
        manifest.files[file.path]["contents"] = contents
    finally:
        shutil.rmtree(workplace, ignore_errors=True)


def _place(path: Path, plan: Unpack) -> str:
    if not plan.is_folder:
        return plan.to
    return path.name if plan.to == "./" else f"{plan.to}{path.name}"


def _move(path: Path, target: Path, sha256: str) -> None:
    """Put a file into its place, unless it lies there already."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        if digests(target, {"sha256"})["sha256"] != sha256:
            raise FetchError(
                f"{target} lies there and is another file. Move it away, and run the command again."
            )
        return
    path.rename(target)


def _verify(file: RemoteFile, folder: Path, manifest: Manifest) -> None:
    """Read what is there and compare it with what was published, or recorded.

    Raises:
        FetchError: it has changed.
    """
    entry = manifest.files[file.path]
    _refuse_other(file, folder, manifest)
    for name, each in entry.get("contents", {file.path: entry}).items():
        path = folder / name
        if wrong := difference(
            path.stat().st_size, digests(path, {"sha256"}), each["bytes"], {"sha256": each["sha256"]}
        ):
            raise FetchError(
                f"{path} has changed since it was fetched: {wrong}. Move it away, and run the command again."
            )
        log.info("%s: as it was fetched.", path)


def _refuse_other(file: RemoteFile, folder: Path, manifest: Manifest) -> None:
    """Refuse a file that was fetched when its registry said something else of it."""
    entry = manifest.files[file.path]
    for name, value in file.checksums.items():
        if entry.get(name, value) != value:
            raise FetchError(
                f"{folder / file.path} was fetched with {name} {entry[name]}; the registry says {value} now. "
                "Move the folder away, and run the command again."
            )
