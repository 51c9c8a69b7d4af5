"""An object store behind fsspec: listed, read, fetched with resuming, written, and created once."""

from __future__ import annotations

import base64
import contextlib
import functools
import glob
import hashlib
import importlib
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from chemscale.objects.address import Address
from chemscale.objects.errors import (
    PACKAGES,
    Damaged,
    Exists,
    Missing,
    Unreachable,
    missing_package,
    told,
)

log = logging.getLogger(__name__)
T = TypeVar("T")

BLOCK = 32 << 20
"""Bytes that are asked for at once."""
PAUSES = (0.5, 2.0, 8.0)
"""Seconds between attempts, on top of those that the libraries make themselves."""


@dataclass(frozen=True)
class Entry:
    """An object as a listing has it.

    Args:
        size: bytes.
        tag: changes with its content (ETag, or the generation); empty where the store gives none.
    """

    size: int
    tag: str


def with_retries(do: Callable[[], T], pauses: Sequence[float] | None = None) -> T:
    """Do something, and again after a pause where the store did not answer.

    Args:
        do: may be done several times.
        pauses: seconds before each further attempt; None: ``PAUSES``.

    Raises:
        Unreachable: at the last attempt too.
        StoreError: what no attempt will change.
    """
    for pause in PAUSES if pauses is None else pauses:
        try:
            return do()
        except (Unreachable, Damaged) as error:
            log.debug("%s Tried again in %g s.", error, pause)
            time.sleep(pause)
    return do()


