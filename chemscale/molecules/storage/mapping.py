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
RANDOM, WILL_NEED = mmap.MADV_RANDOM, mmap.MADV_WILLNEED


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
    weakref.finalize(pages, _libc().munmap, address, size).atexit = False
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
