"""Groups and arrays of an HDF5 file, checked before they are read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import h5py

from chemscale.common.logs import brief
from chemscale.structures.blocks import SourceError


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open an HDF5 file for reading.

    Args:
        path: of the file.

    Raises:
        SourceError: it is not one.
    """
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise SourceError(f"{path}: not a readable HDF5 file ({brief(error)}).") from None
    with file:
        try:
            yield file
        except (
            OSError,
            RuntimeError,
            KeyError,
            UnicodeDecodeError,
        ) as error:  # what h5py raises, by what it was looking for
            raise SourceError(f"{path}: the file is broken ({brief(error)}).") from None


def check_array(path: Path, group: Any, key: str, *, of_numbers: bool = True) -> None:
    """Refuse what is no array of a group, or was never written whole.

    Args:
        path: of the file, for messages.
        group: that has it.
        key: of the array.
        of_numbers: whether it must hold real numbers.

    Raises:
        SourceError: it is a group or a type, has no values, holds no numbers, or parts of it were never
            written: HDF5 shows zeros in their place.
    """
    where = f"{path}: group {group.name}: {key}"
    if group.get(key, getclass=True) is not h5py.Dataset:
        raise SourceError(f"{where} is no array.")
    array = group[key]
    if array.shape is None:
        raise SourceError(f"{where} has no values.")
    try:
        kind, fill = array.dtype, array.fillvalue
    except (ValueError, TypeError) as error:
        raise SourceError(f"{where} is of no type that NumPy has ({brief(error)}).") from None
    if of_numbers and kind.kind not in "iuf":
        raise SourceError(f"{where} holds no numbers, but {kind}.")
    # NaN where nothing was written is a missing label; zeros would be taken for measured ones.
    if array.size and fill == fill and not _is_written(array):
        raise SourceError(
            f"{where} was never written whole: the program that made the file was interrupted. Make or fetch "
            "it again."
        )


def _is_written(array: Any) -> bool:
    """Whether the file has all that an array claims."""
    if array.chunks is None:
        return array.id.get_storage_size() > 0
    claimed = prod(-(-size // chunk) for size, chunk in zip(array.shape, array.chunks, strict=True))
    return array.id.get_num_chunks() >= claimed


def groups(node: Any) -> Iterator[Any]:
    """Every group that holds datasets, in reading order; a group holds either datasets or groups.

    Args:
        node: the file, or a group.

    Raises:
        SourceError: a name in it is damaged.
    """
    if odd := [name for name in node if not isinstance(name, str)]:
        raise SourceError(f"{node.file.filename}: the file is broken (a name that is no text, {odd[0]!r}).")
    first = next(iter(node), None)
    if first is not None and node.get(first, getclass=True) is h5py.Dataset:
        yield node
        return
    for name in node:
        if node.get(name, getclass=True) is h5py.Group:
            yield from groups(node[name])


def shape_of(group: Any, key: str) -> tuple[int, ...]:
    """Shape of an array of a group; empty where there is none.

    Args:
        group: of the file.
        key: of the array.
    """
    array = group[key] if group.get(key, getclass=True) is h5py.Dataset else None
    return () if array is None else array.shape or ()


def first_group(file: Any) -> Any:
    """The first group that holds datasets.

    Args:
        file: open for reading.

    Raises:
        SourceError: there is none.
    """
    for group in groups(file):
        return group
    raise SourceError(f"{file.filename}: the file holds no arrays.")
