"""The part of a download that is here already: ``NAME.part``, and beside it what it is a part of."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

from chemscale.common.files import write_json
from chemscale.fetching.registry import PART


class Part:
    """A file that is not whole yet. No reader takes it for data: its name ends in ``.part``.

    Args:
        target: the file that it is to become.
    """

    def __init__(self, target: Path):
        self.target = target
        self.path = target.with_name(target.name + PART)
        self._state = target.with_name(f"{target.name}{PART}.json")
        self.url: str | None = None
        self.validator: str | None = None
        self.total: int | None = None
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stored = json.loads(self._state.read_text())
            self.url, self.validator = stored.get("url"), stored.get("validator")
            self.total = stored.get("total")

    @property
    def size(self) -> int:
        """Bytes that are here."""
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    def continues(self, url: str, *, checksum: bool) -> bool:
        """Whether the rest may come from an address.

        Bytes of two mirrors are joined only where a published checksum decides on the whole.

        Args:
            url: the address.
            checksum: whether one is published.
        """
        return bool(self.size) and self.url is not None and (self.url == url or checksum)

    def begin(self, url: str, validator: str | None, total: int | None, size: int) -> None:
        """Note what the bytes from `size` on are of, before they come.

        Args:
            url: where they come from.
            validator: that tells whether the file is still the same.
            total: length of the whole, where it is stated.
            size: bytes that are kept.
        """
        self.url, self.validator, self.total = url, validator, total
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "ab") as file:
            file.truncate(size)
        write_json(self._state, {"url": url, "validator": validator, "total": total})

    def discard(self) -> None:
        """Forget what is here."""
        self.path.unlink(missing_ok=True)
        self._state.unlink(missing_ok=True)
        self.url = self.validator = self.total = None

    def finish(self) -> None:
        """Put the whole file into its place.

        Raises:
            FileExistsError: another file came there meanwhile.
        """
        if self.target.exists():
            raise FileExistsError(17, "File exists", str(self.target))
        os.rename(self.path, self.target)
        self._state.unlink(missing_ok=True)
