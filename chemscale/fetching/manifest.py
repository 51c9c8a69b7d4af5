"""What was fetched, from where, under which licence: ``manifest.json`` in the folder of a data set."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chemscale import __version__
from chemscale.common.files import write_json
from chemscale.fetching.errors import FetchError
from chemscale.fetching.registry import MANIFEST, SCHEMA, DataSet, RemoteFile


@dataclass
class Manifest:
    """The record of a data set's folder.

    Args:
        folder: where it lies.
        files: of each file that came here, by its path: bytes, checksums, address, date, contents.
    """

    folder: Path
    files: dict[str, dict[str, Any]]

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """The record of a folder, empty where it has none.

        Raises:
            FetchError: there is one that cannot be read.
        """
        path = folder / MANIFEST
        if not path.exists():
            return cls(folder, {})
        try:
            content = json.loads(path.read_text())
            if content["schema"] != SCHEMA:
                raise FetchError(
                    f"{path}: schema {content['schema']}; this version of chemscale reads {SCHEMA}."
                )
            return cls(folder, dict(content["files"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            if isinstance(error, FetchError):
                raise
            raise FetchError(
                f"{path}: not readable ({error}). Move it away: files are checked anew."
            ) from None

    def write(self, data: DataSet) -> None:
        """Write it.

        Args:
            data: whose folder it is.
        """
        said = {
            "schema": SCHEMA,
            **{
                key: getattr(data, key)
                for key in ("name", "kind", "about", "licence", "citation", "homepage")
            },
            **{key: getattr(data, key) for key in ("note", "sources", "registry")},
            "fetched_by": f"chemscale {__version__}",
        }
        write_json(self.folder / MANIFEST, {**said, "files": self.files})

    def is_whole(self, file: RemoteFile) -> bool:
        """Whether a file, or all that was taken out of it, lies here with the length that was recorded."""
        entry = self.files.get(file.path)
        if entry is None or (file.unpack and "contents" not in entry):
            return False
        places = entry["contents"] if file.unpack else {file.path: entry}
        return all(length(self.folder / name) == each["bytes"] for name, each in places.items())

    def recorded(self, file: RemoteFile) -> dict[str, str]:
        """Checksum of an earlier fetch of a file."""
        entry = self.files.get(file.path, {})
        return {"sha256": entry["sha256"]} if "sha256" in entry else {}

    def add(self, file: RemoteFile, url: str, bytes: int, sums: dict[str, str]) -> None:
        """Record a file that is whole.

        Args:
            file: which.
            url: where it came from.
            bytes: its length.
            sums: its checksums.
        """
        known = sorted(file.checksums)
        self.files[file.path] = {
            "bytes": bytes,
            **sums,
            "url": url,
            "fetched": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "checked": f"published {' and '.join(known)}"
            if known
            else "nothing published; recorded at first use",
        }


def length(path: Path) -> int | None:
    """Bytes of a file; None where there is none."""
    try:
        return path.stat().st_size if path.is_file() else None
    except OSError:
        return None
