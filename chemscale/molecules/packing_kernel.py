"""The order of the data and the filling of blocks in C++: the same numbers as the Python beside it."""

from __future__ import annotations

import ctypes
import functools
import logging
import subprocess
from pathlib import Path

import numpy as np

from chemscale.models.kernels.building import find_compiler, made_or_loaded, reason_of
from chemscale.molecules.order import Permutation

log = logging.getLogger(__name__)

SOURCE = Path(__file__).with_name("packing.cpp")
FLAGS = ("-O3", "-march=native", "-fPIC", "-shared", "-std=c++17")


@functools.cache
def library() -> ctypes.CDLL | None:
    """The functions of ``packing.cpp``, compiled where they are not yet; None where that cannot be done."""
    compiler = find_compiler()
    if compiler is None:
        log.info("No C++ compiler was found: blocks are filled in Python, some twenty times slower.")
        return None
    try:
        return made_or_loaded(compiler, SOURCE, FLAGS, _declare, _is_right)
    except (OSError, subprocess.SubprocessError) as error:
        log.warning("Blocks are filled in Python, some twenty times slower: %s", reason_of(error))
        return None


def permuted(kernels: ctypes.CDLL, order: Permutation, first: int, count: int) -> np.ndarray:
    """Items at positions first … first + count - 1 of an order, (count,) int64; other threads run meanwhile.

    Args:
        kernels: of ``library``.
        order: of the items.
        first: position.
        count: of positions.
    """
    out = np.empty(count, dtype=np.int64)
    keys = np.ascontiguousarray(order.round_keys, dtype=np.uint64)
    kernels.permute(order.n, order.half_bits, keys.ctypes.data, len(keys), first, count, out.ctypes.data)
    return out


def filled(kernels: ctypes.CDLL, sizes: np.ndarray, block: int, ahead: int) -> tuple[np.ndarray, np.ndarray]:
    """Blocks of molecules; see ``packing.pack``.

    Args:
        kernels: of ``library``.
        sizes: (n,) positions of each molecule, from 1 up to `block`.
        block: positions of a block.
        ahead: molecules after the next one among which a gap is closed.

    Returns:
        (n,) indices of the molecules, block by block; and (blocks,) where the members of each end.
    """
    sizes = np.ascontiguousarray(sizes, dtype=np.int64)
    members, ends = np.empty(len(sizes), dtype=np.int64), np.empty(len(sizes), dtype=np.int64)
    found = kernels.pack(sizes.ctypes.data, len(sizes), block, ahead, members.ctypes.data, ends.ctypes.data)
    return members, ends[:found].copy()


def gathered(kernels: ctypes.CDLL, parts: np.ndarray, first: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Numbers of rows in any order, (k,) uint16; other threads run meanwhile.

    Args:
        kernels: of ``library``.
        parts: (parts,) addresses of contiguous uint16.
        first: (parts + 1,) row that each part begins at, int64.
        rows: (k,) that there are.
    """
    rows, out = np.ascontiguousarray(rows, dtype=np.int64), np.empty(len(rows), dtype=np.uint16)
    kernels.gather(
        parts.ctypes.data, first.ctypes.data, len(parts), rows.ctypes.data, len(rows), out.ctypes.data
    )
    return out


def _declare(kernels: ctypes.CDLL) -> None:
    pointer, long, whole = ctypes.c_void_p, ctypes.c_int64, ctypes.c_uint64
    kernels.permute.argtypes = [whole, ctypes.c_int, pointer, ctypes.c_int, whole, long, pointer]
    kernels.permute.restype = None
    kernels.pack.argtypes = [pointer, long, long, long, pointer, pointer]
    kernels.pack.restype = long
    kernels.gather.argtypes = [pointer, pointer, long, pointer, long, pointer]
    kernels.gather.restype = None


def _is_right(kernels: ctypes.CDLL) -> bool:
    """Whether an order is that of ``Permutation``, and blocks are filled and numbers found as by hand."""
    order = Permutation(1000, 5, 3)
    if not np.array_equal(permuted(kernels, order, 300, 700), order(np.arange(300, 1000))):
        return False
    parts = [np.arange(3, dtype=np.uint16), np.arange(100, 102, dtype=np.uint16)]
    places = np.array([part.ctypes.data for part in parts], dtype=np.uintp)
    if gathered(kernels, places, np.array([0, 3, 5]), np.array([4, 0, 2, 3])).tolist() != [101, 0, 2, 100]:
        return False
    # 6 and 3 leave 1, which the fourth fills; 8 leaves 2 for the last; 5 alone.
    members, ends = filled(kernels, np.array([6, 3, 8, 1, 5, 2]), block=10, ahead=256)
    return members.tolist() == [0, 1, 3, 2, 5, 4] and ends.tolist() == [3, 5, 6]
