"""Which files a path names: one file, a folder with its sub-folders, or a pattern."""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path, PurePath

from chemscale.fetching.dataset_folders import shards_of, splits_of
from chemscale.fetching.hub import local_path

NO_DATA = re.compile(
    r"(read.?me|licen[sc]e|copying|notice|citation|changelog|authors|requirements|checksums?|md5(sums?)?"
    r"|sha\d+(sums?)?|manifest|metadata|config|state|dataset_infos?|dataset_dict|croissant|index)([.\-_].*)?",
    re.IGNORECASE,
)
COMPRESSED = {".gz", ".bz2", ".xz", ".zst", ".zip"}
DATA = {".csv", ".tsv", ".tab", ".smi", ".smiles", ".ism", ".can", ".cxsmiles", ".txt", ".json", ".jsonl"}
DATA |= {
    ".ndjson",
    ".parquet",
    ".pq",
    ".arrow",
    ".feather",
    ".ipc",
    ".sdf",
    ".sd",
    ".mol",
    ".selfies",
    ".dat",
    "",
}


def is_data(path: PurePath) -> bool:
    """Whether the name of a file within a folder or an archive is one of molecules.

    Args:
        path: of the file, relative to the folder.
    """
    if any(part.startswith((".", "__MACOSX")) for part in path.parts) or path.name.startswith("_"):
        return False
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSED:
        if suffixes[-1] == ".zip":
            return True
        suffixes.pop()
    return (suffixes[-1] if suffixes else "") in DATA and not NO_DATA.fullmatch(path.name)


def find_files(path: str) -> tuple[list[Path], list[str]]:
    """Files of molecules that a path, a folder or a pattern names.

    Args:
        path: folders are searched with their sub-folders; of those that `datasets` saved the shards are read.
            ``hf://datasets/…`` is the folder that was fetched.

    Returns:
        The files in a stable order, and the names of those in folders that hold no molecules.

    Raises:
        FileNotFoundError: nothing is there.
        DatasetFolderError: a folder that `datasets` saved is not whole.
        FetchError: the path is no name of the Hub.
    """
    given = Path(local_path(path)).expanduser()
    named = [given] if given.exists() else [Path(p) for p in sorted(glob.glob(str(given), recursive=True))]
    files: list[Path] = []
    left_out: list[str] = []
    for item in named:
        if not item.is_dir():
            files.append(item)
            continue
        for inside, wanted in _walk(item):
            relative = inside.relative_to(item)
            if wanted and is_data(relative):
                files.append(inside)
            elif not any(part.startswith(".") for part in relative.parts):
                left_out.append(str(relative))
    files = list(dict.fromkeys(files))
    if not files:
        why = f" (nothing but {', '.join(left_out[:5])})" if left_out else ""
        raise FileNotFoundError(f"data.path={path}: no such file, folder or pattern of molecules{why}.")
    return files, left_out


def _walk(folder: Path) -> list[tuple[Path, bool]]:
    """Files of a folder, and whether they may be data: of those of `datasets` its shards."""
    found: list[tuple[Path, bool]] = []
    for root, _, names in os.walk(folder, followlinks=False):
        splits_of(Path(root))
        shards = shards_of(Path(root))
        paths = [Path(root) / name for name in names]
        found += [(path, shards is None or path in shards) for path in paths if path.is_file()]
    return sorted(found)