class Store:
    """The store of one scheme, as this process is let into it.

    Args:
        fs: fsspec's file system.
    """

    def __init__(self, fs: Any):
        self.fs = fs

    # --- reading ---

    def entries(self, address: Address) -> dict[str, Entry]:
        """Every object below an address, by its key relative to it; keys that are no paths are left out.

        Args:
            address: of a folder; one without objects has none.

        Raises:
            StoreError: the store cannot be asked, or has no such bucket.
        """

        def find() -> dict[str, Any]:
            try:
                with told(address):
                    found: dict[str, Any] = self.fs.find(address.path, detail=True)
            except Missing:
                return {}
            return found

        prefix = address.path + "/"
        listed = with_retries(find)
        return {
            path[len(prefix) :]: _entry(about)
            for path, about in listed.items()
            if path.startswith(prefix) and not {"", ".", ".."} & set(path[len(prefix) :].split("/"))
        }

    def names(self, address: Address) -> list[str]:
        """Names of the objects and folders directly below an address.

        Raises:
            StoreError: the store cannot be asked, or has no such bucket.
        """

        def ask() -> list[str]:
            try:
                with told(address):
                    found: list[str] = self.fs.ls(address.path, detail=False)
            except Missing:
                return []
            return found

        prefix = address.path + "/"
        return sorted(
            path[len(prefix) :].rstrip("/") for path in with_retries(ask) if path.startswith(prefix)
        )

    def entry(self, address: Address) -> Entry | None:
        """An object's length and tag; None where there is none.

        Raises:
            StoreError: the store cannot be asked.
        """

        def ask() -> Entry | None:
            try:
                with told(address):
                    about = self.fs.info(address.path)
            except Missing:
                return None
            return _entry(about) if about.get("type") == "file" else None

        return with_retries(ask)

    def read(self, address: Address) -> bytes:
        """The bytes of a small object.

        Raises:
            Missing: there is none.
            StoreError: the store cannot be asked.
        """

        def ask() -> bytes:
            with told(address):
                content: bytes = self.fs.cat_file(address.path)
            return content

        return with_retries(ask)

    def get(self, address: Address, path: Path, entry: Entry, *, sha256: str | None = None) -> None:
        """Fetch an object into a file that is there whole or not at all; goes on where an attempt broke off.

        Args:
            address: of the object.
            path: of the file; its folder is made.
            entry: of the object as it was listed.
            sha256: of its content, where it is known.

        Raises:
            Damaged: it has another length or checksum, or changed meanwhile; what was fetched is removed.
            Unreachable: what was fetched is kept.
            StoreError: the store refuses.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        mark = hashlib.sha256(f"{entry.size} {entry.tag}".encode()).hexdigest()[:12]
        partial = path.with_name(f".{path.name}.{mark}.fetching")
        for other in path.parent.glob(f".{_quoted(path.name)}.*.fetching"):
            if other != partial:
                other.unlink(missing_ok=True)
        with_retries(lambda: self._append(address, partial, entry))
        if sha256 is not None:
            found = _digest(partial if partial.exists() else path)
            problem = "" if found == sha256 else f"has the SHA-256 {found[:12]}…, not {sha256[:12]}…"
        else:  # nothing but its tag says that it is one object and not two halves
            problem = "" if self.entry(address) == entry else "was replaced while it was fetched"
        if problem:
            partial.unlink(missing_ok=True)
            raise Damaged(f"{address}: {problem}.")
        try:
            os.replace(partial, path)
        except FileNotFoundError:  # another process fetched it too, and was first
            if not path.exists() or path.stat().st_size != entry.size:
                raise Damaged(f"{address}: another process fetched something else of this name.") from None

    def _append(self, address: Address, partial: Path, entry: Entry) -> None:
        # Each block at its own place: a second process may fetch the same object into the same file.
        with open(partial, "r+b", opener=_make) as file:
            if file.seek(0, os.SEEK_END) > entry.size:
                file.truncate(0)
                file.seek(0)
            while (start := file.tell()) < entry.size:
                end = min(start + BLOCK, entry.size)
                with told(address):
                    block = self.fs.cat_file(address.path, start=start, end=end)
                if len(block) != end - start:
                    raise Unreachable(
                        f"{address}: {len(block)} bytes came of the {end - start} that were asked for."
                    )
                file.write(block)
                file.flush()

    # --- writing ---

    def put(self, path: Path, address: Address) -> None:
        """Write a file to an object, which readers see when it is whole.

        Args:
            path: of the file.
            address: of the object.

        Raises:
            FileNotFoundError: the file is gone.
            StoreError: the store does not take it.
        """

        def send() -> None:
            with told(address):
                self.fs.put_file(str(path), address.path)

        if not path.is_file():
            raise FileNotFoundError(str(path))
        with_retries(send)

    def write(self, address: Address, content: bytes) -> None:
        """Write a small object.

        Raises:
            StoreError: the store does not take it.
        """

        def send() -> None:
            with told(address):
                self.fs.pipe_file(address.path, content)

        with_retries(send)

    def create(self, address: Address, content: bytes) -> bool:
        """Write a small object unless there is one (``If-None-Match: *``); whether it was written.

        A store that does not know the condition writes in any case: read again what stands there.

        Raises:
            StoreError: the store does not take it.
        """

        def send() -> bool:
            try:
                with told(address):
                    self.fs.pipe_file(address.path, content, mode="create")
            except Exists:
                return False
            return True

        return with_retries(send)

    def delete(self, addresses: Iterable[Address]) -> None:
        """Remove objects; one that is not there is as good as removed.

        Raises:
            StoreError: the store refuses.
        """
        for address in addresses:

            def remove(address: Address = address) -> None:
                with contextlib.suppress(Missing), told(address):
                    self.fs.rm_file(address.path)

            with_retries(remove)


@functools.cache
def _open(scheme: str, pid: int) -> Store:
    import fsspec

    options: dict[str, Any] = {"use_listings_cache": False}
    if scheme == "s3":
        # The libraries wait up to minutes for a machine that is not there, several times over.
        options["config_kwargs"] = {
            "retries": {"mode": "standard", "max_attempts": 3},
            "connect_timeout": 10,
            "read_timeout": 60,
        }
    fs = fsspec.filesystem(scheme, **options)
    fs.retries = 2  # botocore tries three times below, and we four times above
    return Store(fs)


def open_store(address: Address) -> Store:
    """The store that an address is in; one for all of its kind in a process.

    Args:
        address: any.

    Raises:
        StoreError: the package for it is not installed, or there are no credentials.
    """
    try:
        importlib.import_module(PACKAGES[address.scheme])
    except ImportError:
        raise missing_package(address) from None
    with told(address):
        return _open(address.scheme, os.getpid())


def forget() -> None:
    """Close what this process has open: credentials and endpoints are read anew at the next use."""
    _open.cache_clear()
    if "fsspec" in sys.modules:
        for scheme in PACKAGES:
            with contextlib.suppress(ImportError):
                sys.modules["fsspec"].get_filesystem_class(scheme).clear_instance_cache()


def _make(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CREAT, 0o666)


def _digest(path: Path) -> str:
    """SHA-256 of a file; empty where there is none."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return ""


def _entry(about: dict[str, Any]) -> Entry:
    if about.get("md5Hash"):  # Google's, in base64; as S3 has it, so that a file here can be compared with it
        return Entry(int(about["size"]), base64.b64decode(about["md5Hash"]).hex())
    tag = about.get("ETag") or about.get("etag") or about.get("generation") or ""
    return Entry(int(about["size"]), str(tag).strip('"'))


def _quoted(name: str) -> str:
    return glob.escape(name)
