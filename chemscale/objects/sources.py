"""Sources in object stores, such as ``data.path=s3://BUCKET/molecules/*.smi.gz``: fetched to the cache.

They lie below ``$CHEMSCALE_CACHE/sources``, apart from the working copies of what is also written.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from hashlib import sha256
from pathlib import Path
from typing import Any

from chemscale.common.files import write_json
from chemscale.common.locks import file_lock
from chemscale.common.paths import cache_folder
from chemscale.objects.address import Address
from chemscale.objects.errors import Unreachable
from chemscale.objects.run_files import size_of
from chemscale.objects.store import Entry, open_store
from chemscale.objects.transfers import fetch_all

log = logging.getLogger(__name__)

LISTED = ".chemscale-objects"
"""Folder that has what was listed, and the tags of what was fetched."""
_WILD = re.compile(r"[*?\[]")


def fetch_sources(given: str, key: str = "data.path") -> str:
    """The file, folder or pattern on this disk that an address of sources means, with its files fetched.

    A file is fetched again where its length or its tag changed in the store, and removed here where it is
    gone there. Where the store is silent, files that are here whole are used, with a warning.

    Args:
        given: ``s3://BUCKET/FILE``, a folder, or a pattern with ``*``, ``?`` and ``**``.
        key: by which it was given.

    Raises:
        FileNotFoundError: the store has nothing there.
        StoreError: the store cannot be asked, and the files are not here.
    """
    address = Address.parse(given)
    root = cache_folder() / "sources" / address.scheme / address.bucket
    listing = root / LISTED / f"{sha256(address.key.encode()).hexdigest()[:16]}.json"

    def wait(_: str) -> None:
        log.info("Another process fetches files of %s: waiting for it.", address.bucket)

    with file_lock(root / LISTED / ".lock", busy=wait, without="fetch sources before ranks are started"):
        before = _read(listing)
        # Ranks ask nobody: the command that started them has just done so.
        if before and "SUBMITIT_EXECUTOR" in os.environ and _whole(root, before):
            return str(root / address.key)
        try:
            now = _listed(address)
        except Unreachable as error:
            if not before or not _whole(root, before):
                raise
            log.warning("%s Using what was fetched before (%s).", error, root)
            return str(root / address.key)
        if not now:
            raise FileNotFoundError(f"{key}={given}: the store has no such file, folder or pattern.")
        # What other patterns have fetched and the store has no more would be read as part of a folder.
        for gone in {*before, *_here(address, root)} - set(now):
            (root / gone).unlink(missing_ok=True)
        _fetch(address, root, now)
        write_json(listing, {"key": address.key, "files": {k: [e.size, e.tag] for k, e in now.items()}})
    return str(root / address.key)


def _fetch(address: Address, root: Path, now: Mapping[str, Entry]) -> None:
    bucket = Address(address.scheme, address.bucket)

    def note(key: str) -> Path:
        return root / LISTED / "tags" / sha256(key.encode()).hexdigest()[:32]

    def is_here(key: str, entry: Entry) -> bool:
        try:
            return note(key).read_text() == entry.tag and size_of(root / key) == entry.size
        except OSError:
            return False

    def fetched(where: Address, entry: Entry) -> None:
        note(where.key).parent.mkdir(parents=True, exist_ok=True)
        note(where.key).write_text(entry.tag)

    missing = [key for key, entry in now.items() if not is_here(key, entry)]
    if missing:
        log.info("Fetching %d of %d files of %s to %s …", len(missing), len(now), address, root)
        for key in missing:
            note(key).unlink(missing_ok=True)
        jobs = [(bucket.child(key), root / key, now[key], None) for key in missing]
        fetch_all(open_store(address), jobs, str(address), fetched)


def _listed(address: Address) -> dict[str, Entry]:
    """Objects that an address means, by their keys in the bucket."""
    store = open_store(address)
    if _WILD.search(address.key) is None:
        single = store.entry(address)
        if single is not None:
            return {address.key: single}
    base = _base(address)
    found = {base.child(name).key: entry for name, entry in store.entries(base).items()}
    return {key: entry for key, entry in found.items() if is_meant(address, key)}


def _here(address: Address, root: Path) -> set[str]:
    """Keys of the files on this disk that an address of a folder or a pattern means."""
    base = root / _base(address).key
    keys = {path.relative_to(root).as_posix() for path in base.rglob("*") if path.is_file()}
    return {key for key in keys if is_meant(address, key)}


def _base(address: Address) -> Address:
    """The folder below which all lies that an address of a folder or a pattern means."""
    wild = _WILD.search(address.key)
    if wild is None:
        return address
    return Address(address.scheme, address.bucket, address.key[: wild.start()].rpartition("/")[0])


def is_meant(address: Address, key: str) -> bool:
    """Whether an object of a bucket is one of those that an address means.

    Args:
        address: of a folder below which the object lies, or a pattern.
        key: of the object.
    """
    if not _plain(key) or _WILD.search(address.key) is None:
        return _plain(key)
    parts, pattern = key.split("/"), address.key.split("/")
    # What lies in a folder that is named is meant too.
    return any(matches(parts[:n], pattern) for n in range(1, len(parts) + 1))


def _plain(key: str) -> bool:
    return not any(part in ("", ".", "..") or part.startswith(".") for part in key.split("/"))


def matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether a pattern names a path, as ``glob`` means it with ``recursive=True``.

    Args:
        parts: of the path, between its slashes.
        pattern: likewise; ``*``, ``?`` and ``[…]`` stay within a part, ``**`` is any number of parts.
    """
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(matches(parts[n:], pattern[1:]) for n in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and matches(parts[1:], pattern[1:])


def _read(path: Path) -> dict[str, Entry]:
    try:
        content: Any = json.loads(path.read_text())
        return {key: Entry(int(size), str(tag)) for key, (size, tag) in content["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _whole(root: Path, files: Mapping[str, Entry]) -> bool:
    return all(size_of(root / key) == entry.size for key, entry in files.items())
