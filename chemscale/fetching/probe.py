"""Whether addresses still answer as the registry says: their first kilobytes, and the length stated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass

from chemscale.fetching.errors import Interrupted, Refused
from chemscale.fetching.meter import format_bytes
from chemscale.fetching.registry import DataSet, Mirror, RemoteFile
from chemscale.fetching.transfer.answers import begins_at, check_beginning, check_kind, check_status, total_of
from chemscale.fetching.transfer.transport import BROKEN, ask, describe

PROBED = 64 << 10
"""Bytes that are asked for."""


@dataclass(frozen=True)
class Probed:
    """What became of one address.

    Args:
        data: name of the set.
        path: of the file.
        url: the address.
        good: whether it answers with the beginning of a file of the length that is published.
        said: what it answered.
    """

    data: str
    path: str
    url: str
    good: bool
    said: str


def probe(sets: Iterable[DataSet], timeout: float = 30) -> Iterator[Probed]:
    """Ask every mirror of every file for its beginning; nothing is written.

    Args:
        sets: whose files.
        timeout: seconds without a byte after which an address counts as silent.
    """
    for data in sets:
        for file in data.files:
            for mirror in file.mirrors:
                try:
                    said, good = _probe(file, mirror, timeout), True
                except (Refused, Interrupted) as reason:
                    said, good = str(reason), False
                yield Probed(data.name, file.path, mirror.url, good, said)


def _probe(file: RemoteFile, mirror: Mirror, timeout: float) -> str:
    with closing(ask(mirror.url, last=PROBED - 1, timeout=timeout)) as answer:
        check_status(answer.status, answer.headers)
        check_kind(answer.headers, file.path)
        if answer.status == 416 or (answer.status == 206 and begins_at(answer.headers) != 0):
            raise Refused(f"{answer.status}, but not its first bytes")
        total = total_of(answer.status, answer.headers)
        if file.bytes is not None and total is not None and total != file.bytes:
            raise Refused(f"{total:,} bytes, not the {file.bytes:,} that are published")
        begin = b""
        try:
            while len(begin) < PROBED and (chunk := answer.body.read1(PROBED - len(begin))):
                begin += chunk
        except BROKEN as error:
            raise Interrupted(f"it broke off ({describe(error)})") from None
        check_beginning(begin, file.path)
    length = format_bytes(total) if total is not None else "of unknown length"
    ranges = answer.status == 206 or mirror.url.startswith("file:")
    return f"{length}, {'resumable' if ranges else 'not resumable'}"
