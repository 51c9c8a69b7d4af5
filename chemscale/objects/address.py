"""Addresses in object stores, and where on this disk the working copy of each lies."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from chemscale.common.paths import cache_folder
from chemscale.objects.errors import StoreError

# A path of the command line may have passed through pathlib, which makes one slash of two.
_ADDRESS = re.compile(r"(?P<scheme>s3|gs):/{1,2}(?P<bucket>[^/]*)(/(?P<key>.*))?", re.DOTALL)
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._\-]{1,220}[a-z0-9]")
FOLDER = "objects"
"""In the cache: working copies, as ``objects/SCHEME/BUCKET/KEY``."""


def is_address(given: str | Path) -> bool:
    """Whether something names a place in an object store, and none of a file system.

    Args:
        given: as a person wrote it.
    """
    return _ADDRESS.fullmatch(str(given)) is not None


@dataclass(frozen=True, order=True)
class Address:
    """A place in an object store: an object, or what begins with a key and a slash.

    Args:
        scheme: s3 | gs.
        bucket: its name.
        key: without slashes at its ends; empty for the whole bucket.
    """

    scheme: str
    bucket: str
    key: str = ""

    @classmethod
    def parse(cls, given: str | Path) -> Address:
        """Read an address.

        Args:
            given: ``s3://BUCKET/KEY`` or ``gs://BUCKET/KEY``.

        Raises:
            StoreError: it is none.
        """
        found = _ADDRESS.fullmatch(str(given))
        parts = [part for part in (found["key"] or "").split("/") if part] if found else []
        if found is None or _BUCKET.fullmatch(found["bucket"]) is None or {".", ".."} & set(parts):
            shown = re.sub(r"//?.*@", "//…@", str(given), flags=re.DOTALL)  # no secrets in messages and logs
            more = " Credentials do not stand in them." if shown != str(given) else ""
            raise StoreError(
                f"{shown}: not an address. They are written s3://BUCKET/KEY or gs://BUCKET/KEY.{more}"
            )
        return cls(found["scheme"], found["bucket"], "/".join(parts))

    def __str__(self) -> str:
        return f"{self.scheme}://{self.path}"

    @property
    def path(self) -> str:
        """As fsspec takes it: the bucket and the key."""
        return f"{self.bucket}/{self.key}" if self.key else self.bucket

    @property
    def name(self) -> str:
        """The last part of the key."""
        return self.key.rsplit("/", 1)[-1]

    @property
    def parent(self) -> Address:
        """One part less."""
        return replace(self, key=self.key.rsplit("/", 1)[0] if "/" in self.key else "")

    def child(self, *parts: str) -> Address:
        """A place below this one."""
        return replace(self, key="/".join(part for part in (self.key, *parts) if part))

    @property
    def local(self) -> Path:
        """Where its working copy lies on this disk, whether it is there or not."""
        return _root() / self.scheme / self.bucket / self.key


def local_place(given: str | Path) -> Path:
    """The path on this disk that a path or an address means.

    Args:
        given: a path, which is given back, or an address, whose working copy is meant.

    Raises:
        StoreError: it begins as an address and is none.
    """
    return Address.parse(given).local if is_address(given) else Path(given)


def address_of(path: Path) -> Address | None:
    """Whose working copy a path is; None for a path that is no working copy.

    Args:
        path: of a file or folder, which need not exist.
    """
    try:
        inside = Path(os.path.abspath(path)).relative_to(_root())
    except ValueError:
        return None
    if len(inside.parts) < 2:
        return None
    scheme, bucket, *key = inside.parts
    return Address(scheme, bucket, "/".join(key))


def lock_for(path: Path) -> Path:
    """The file that is locked while something is fetched; beside the working copies, which hold data only.

    Args:
        path: that is fetched.
    """
    return _root() / ".locks" / f"{sha256(os.path.abspath(path).encode()).hexdigest()[:16]}.lock"


def _root() -> Path:
    return Path(os.path.abspath(cache_folder() / FOLDER))
