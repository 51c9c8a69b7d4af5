"""Members of an npz: read when they are asked for, and only where their bytes are those that they claim."""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from chemscale.common.logs import brief
from chemscale.structures.blocks import SourceError
from chemscale.structures.units import UnitError

OBJECTS = "{} is an array of Python objects, which are not unpickled. Save it as numbers (astype)."


def loaded(path: Path) -> Any:
    """Open an npz whose arrays are read when they are asked for.

    Args:
        path: of the file.

    Raises:
        SourceError: it is not one.
    """
    try:
        arrays = np.load(path)
    except ValueError:  # it speaks of pickles
        raise SourceError(f"{path}: not a readable npz file.") from None
    except (OSError, EOFError, zipfile.BadZipFile) as error:
        raise SourceError(f"{path}: not a readable npz file ({brief(error)}).") from None
    if not hasattr(arrays, "files"):
        raise SourceError(f"{path}: a single array, not an npz file.")
    return arrays


def text(arrays: Any, key: str, otherwise: str) -> str:
    """Text that an opened npz holds.

    Args:
        arrays: the npz.
        key: of the text.
        otherwise: what is returned where it is missing.
    """
    value = arrays[key].item() if key in arrays.files and not kind(arrays, key).hasobject else otherwise
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def array(arrays: Any, key: str, path: Path) -> np.ndarray:
    """An array of an opened npz.

    Args:
        arrays: the npz.
        key: of the array.
        path: of the file, for messages.

    Raises:
        SourceError: it holds Python objects, which are not unpickled.
    """
    if kind(arrays, key).hasobject:
        raise SourceError(f"{path}: {OBJECTS.format(key)}")
    check_length(arrays, key, path)
    return arrays[key]


def check_length(arrays: Any, key: str, path: Path) -> None:
    """Refuse an array that has fewer or more bytes than its shape says, before it is read.

    Args:
        arrays: the npz.
        key: of the array.
        path: of the file, for messages.

    Raises:
        SourceError: it has.
    """
    member = _member(arrays, key)
    with arrays.zip.open(member) as stream:
        size, _, number = header(stream)
        there = member.file_size - stream.tell()
    if there != prod(size) * number.itemsize:
        raise SourceError(
            f"{path}: {key} has {there:,} bytes, and its shape {size} of {number} needs "
            f"{prod(size) * number.itemsize:,}. Make or fetch the file again."
        )


def _member(arrays: Any, key: str) -> zipfile.ZipInfo:
    try:
        return arrays.zip.getinfo(f"{key}.npy")
    except KeyError:
        raise SourceError(f"{arrays.zip.filename or 'the npz'}: {key} is no array of NumPy.") from None


@contextmanager
def broken(path: Path) -> Iterator[None]:
    """What is raised within for a damaged npz, as an error that names the file.

    Args:
        path: of the file.

    Raises:
        SourceError: in place of what zip files, decompressors and NumPy's headers raise.
    """
    try:
        yield
    except (SourceError, UnitError):
        raise
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError) as error:
        raise SourceError(f"{path}: the file is broken ({brief(error)}).") from None
    except (ValueError, NotImplementedError, RuntimeError, struct.error) as error:
        raise SourceError(f"{path}: not a readable npz file ({brief(error)}).") from None


def shape(arrays: Any, key: str) -> tuple[int, ...]:
    """Shape of an array of an opened npz, without reading it.

    Args:
        arrays: the npz.
        key: of the array.
    """
    with arrays.zip.open(_member(arrays, key)) as member:
        return header(member)[0]


def kind(arrays: Any, key: str) -> np.dtype:
    """Type of an array of an opened npz, without reading it.

    Args:
        arrays: the npz.
        key: of the array.
    """
    with arrays.zip.open(_member(arrays, key)) as member:
        return header(member)[2]


def header(member: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether in Fortran order, and type of an npy stream, which then stands at the data."""
    version = npy.read_magic(member)
    return (npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0)(member)


def stream(archive: zipfile.ZipFile, key: str, step: int) -> Iterator[np.ndarray]:
    """Read an array of an npz a few rows at a time; one in Fortran order has to be held whole.

    Args:
        archive: the npz.
        key: of the array.
        step: rows at a time.
    """
    with archive.open(f"{key}.npy") as member:
        size, fortran, number = header(member)
        if not size:
            yield np.frombuffer(member.read(), number)
            return
        rows = size[0]
        if fortran:
            whole = np.frombuffer(member.read(), number).reshape(size, order="F")
            yield from (whole[start : start + step] for start in range(0, rows, step))
            return
        for start in range(0, rows, step):
            k = min(step, rows - start)
            content = member.read(k * prod(size[1:]) * number.itemsize)
            yield np.frombuffer(content, number).reshape(k, *size[1:])
