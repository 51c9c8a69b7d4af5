"""Folders that `datasets` saved: which of their files are the data, and whether all of them are there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

STATE = "state.json"
SPLITS = "dataset_dict.json"


class DatasetFolderError(ValueError):
    """A folder of `datasets` that is not whole; the message names what is missing."""


def shards_of(folder: Path) -> list[Path] | None:
    """Arrow files of a folder of `datasets` in their order; None for any other folder.

    Files of its cache beside them are none of the data, and a shard that was not copied leaves no other trace
    than its name in ``state.json``.

    Args:
        folder: that may be one.

    Raises:
        DatasetFolderError: ``state.json`` is damaged, or a shard that it lists is missing or empty.
    """
    state = folder / STATE
    if not state.is_file():
        return None
    content = _json(state)
    listed = content.get("_data_files") if isinstance(content, dict) else None
    if not isinstance(listed, list):
        return None
    names = [each.get("filename") if isinstance(each, dict) else None for each in listed]
    if not names or not all(isinstance(name, str) and Path(name).name == name for name in names):
        raise DatasetFolderError(f"{state}: names no files of data. Save the data set again.")
    paths = [folder / str(name) for name in names]
    missing = [path.name for path in paths if not path.is_file() or not path.stat().st_size]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise DatasetFolderError(
            f"{folder}: {len(missing)} of {len(paths)} files of the data set are missing or empty "
            f"({', '.join(missing[:3])}{more}). Copy or save the folder again."
        )
    return paths


def splits_of(folder: Path) -> list[str] | None:
    """Names of the parts, each a folder, that a `datasets.DatasetDict` wrote in one; None for other folders.

    Args:
        folder: that may be one.

    Raises:
        DatasetFolderError: its list of parts is damaged, or one of them is missing.
    """
    if not (folder / SPLITS).is_file():
        return None
    content = _json(folder / SPLITS)
    names = content.get("splits") if isinstance(content, dict) else None
    if not isinstance(names, list) or not all(isinstance(n, str) and Path(n).name == n for n in names):
        raise DatasetFolderError(f"{folder / SPLITS}: names no parts. Save the data set again.")
    for name in names:
        if not (folder / name / STATE).is_file():
            raise DatasetFolderError(f"{folder}: its part {name} is missing. Copy or save the folder again.")
    return names


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DatasetFolderError(f"{path}: damaged ({error}). Copy or save the folder again.") from None
