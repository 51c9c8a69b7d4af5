"""One file from its mirrors: resumed, retried, checked, and put into its place only when it is whole."""

from __future__ import annotations

import logging
import os
import random
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path

from chemscale.fetching.checks import difference, digests
from chemscale.fetching.errors import FetchError, Interrupted, Refused
from chemscale.fetching.meter import Meter, format_bytes
from chemscale.fetching.registry import Mirror, RemoteFile
from chemscale.fetching.transfer.answers import (
    begins_at,
    check_beginning,
    check_kind,
    check_status,
    total_of,
    validator_of,
)
from chemscale.fetching.transfer.part import Part
from chemscale.fetching.transfer.transport import BROKEN, Answer, ask, describe, free

log = logging.getLogger(__name__)

CHUNK = 1 << 18
ENOUGH = 1024
"""Bytes that tell a page from a file."""
MARGIN = 64 << 20
"""Bytes that are left free on a disk."""


@dataclass(frozen=True)
class Patience:
    """How long a mirror is tried.

    Args:
        tries: attempts in a row that bring nothing, after the first.
        first: seconds before the second attempt; they double from one to the next.
        most: seconds at most.
        timeout: seconds without a byte after which a connection counts as broken.
        sleep: how it waits.
    """

    tries: int = 5
    first: float = 1.0
    most: float = 60.0
    timeout: float = 60.0
    sleep: Callable[[float], None] = field(default=time.sleep, compare=False)

    def pause(self, attempt: int, asked: float | None) -> float:
        """Seconds before an attempt, spread so that many clients do not come back together.

        Args:
            attempt: its number, from 1.
            asked: what the server asked for.
        """
        if asked is not None:
            return asked
        return min(self.most, self.first * 2 ** (attempt - 1)) * random.uniform(1, 1.25)


@dataclass(frozen=True)
class Got:
    """A file that is whole and in its place.

    Args:
        url: where it came from; empty where it lay there.
        bytes: its length.
        sums: its checksums by algorithm, sha256 always.
    """

    url: str
    bytes: int
    sums: dict[str, str]


def download(
    file: RemoteFile,
    target: Path,
    *,
    recorded: Mapping[str, str] | None = None,
    patience: Patience | None = None,
) -> Got:
    """Fetch a file.

    Args:
        file: what is known of it.
        target: where it is to lie; nothing may lie there.
        recorded: checksums of an earlier fetch, which it must have where none are published.
        patience: with mirrors.

    Returns:
        What came.

    Raises:
        FetchError: no mirror has it, or the disk has no room; what came so far is kept for the next attempt.
    """
    patience = patience or Patience()
    part = Part(target)
    wanted = file.checksums or dict(recorded or {})
    # The mirror that a part came from goes first: without a checksum no other one can complete it.
    mirrors = sorted(file.mirrors, key=lambda mirror: mirror.url != part.url)
    failures = []
    for mirror in mirrors:
        if mirror.url.startswith("http:") and not wanted:
            log.warning("%s: not encrypted, and nothing is published to check the file by.", mirror.url)
        if mirror.unverified:
            log.warning("%s: this address is not verified (%s).", mirror.url, mirror.unverified)
        try:
            got = _from_mirror(mirror, file, part, wanted, patience)
        except Refused as reason:
            failures.append(f"{mirror.url}: {reason}")
            log.warning("%s: %s.%s", mirror.url, reason, " The next mirror." if mirror != mirrors[-1] else "")
        else:
            part.finish()
            return got
    kept = f"{format_bytes(part.size)} are kept: the same command goes on from there. " if part.size else ""
    raise FetchError(
        "\n  ".join([f"{file.path} could not be fetched.", *failures])
        + f"\n{kept}Downloaded by other means (a browser), put it there as {target} and run the command "
        "again: it is checked and taken in."
    )


def _from_mirror(
    mirror: Mirror, file: RemoteFile, part: Part, wanted: Mapping[str, str], patience: Patience
) -> Got:
    """The whole file in its part, checked.

    Raises:
        Refused: the mirror has it not, or another one.
    """
    for again in (False, True):
        resumed = _transfer_whole(mirror, file, part, patience)
        size = part.size
        sums = digests(part.path, {"sha256", *wanted})
        wrong = difference(size, sums, file.bytes, wanted)
        if wrong is None:
            return Got(mirror.url, size, sums)
        part.discard()
        if not resumed or again:
            break
        log.warning(
            "%s: what was resumed is not the file (%s); once more from its beginning.", file.path, wrong
        )
    once = "" if file.checksums or not wanted else "; to take another than at first use, move the folder away"
    raise Refused(f"not the file: {wrong}. It was removed{once}")


def _transfer_whole(mirror: Mirror, file: RemoteFile, part: Part, patience: Patience) -> bool:
    """Ask until the part is whole; whether it began with bytes of an earlier connection."""
    resumed = part.continues(mirror.url, checksum=bool(file.checksums))
    failed = 0
    while True:
        before = part.size
        try:
            _transfer(mirror, file, part, patience)
        except Interrupted as broken:
            if part.size > before:
                failed, resumed = 0, True  # it moves: patience begins anew
            failed += 1
            if failed > patience.tries:
                raise Refused(f"{broken}{f', {failed} times in a row' if failed > 1 else ''}") from None
            pause = patience.pause(failed, broken.after)
            log.info("%s: %s; again in %.0f s.", file.path, broken, pause)
            patience.sleep(pause)
        else:
            return resumed


