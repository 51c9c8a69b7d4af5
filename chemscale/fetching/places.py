"""Where data sets lie, and what is said where one is to be read and is not there yet.

A data set is large, wanted by many runs, and cannot be made again on a node without a network: it is no
cache. It lies below ``$CHEMSCALE_DATA``, else below ``data/`` in the working directory, beside ``corpora/``
and ``runs/``.
"""

from __future__ import annotations

import glob
import os
from pathlib import Path

from chemscale.fetching.errors import FetchError
from chemscale.fetching.manifest import Manifest
from chemscale.fetching.meter import format_bytes
from chemscale.fetching.registry import DataSet, RemoteFile, load_registry
from chemscale.fetching.transfer.part import Part

VARIABLE = "CHEMSCALE_DATA"


def data_home() -> Path:
    """``$CHEMSCALE_DATA``, else ``data`` in the working directory; ``conf/data/`` says the same."""
    return Path(os.environ.get(VARIABLE) or "data").expanduser()


def refuse_missing(path: str, key: str = "data.path") -> None:
    """Refuse a path of a known data set that is not here, by the command that fetches it.

    Args:
        path: as the configuration has it: a file, a folder or a pattern.
        key: by which it was given.

    Raises:
        FileNotFoundError: nothing is there, and a registry has the set.
    """
    given = Path(path).expanduser()
    home = data_home()
    try:
        inside = Path(os.path.abspath(given)).relative_to(os.path.abspath(home))
    except ValueError:
        return
    if given.exists() or glob.glob(str(given)) or len(inside.parts) < 2:
        return
    try:
        data = load_registry().get(inside.parts[0])
    except FetchError:
        return  # another problem, of fetching only: what is missing is said without it
    if data is not None:
        raise FileNotFoundError(f"{key}={path}: {_advice(data, home, Path(*inside.parts[1:]))}")


def _advice(data: DataSet, home: Path, inside: Path) -> str:
    file = _file_of(data, inside)
    size = (file.size if file else data.size) or 0
    known = f" ({format_bytes(size)})" if size else ""
    only = f" --only {file.path}" if file is not None and len(data.files) > 1 else ""
    here = Part(home / data.name / file.path).size if file else 0
    begun = f", of which {format_bytes(here)} are here" if here else ""
    where = f"{VARIABLE}={os.environ[VARIABLE]}" if os.environ.get(VARIABLE) else f"{VARIABLE} is not set"
    return (
        f"{data.name} is not here yet{known}{begun}. Training never downloads. On a machine with a network "
        f"that shares this disk, such as a login node: python -m chemscale.fetch {data.name}{only} ({where}; "
        f"sets lie in {os.path.abspath(home)}). For a file that is elsewhere, give data.path."
    )


def _file_of(data: DataSet, inside: Path) -> RemoteFile | None:
    """The file that a path within a set's folder is, or comes out of."""
    name = inside.as_posix()
    for file in data.files:
        if file.path == name:
            return file
    archives = [file for file in data.files if file.unpack]
    for file in archives:
        assert file.unpack is not None
        if name == file.unpack.to.rstrip("/") or name.startswith(file.unpack.to):
            return file
    return archives[0] if len(archives) == 1 else None


def state(file: RemoteFile, folder: Path, manifest: Manifest) -> str:
    """Where a file stands, in a word or two: there, in part, unchecked or missing.

    Args:
        file: which.
        folder: of its set.
        manifest: of that folder.
    """
    if manifest.is_whole(file):
        return "there"
    if (folder / file.path).exists():
        return "there, to be unpacked" if file.path in manifest.files else "there, unchecked"
    here = Part(folder / file.path).size
    if not here:
        return "missing"
    of = f" of {format_bytes(file.size)}" if file.size else ""
    return f"{format_bytes(here)}{of}"
