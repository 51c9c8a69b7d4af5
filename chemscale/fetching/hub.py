"""Data sets of the Hugging Face Hub by their names: ``hf://datasets/ORG/NAME[@REVISION][/FILES]``.

They are fetched on a machine with a network into ``<data home>/hub`` and read from there; a list of files and
sizes, written last, tells what is whole.
"""

from __future__ import annotations

import fnmatch
import json
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from chemscale.common.files import atomic_path
from chemscale.common.locks import file_lock
from chemscale.common.logs import brief
from chemscale.fetching.checks import difference, digests
from chemscale.fetching.errors import FetchError
from chemscale.fetching.meter import format_bytes
from chemscale.fetching.places import data_home
from chemscale.fetching.transfer.download import MARGIN
from chemscale.fetching.transfer.transport import free
from chemscale.objects.address import is_address
from chemscale.objects.sources import fetch_sources

if TYPE_CHECKING:
    from huggingface_hub.hf_api import DatasetInfo, RepoSibling

log = logging.getLogger(__name__)

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
            wanted = _wanted(name, about)
            for gone in set(_listed(folder)) - {each.rfilename for each in about.siblings or ()}:
                (folder / gone).unlink(missing_ok=True)  # else it would be read as part of the folder
            before = _listed(folder, about.sha)
            before = {file: size for file, size in before.items() if _size(folder / file) == size}
            _check_room(name, folder, sum(each.size or 0 for each in wanted if each.rfilename not in before))
            licence = _licence(about)
            log.info("%s: licence %s; https://huggingface.co/datasets/%s", name, licence, name.repository)
            for each in wanted:
                hub.hf_hub_download(
                    name.repository,
                    each.rfilename,
                    repo_type="dataset",
                    revision=about.sha,
                    local_dir=folder,
                    endpoint=os.environ.get("HF_ENDPOINT"),
                )
        for each in wanted:
            if each.rfilename not in before:
                _check(name, folder / each.rfilename, each)
        content = {
            "repository": name.repository,
            "revision": name.revision,
            "commit": about.sha,
            "licence": licence,
            "files": before | {each.rfilename: _size(folder / each.rfilename) for each in wanted},
        }
        with atomic_path(folder / LISTING) as temporary:
            temporary.write_text(json.dumps(content, indent=1))
    return folder


def _wanted(name: HubName, about: DatasetInfo) -> list[RepoSibling]:
    """Files of a set that a name asks for, in order."""
    there = sorted(about.siblings or (), key=lambda each: each.rfilename)
    wanted = [each for each in there if name.matches(each.rfilename)]
    if not wanted:
        some = ", ".join(each.rfilename for each in there[:6]) or "nothing"
        raise FetchError(f"{name}: the data set has no such file, but {some}.")
    return wanted


def _licence(about: DatasetInfo) -> str:
    """What the card of a set says of its licence."""
    said = about.card_data.get("license") if about.card_data else None
    names = [said] if isinstance(said, str) else said if isinstance(said, list) else []
    return ", ".join(map(str, names)) or "not stated on its card"


def _check_room(name: HubName, folder: Path, needed: int) -> None:
    there = free(folder)
    if needed and needed + MARGIN > there:
        raise FetchError(
            f"{name} needs {format_bytes(needed)} more, and the disk of {folder} has {format_bytes(there)} "
            "free. Make room, fetch a part (hf://datasets/ORG/NAME/FILES), or name another place: --data, or "
            "CHEMSCALE_DATA."
        )


def _check(name: HubName, path: Path, said: RepoSibling) -> None:
    """Compare a file with the length, and for large files the checksum, that the Hub states.

    Raises:
        FetchError: it is another; it was removed, so that it is fetched again.
    """
    sums = {"sha256": said.lfs.sha256} if said.lfs is not None else {}
    if wrong := difference(_size(path), digests(path, sums) if sums else {}, said.size, sums):
        path.unlink()
        raise FetchError(f"{name}: {said.rfilename} is not what the Hub lists: {wrong}. Fetch again.")


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


def _listed(folder: Path, commit: str | None = None) -> dict[str, Any]:
    """Sizes of the files that were fetched whole; none where none were, or none of a commit."""
    try:
        content = json.loads((folder / LISTING).read_text())
        files = content["files"] if commit in (None, content["commit"]) else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return files if isinstance(files, dict) else {}


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