def _transfer(mirror: Mirror, file: RemoteFile, part: Part, patience: Patience) -> None:
    """One request: the bytes that are missing, or all of them where the server has no others."""
    start = part.size if part.continues(mirror.url, checksum=bool(file.checksums)) else 0
    whole = file.bytes or part.total
    if start and start == whole:
        return
    if start and whole is not None and start > whole:
        part.discard()
        start = 0
    same = part.validator if part.url == mirror.url else None
    with closing(ask(mirror.url, start, same=same, timeout=patience.timeout)) as answer:
        check_status(answer.status, answer.headers)
        total = total_of(answer.status, answer.headers)
        if answer.status == 416 and start and total == start:
            return
        changed = _other_since(answer, part, start, total)
        if changed is None:
            check_kind(answer.headers, file.path)
            start = start if answer.status == 206 else 0
            first = b"" if start else _first_bytes(answer, file, total)
            if file.bytes is not None and total is not None and total != file.bytes:
                raise Refused(f"it has {total:,} bytes there, not the {file.bytes:,} that are published")
            _check_room(part.target, total, start, file)
            part.begin(mirror.url, validator_of(answer.headers), total, start)
            _copy(answer, file, part, first, total)
    if changed is not None:
        log.info("%s: %s; it begins anew.", file.path, changed)
        part.discard()
        _transfer(mirror, file, part, patience)


def _other_since(answer: Answer, part: Part, start: int, total: int | None) -> str | None:
    """Why what is here cannot be continued by an answer to a request for the rest; None where it can.

    Raises:
        Refused: it begins with another byte than was asked for, or has none.
    """
    if answer.status == 416:
        if not start:
            raise Refused("416: it cannot give its first byte")
        return f"416: there is no byte {start:,} at its address"
    if answer.status == 206:
        if begins_at(answer.headers) != start:
            raise Refused(f"bytes from {begins_at(answer.headers)} on in place of those from {start:,} on")
        if start and part.total is not None and total is not None and total != part.total:
            return f"the file has changed ({total:,} bytes now)"
    elif start:
        log.info("%s: the whole file comes, not the rest: changed, or no ranges there.", part.target.name)
    return None


def _check_room(target: Path, total: int | None, start: int, file: RemoteFile) -> None:
    content = (file.unpack.about_bytes or 0) if file.unpack else 0
    needed = (total or file.size or 0) - start + content + MARGIN
    there = free(target.parent)
    if needed > there:
        raise FetchError(
            f"{file.path} needs {format_bytes(needed)} more, and the disk of {target.parent} has "
            f"{format_bytes(there)} free. Make room, or name another place: --data, or CHEMSCALE_DATA."
        )


def _first_bytes(answer: Answer, file: RemoteFile, total: int | None) -> bytes:
    """The first bytes of an answer, which tell a page from a file; what is here already stays as it is.

    Raises:
        Refused: they are not those of the file.
        Interrupted: none came, though some were announced.
    """
    first = b""
    while len(first) < ENOUGH and (chunk := _read(answer, len(first), total)):
        first += chunk
    if not first and total:
        raise Interrupted(_broke_off(0, total, "the connection closed"))
    check_beginning(first, file.path)
    return first


def _copy(answer: Answer, file: RemoteFile, part: Part, first: bytes, total: int | None) -> None:
    """Write the rest of an answer behind what is here.

    Raises:
        Interrupted: it broke off.
        Refused: it does not end where the file does.
        OSError: the disk is full; what was written is kept.
    """
    done = part.size
    with open(part.path, "ab", buffering=0) as out, Meter(file.path, total, done) as meter:
        chunk = first or _read(answer, done, total)
        while chunk:
            try:
                write_all(out, chunk)
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(part.path)) from None
            done += len(chunk)
            if file.bytes is not None and done > file.bytes:
                part.discard()
                raise Refused(f"more than the {file.bytes:,} bytes that are published")
            meter.advance(len(chunk))
            chunk = _read(answer, done, total)
        os.fsync(out.fileno())
    if total is not None and done < total:
        raise Interrupted(_broke_off(done, total, "the connection closed"))


def _read(answer: Answer, done: int, total: int | None) -> bytes:
    """What has come meanwhile, some of it at least; empty at the end."""
    try:
        return answer.body.read1(CHUNK)
    except BROKEN as error:
        raise Interrupted(_broke_off(done, total, describe(error))) from None


def write_all(out: FileIO, chunk: bytes) -> None:
    """Write all of a chunk to an unbuffered file, which may take less at once.

    Args:
        out: the file.
        chunk: of bytes.
    """
    view = memoryview(chunk)
    while len(view):
        view = view[out.write(view) :]


def _broke_off(done: int, total: int | None, why: str) -> str:
    of = f" of {total:,}" if total is not None else ""
    return f"it broke off after {done:,}{of} bytes ({why})"
