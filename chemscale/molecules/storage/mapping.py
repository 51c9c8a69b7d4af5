"""Files of numbers mapped into memory, without a descriptor each: a large corpus has thousands of them."""

from __future__ import annotations

import ctypes
import mmap
import os
import weakref
from functools import cache
from pathlib import Path

import numpy as np

FAILED = ctypes.c_void_p(-1).value
"""What ``mmap`` answers where it cannot."""
RANDOM, WILL_NEED, DONT_NEED = mmap.MADV_RANDOM, mmap.MADV_WILLNEED, mmap.MADV_DONTNEED
Place = tuple[str, str, bool]
"""Arguments of ``map_file``."""
_MAPPED: dict[int, tuple[int, Place]] = {}
"""Bytes and place of each mapping by its address: what is let go must be a file, for other memory would be
emptied."""


def map_file(path: Path, dtype: str = "<u2", *, at_random: bool = False) -> np.ndarray:
    """The numbers of a file, (n,), read-only; pages are read when looked at, and shared by processes.

    ``mmap`` of Python keeps a descriptor of every file open, and ``torch.from_file`` needs torch: here the
    mapping outlives the descriptor, and ends with the last array that looks into it.

    Args:
        path: of the file.
        dtype: of each number.
        at_random: only pages that are looked at are read, not what lies around them. Else the system reads
            on from each, 128 KiB as a rule and megabytes on some file systems.

    Raises:
        OSError: the file cannot be opened or mapped.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(descriptor).st_size
        if size == 0:
            return np.empty(0, dtype=dtype)
        address = _libc().mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, 0)
        if address == FAILED:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(path))
    finally:
        os.close(descriptor)
    if at_random:
        _libc().madvise(address, size, RANDOM)
    pages = (ctypes.c_ubyte * size).from_address(address)
    _MAPPED[address] = size, (str(path.absolute()), dtype, at_random)
    weakref.finalize(pages, _unmap, address, size).atexit = False
    width = np.dtype(dtype).itemsize
    numbers: np.ndarray = np.frombuffer(memoryview(pages), dtype=np.dtype(dtype), count=size // width)
    numbers.flags.writeable = False
    return numbers


def will_need(numbers: np.ndarray, begin: int, end: int) -> None:
    """Have a part of mapped numbers read while this process goes on: many parts are then read at a time.

    Args:
        numbers: of ``map_file``.
        begin: first of the part.
        end: behind its last.
    """
    width, address = numbers.itemsize, int(numbers.ctypes.data)
    first = (address + begin * width) & ~(mmap.PAGESIZE - 1)
    _libc().madvise(first, address + end * width - first, WILL_NEED)


def let_go(numbers: np.ndarray) -> None:
    """Stop holding pages of a file that was read from end to end; they are mapped again when looked at.

    Pages that stay mapped count as memory of the process, and of a whole corpus they are all of it.

    Args:
        numbers: of ``map_file``; of other arrays nothing is done.
    """
    address = int(numbers.ctypes.data)
    if address in _MAPPED:
        _libc().madvise(address, _MAPPED[address][0], DONT_NEED)


def place_of(numbers: np.ndarray) -> Place | None:
    """What ``map_file`` is to be given for the same numbers in another process; None where they are no file.

    Args:
        numbers: of ``map_file``, all of them; or others.
    """
    size, place = _MAPPED.get(int(numbers.ctypes.data), (0, None))
    is_whole = place is not None and (numbers.dtype, numbers.nbytes) == (np.dtype(place[1]), size)
    return place if is_whole else None


def _unmap(address: int, size: int) -> None:
    del _MAPPED[address]
    _libc().munmap(address, size)


@cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    pointer, size, integer = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    libc.mmap.argtypes = [pointer, size, integer, integer, integer, ctypes.c_int64]
    libc.mmap.restype = pointer
    libc.munmap.argtypes = [pointer, size]
    libc.munmap.restype = integer
    libc.madvise.argtypes = [pointer, size, integer]
    libc.madvise.restype = integer
    return libc
