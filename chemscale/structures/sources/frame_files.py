"""Which files of a folder or a pattern hold frames, and which are left out and why."""

from __future__ import annotations

import glob
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

from chemscale.fetching.dataset_folders import shards_of, splits_of
from chemscale.fetching.hub import PREFIX, local_path
from chemscale.structures.blocks import SourceError
from chemscale.structures.sources import aselmdb
from chemscale.structures.sources.ase_files import AseFile, ase_format
from chemscale.structures.sources.containers.columns import SUFFIXES
from chemscale.structures.sources.cp2k import of_a_run
from chemscale.structures.sources.outputs import superfluous
from chemscale.structures.sources.pyg_files import processed_file

DOCUMENTATION = re.compile(
    r"(readme|licen[cs]e|copying|citation|changelog|authors|notice|checksums?|md5sums?|sha\d*sums?)\b", re.I
)
"""Beginnings of names of files that stand beside data and hold none."""

ARRAYS = (".h5", ".hdf5", ".hdf", ".npz", ".pt", *SUFFIXES)

DOUBTFUL = (".md", ".log", ".out", ".json", ".txt", "")
"""Suffixes that formats of ASE share with files of other kinds: read only if they begin with a frame."""

COUNTED = 1000
"""Files of sub-folders that are not read are counted up to so many: there may be millions of other things."""


def frame_files(path: str, format: str | None = None, key: str = "data.path") -> tuple[list[Path], list[str]]:
    """Files of frames named by a path, a folder or a pattern, in a stable order.

    Args:
        path: as given; a single file is taken as it is.
        format: of all files, where it is given: then only documentation is left out.
        key: by which the path was given, for messages.

    Returns:
        The files, and what was left out of a folder or a pattern, each with its reason. Those of the
        sub-folders of a folder are read where it has none itself; else their number is said.

    Raises:
        FileNotFoundError: nothing is there.
        SourceError: something is there, and all of it was left out.
    """
    given = Path(local_path(path, key)).expanduser()
    if format == "pyg" and given.is_dir():
        return [processed_file(given)], []
    if given.is_dir() and (splits := splits_of(given)):
        raise SourceError(
            f"{key}={path}: parts of `datasets` ({', '.join(splits)}). Name one of them: "
            f"{key}={path}/{splits[0]}; data.validation_path and data.test_path take others."
        )
    if given.is_dir() and (shards := shards_of(given)):
        return shards, []
    if given.is_dir() and path.startswith(PREFIX):
        found = sorted(each for each in given.rglob("*") if each.is_file() and not _hidden(each, given))
    elif given.is_dir():
        found = sorted(given.iterdir())
    elif given.exists():
        return [given], []
    else:
        found = [Path(p) for p in sorted(glob.glob(str(given), recursive=True))]
    if not found:
        raise FileNotFoundError(f"{key}={path}: no such file, folder or pattern, or an empty folder.")
    files, left_out = _sorted_out(found, format)
    below = iter(()) if "**" in path else _files_below(found, given)
    # Nothing was ever prepared of a folder without frames of its own; else it is said that there are some.
    alone = not files and given.is_dir()
    inside = sorted(below if alone else itertools.islice(below, COUNTED + 1))
    if inside and alone:
        files, left_out = _sorted_out([*(each for each in found if not each.is_dir()), *inside], format)
    elif inside:
        base = given if given.is_dir() else given.parent
        count = f"more than {COUNTED:,} files" if len(inside) > COUNTED else f"{len(inside):,} files"
        count = "1 file" if len(inside) == 1 else count
        one = inside[0].relative_to(base)
        left_out.append(f"{count} in sub-folders, such as {one}: {key}='{base}/**/*' reads those too")
    if not files:
        raise SourceError(f"{key}={path}: no file of frames. Left out: {listed(left_out)}.")
    return files, left_out


def _sorted_out(found: list[Path], format: str | None) -> tuple[list[Path], list[str]]:
    """Files of frames among those that were found, and the others, each with its reason."""
    files, left_out = [], []
    for entry in found:
        reason = superfluous(entry, found) or of_a_run(entry) or _reason(entry, format)
        if reason is None:
            files.append(entry)
        else:
            left_out.append(f"{entry.name} ({reason})")
    return files, left_out


def _files_below(found: list[Path], given: Path) -> Iterator[Path]:
    """Files at any depth of the folders among those that were found, hidden ones not."""
    base = given if given.is_dir() else given.parent
    for folder in found:
        if folder.is_dir() and not folder.name.startswith("."):
            yield from (each for each in folder.rglob("*") if each.is_file() and not _hidden(each, base))


def listed(names: list[str], most: int = 12) -> str:
    """Names joined by commas, the first few of many.

    Args:
        names: any number of them.
        most: that are written out.
    """
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def _reason(path: Path, format: str | None) -> str | None:
    """Why a file is left out; None where it is read."""
    if path.is_dir():
        return "a folder"
    if path.name.startswith("."):
        return "hidden"
    if DOCUMENTATION.match(path.name):
        return "documentation"
    if path.suffix == ".part":
        return "a download that is not whole"
    if path.name.lower().endswith(aselmdb.LOCK_SUFFIX):
        return "a lock"
    if path.name == aselmdb.METADATA and any(path.parent.glob(f"*{aselmdb.SUFFIX}")):
        return "sizes of the structures beside it"
    if not path.is_file():
        return "not a file"
    if not path.stat().st_size:
        return "empty"
    if format not in (None, "ase") or path.suffix.lower() in ARRAYS:
        return None
    try:
        ase_format(path)
    except SourceError:
        return "not of a format that ASE reads"
    if path.suffix.lower() in DOUBTFUL and not _begins_with_a_frame(path):
        return "no frame that ASE can read"
    return None


def _hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _begins_with_a_frame(path: Path) -> bool:
    try:
        return AseFile(path).first_frame() is not None
    except SourceError:
        return False
