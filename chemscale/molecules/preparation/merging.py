"""Between the stages of a corpus build: where parts are many, each so many of them become one run.

Every bucket of stage 2 visits every sorted file that stage 1 left. Of n rows there are some n/32,768 parts
and about half as many buckets: their product grows with the square of n, and takes hours from 10^9 rows on.
A run is a part in all but its size; what it was made of is removed when it is whole.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from chemscale.common.files import atomic_path
from chemscale.common.progress import ProgressBar
from chemscale.molecules.preparation.sharing.work import Alone, is_listed, map_until_done
from chemscale.molecules.preparation.stages import RUN_DTYPE, Sources, part_path, run_path

MERGE_ABOVE = 512
"""Parts up to which buckets visit them one by one: that costs less than reading and writing all once more."""
GROUP = 128
"""Parts of a run, of each of which up to three files are open at a time. Another number makes runs of other
names."""
SLAB_ROWS = 1 << 16
"""Rows of all parts of a group that are sorted together."""
BELONGING = (".npy", ".smi", ".numbers.npy", ".dropped")
"""Suffixes of what a part consists of."""


@dataclass(frozen=True)
class Group:
    """A task of merging: some parts that become one run.

    Args:
        target: array of the run; text and the rest lie beside it, as beside a part.
        parts: arrays of the parts, in order.
    """

    target: Path
    parts: tuple[Path, ...]


def places_of(folder: Path, number: int) -> tuple[Path, Path]:
    """Where a chunk is found once it is standardised: in its part, later in the run of it and others."""
    return part_path(folder, number), run_path(folder, number // GROUP, GROUP)


def merge_parts(folder: Path, parts: int, workers: int, work: Alone) -> Sources:
    """Merge the parts of stage 1 where they are many.

    Args:
        folder: of the build, in which all parts are, or runs of them.
        parts: number of them.
        workers: processes.
        work: of this process in the build.

    Returns:
        What buckets are to be taken from.
    """
    if parts <= MERGE_ABOVE:
        return Sources(folder, parts)
    numbers = [range(first, min(first + GROUP, parts)) for first in range(0, parts, GROUP)]
    groups = [
        Group(run_path(folder, n, GROUP), tuple(part_path(folder, part) for part in each))
        for n, each in enumerate(numbers)
    ]
    with ProgressBar("merge", len(groups), "runs") as progress:

        def advance(_: object) -> None:
            progress.advance(1)

        for _ in map_until_done(merge_group, groups, workers, work, _name, _is_merged, advance):
            progress.update(min(len(groups), progress.done + 1))
    for left in folder.glob("part-*"):  # by one that was killed when its run was whole
        left.unlink(missing_ok=True)
    return Sources(folder, len(groups), GROUP)


def _name(group: Group) -> str:
    return group.target.stem


def _is_merged(group: Group) -> bool:
    return group.target.exists()


def merge_group(group: Group) -> int:
    """Merge some parts into one run sorted by hash, then remove them.

    Memory does not grow with the group, as long as hashes are different: rows of one hash are held together.

    Args:
        group: which parts.

    Returns:
        Rows of the run; 0 where it was there.
    """
    if group.target.exists():
        return 0
    try:
        rows = _write_run(group)
    except OSError as error:
        # Another process may have merged them meanwhile, and have removed them.
        if error.errno in (errno.ENOENT, errno.ESTALE, errno.EEXIST) and is_listed(group.target):
            return 0
        raise
    for part in group.parts:
        for suffix in BELONGING:
            part.with_suffix(suffix).unlink(missing_ok=True)
    return rows


def _write_run(group: Group) -> int:
    """Write array, text, numbers of columns and dropped rows of a run, the array last."""
    parts = [np.load(part, mmap_mode="r").view(np.ndarray) for part in group.parts]
    rows = sum(map(len, parts))
    with ExitStack() as stack:
        index = _new(stack, group.target)  # the first to be entered takes its place last
        texts = _new(stack, group.target.with_suffix(".smi"))
        dropped = _new(stack, group.target.with_suffix(".dropped"))
        for part in group.parts:
            with open(part.with_suffix(".dropped"), "rb") as file:
                shutil.copyfileobj(file, dropped)
        _write_header(index, RUN_DTYPE, (rows,))
        numbers, numbers_file = _open_numbers(stack, group, rows)
        files = [stack.enter_context(open(part.with_suffix(".smi"), "rb")) for part in group.parts]
        written = 0
        for cuts in _slabs(parts, rows):
            merged, text, chosen = _merge_slab(parts, files, cuts, numbers)
            merged["start"] += np.uint64(written)
            index.write(merged.tobytes())
            texts.write(text.tobytes())
            if numbers_file is not None:
                numbers_file.write(chosen.tobytes())
            written += len(text)
        if is_listed(group.target):  # others may read it: its files are not replaced under them
            raise FileExistsError(errno.EEXIST, "another process was faster", str(group.target))
    return rows


def _new(stack: ExitStack, path: Path) -> IO[bytes]:
    """A file that takes its place when the stack is left without an error."""
    temporary = stack.enter_context(atomic_path(path))
    return stack.enter_context(open(temporary, "wb"))


def _write_header(file: IO[bytes], dtype: np.dtype, shape: tuple[int, ...]) -> None:
    described = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, described)


def _open_numbers(stack: ExitStack, group: Group, rows: int) -> tuple[list[np.ndarray], IO[bytes] | None]:
    """Numbers of columns of each part, and the file for those of the run; none where there are no columns."""
    paths = [part.with_suffix(".numbers.npy") for part in group.parts]
    if not paths[0].exists():
        return [], None
    numbers = [np.load(path, mmap_mode="r") for path in paths]
    file = _new(stack, group.target.with_suffix(".numbers.npy"))
    _write_header(file, numbers[0].dtype, (rows, numbers[0].shape[1]))
    return numbers, file


def _slabs(parts: list[np.ndarray], rows: int) -> Iterator[list[tuple[int, int]]]:
    """Ranges of rows of every part whose hashes lie in the same range, range after range."""
    count = max(1, -(-rows // SLAB_ROWS))
    bounds = np.array([(n << 64) // count for n in range(1, count)], dtype="<u8")
    cuts = [[0, *np.searchsorted(part["hash"], bounds).tolist(), len(part)] for part in parts]
    for slab in range(count):
        yield [(of[slab], of[slab + 1]) for of in cuts]


def _merge_slab(
    parts: list[np.ndarray],
    files: Sequence[IO[bytes]],
    cuts: list[tuple[int, int]],
    numbers: list[np.ndarray],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of one range of hashes in order, ``start`` counted from 0; their text, and numbers of columns."""
    pieces, chunks, chosen, begins = [], [], [], []
    base = 0
    for number, (low, high) in enumerate(cuts):
        if low == high:
            continue
        piece = np.array(parts[number][low:high])
        first, size = int(piece[0]["start"]), int(piece["length"].sum(dtype=np.int64))
        files[number].seek(first)
        chunks.append(np.frombuffer(files[number].read(size), dtype=np.uint8))
        begins.append(piece["start"].astype(np.int64) - first + base)
        pieces.append(piece)
        base += size
        if numbers:
            chosen.append(np.array(numbers[number][low:high]))
    if not pieces:
        return np.zeros(0, RUN_DTYPE), np.zeros(0, np.uint8), np.zeros(0)
    rows = np.concatenate(pieces)
    order = np.argsort(rows["hash"], kind="stable")
    merged = rows[order].astype(RUN_DTYPE)
    lengths = merged["length"].astype(np.int64)
    starts = np.cumsum(lengths) - lengths
    merged["start"] = starts
    places = np.repeat(np.concatenate(begins)[order] - starts, lengths) + np.arange(base)
    text = np.concatenate(chunks)[places]
    return merged, text, np.concatenate(chosen)[order] if numbers else np.zeros(0)
