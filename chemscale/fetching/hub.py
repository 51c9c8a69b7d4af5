"""Data sets of the Hugging Face Hub by their names: ``hf://datasets/ORG/NAME[@REVISION][/FILES]``.

They are fetched on a machine with a network into ``<data home>/hub`` and read from there; a list of files and
sizes, written last, tells what is whole.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from chemscale.common.files import atomic_path
from chemscale.common.locks import file_lock
from chemscale.common.logs import brief
from chemscale.fetching.errors import FetchError
from chemscale.fetching.places import data_home
from chemscale.objects.address import is_address
from chemscale.objects.sources import fetch_sources

PREFIX = "hf://"
LISTING = ".chemscale-hub.json"
_NAME = re.compile(
    r"hf://datasets/(?P<repository>[\w.\-]+/[\w.\-]+)(@(?P<revision>[\w.\-%]+(/convert/[\w.\-]+)?))?(/(?P<files>.+?))?/?"
)


@dataclass(frozen=True)
class HubName:
    """A data set of the Hub.

    Args:
        repository: ORG/NAME.
        revision: branch, tag or commit.
        files: path or pattern within it; empty for all.
    """

    repository: str
    revision: str = "main"
    files: str = ""

    def __str__(self) -> str:
        at = "" if self.revision == "main" else f"@{self.revision.replace('/', '%2F')}"
        return f"{PREFIX}datasets/{self.repository}{at}" + (f"/{self.files}" if self.files else "")

    def folder(self, home: Path) -> Path:
        """Where it lies below the place of data sets."""
        owner, name = self.repository.split("/")
        return home / "hub" / owner / name / self.revision.replace("/", "--")

    def matches(self, path: str) -> bool:
        """Whether a file of the repository is asked for."""
        inside = not self.files or path == self.files or path.startswith(f"{self.files}/")
        return inside or fnmatch.fnmatch(path, self.files)


def hub_name(path: str) -> HubName | None:
    """What a path names on the Hub; None for a path of a file system.

    Args:
        path: as ``data.path`` has it.

    Raises:
        FetchError: it begins as a name of the Hub and is none of a data set.
    """
    if not path.startswith(PREFIX):
        return None
    found = _NAME.fullmatch(path)
    if found is None or ".." in path.split("/"):
        raise FetchError(
            f"{path}: not a data set of the Hub. They are written hf://datasets/ORG/NAME, "
            "hf://datasets/ORG/NAME@REVISION or hf://datasets/ORG/NAME/FILES, such as …/NAME/data/*.parquet."
        )
    return HubName(found["repository"], unquote(found["revision"] or "main"), found["files"] or "")


def local_path(path: str, key: str = "data.path") -> str:
    """The folder, file or pattern on this disk that a path means: itself, or what was fetched of it.

    Args:
        path: of a file system, ``hf://datasets/…``, or an address in an object store, which is fetched.
        key: by which it was given.

    Raises:
        FileNotFoundError: the set is not here, or not whole; the message has the command that fetches it. Or
            the store has nothing there.
        FetchError: it is no name of a data set.
        StoreError: the store cannot be asked.
    """
    if is_address(path):
        return fetch_sources(path, key)
    name = hub_name(path)
    if name is None:
        return path
    folder = name.folder(data_home())
    listed = _listed(folder)
    wanted = {file: size for file, size in listed.items() if name.matches(file)}
    missing = [file for file, size in wanted.items() if _size(folder / file) != size]
    if not wanted or missing:
        what = (
            f"{len(missing)} of its {len(wanted)} files are missing or cut short"
            if missing
            else "not here yet"
        )
        raise FileNotFoundError(
            f"{key}={path}: {what} ({os.path.abspath(folder)}). Training never downloads. On a machine with "
            f"a network that shares this disk, such as a login node: python -m chemscale.fetch {name}"
        )
    return str(folder / name.files) if name.files else str(folder)


def fetch_from_hub(name: HubName, home: Path) -> Path:
    """Fetch the files of a data set that are not here yet.

    Args:
        name: of the set.
        home: where data sets lie.

    Returns:
        Its folder.

    Raises:
        FetchError: huggingface_hub is not installed, the Hub has no such set, refuses it or is silent.
    """
    try:
        import huggingface_hub as hub
    except ImportError:
        raise FetchError(f"{name}: needs huggingface_hub: pip install 'chemscale[hub]'.") from None
    folder = name.folder(home)
    with file_lock(folder.parent / f".{folder.name}.lock"):
        with _said(name):
            api = hub.HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
            about = api.dataset_info(name.repository, revision=name.revision, files_metadata=True)
            sizes = {each.rfilename: each.size for each in about.siblings or ()}
            wanted = sorted(file for file in sizes if name.matches(file))
            if not wanted:
                some = ", ".join(sorted(sizes)[:6]) or "nothing"
                raise FetchError(f"{name}: the data set has no such file, but {some}.")
            for file in wanted:
                hub.hf_hub_download(
                    name.repository,
                    file,
                    repo_type="dataset",
                    revision=about.sha,
                    local_dir=folder,
                    endpoint=os.environ.get("HF_ENDPOINT"),
                )
        before = {file: size for file, size in _listed(folder).items() if _size(folder / file) == size}
        here = before | {file: _size(folder / file) for file in wanted}
        short = [file for file in wanted if sizes[file] is not None and here[file] != sizes[file]]
        if short:
            raise FetchError(
                f"{name}: {short[0]} came with {here[short[0]]} of {sizes[short[0]]} bytes. Fetch again."
            )
        content = {
            "repository": name.repository,
            "revision": name.revision,
            "commit": about.sha,
            "files": here,
        }
        with atomic_path(folder / LISTING) as temporary:
            temporary.write_text(json.dumps(content, indent=1))
    return folder


@contextmanager
def _said(name: HubName) -> Iterator[None]:
    """What the Hub's library raises, as an error that names the set and the way out."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        yield
    except FetchError:
        raise
    except GatedRepoError:
        raise FetchError(
            f"{name}: its owner wants to know who you are: ask there, then hf auth login."
        ) from None
    except RevisionNotFoundError:
        raise FetchError(f"{name}: the data set has no revision {name.revision!r}.") from None
    except RepositoryNotFoundError:
        raise FetchError(f"{name}: no such data set, or a private one: hf auth login.") from None
    except HfHubHTTPError as error:
        raise FetchError(f"{name}: the Hub refuses it ({brief(error)}).") from None
    except OSError as error:
        if error.errno is not None and error.filename is not None:
            raise  # of this disk
        raise FetchError(f"{name}: the Hub does not answer ({brief(error)}). What is here is kept.") from None
    except Exception as error:
        if not type(error).__module__.startswith(("httpx", "httpcore", "requests", "huggingface_hub")):
            raise
        raise FetchError(f"{name}: the Hub does not answer ({brief(error)}). What is here is kept.") from None


def _listed(folder: Path) -> dict[str, Any]:
    """Sizes of the files that were fetched whole; none where none were."""
    try:
        content = json.loads((folder / LISTING).read_text())
        files = content["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return files if isinstance(files, dict) else {}


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
