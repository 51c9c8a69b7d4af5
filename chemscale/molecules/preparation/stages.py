"""The two parallel stages of a corpus build; each writes whole files that a resumed build takes up.

Stage 1 standardises a chunk of rows; its part is sorted by hash. Stage 2 takes one bucket of hashes from
all parts, drops duplicates and encodes what is left. Neither the chunks nor the buckets nor the processes
show in the result: it is sorted by hash.
"""

from __future__ import annotations

import json
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from chemscale.common.files import atomic_path, write_array
from chemscale.molecules.overlap.exclusion import why_excluded
from chemscale.molecules.overlap.keys import text_hash
from chemscale.molecules.preparation.conditions.measuring import measure_bucket, merge_rows
from chemscale.molecules.preparation.conditions.request import ConditionRequest
from chemscale.molecules.preparation.dropped import DroppedRow, write_dropped_rows
from chemscale.molecules.preparation.encoding import symbols_of
from chemscale.molecules.preparation.notations import explain_unparsable, explain_wildcard, to_smiles
from chemscale.molecules.preparation.standardize import (
    Molecule,
    Policy,
    Reason,
    Rejected,
    standardize,
)
from chemscale.molecules.tokenizers.opening import AnyTokenizer

PART_DTYPE = np.dtype(
    [("hash", "<u8"), ("row", "<i8"), ("start", "<u4"), ("length", "<u4"), ("heavy", "<u2")]
)
RUN_DTYPE = np.dtype([("hash", "<u8"), ("row", "<i8"), ("start", "<u8"), ("length", "<u4"), ("heavy", "<u2")])
"""Of many parts that were merged, whose text may have more than 4 GiB."""
BUCKET_DTYPE = np.dtype([("hash", "<u8"), ("row", "<i8"), ("length", "<u2"), ("heavy", "<u2")])


@dataclass(frozen=True)
class Chunk:
    """A task of stage 1: rows to standardise.

    Args:
        number: of the chunk.
        rows: their running number, text and notation.
        policy: what is kept of a molecule.
        folder: of the build.
        numbers: (rows, columns) of columns that are conditions; None for no such thing.
        exclude: folder of the molecules that are left out; None for none.
    """

    number: int
    rows: list[tuple[int, str, str]]
    policy: Policy
    folder: Path
    numbers: np.ndarray | None = None
    exclude: Path | None = None


@dataclass(frozen=True)
class Sources:
    """What stage 1 has left, sorted by hash each: what a bucket is taken from.

    Args:
        folder: of the build.
        count: of parts, or of the runs that they were merged into.
        group: parts of a run; 1 where they were not merged.
    """

    folder: Path
    count: int
    group: int = 1

    def paths(self) -> Iterator[Path]:
        """Their arrays; text and the rest lie beside, under other suffixes."""
        for number in range(self.count):
            if self.group == 1:
                yield part_path(self.folder, number)
            else:
                yield run_path(self.folder, number, self.group)


@dataclass(frozen=True)
class Bucket:
    """A task of stage 2: molecules with hashes low ≤ h < high.

    Args:
        number: of the bucket.
        low: lowest hash.
        high: end of the hashes.
        sources: what stage 1 left.
        policy: what is kept of a molecule.
        tokenizer: whose symbols are kept to; None for all symbols.
        notation: of the symbols.
        common_to: other notations that must be able to express a molecule.
        conditions: what stands before each molecule; None for nothing.
    """

    number: int
    low: int
    high: int
    sources: Sources
    policy: Policy
    tokenizer: AnyTokenizer | None = None
    notation: str = "selfies"
    common_to: tuple[str, ...] = ()
    conditions: ConditionRequest | None = None

    @property
    def path(self) -> Path:
        """Its array."""
        return bucket_path(self.sources.folder, self.number)


def molecule_hash(smiles: str) -> int:
    """Hash of a canonical SMILES, 64 bits: it orders the corpus and decides its split."""
    return text_hash(smiles)


def low_bits(index: np.ndarray) -> np.ndarray:
    """(n,) the half of the hashes that the order of the corpus does not depend on first; it makes the split.

    Args:
        index: of a part or a bucket.
    """
    return (index["hash"] & np.uint64(0xFFFFFFFF)).astype(np.int64)


def part_path(folder: Path, number: int) -> Path:
    """File of a part of stage 1; what belongs to it lies beside, under other suffixes."""
    return folder / f"part-{number:06d}.npy"


def run_path(folder: Path, number: int, group: int) -> Path:
    """File of a run of so many parts; what belongs to it lies beside, under other suffixes."""
    return folder / f"run-of-{group}-{number:06d}.npy"


def bucket_path(folder: Path, number: int) -> Path:
    """File of a bucket of stage 2; what belongs to it lies beside, under other suffixes."""
    return folder / f"bucket-{number:06d}.npy"


def standardize_chunk(chunk: Chunk) -> int:
    """Standardise a chunk and write its part sorted by hash (stage 1); returns the number of rows."""
    target = part_path(chunk.folder, chunk.number)
    if target.exists():
        return len(chunk.rows)
    kept: list[tuple[int, int, Molecule]] = []
    rejected: list[DroppedRow] = []
    for row, text, notation in chunk.rows:
        smiles = to_smiles(text, notation)
        if isinstance(smiles, Rejected):
            shown = "" if notation == "molblock" else text[:500]
            rejected.append([row, smiles.reason.value, shown, smiles.detail])
            continue
        result = standardize(smiles, chunk.policy)
        if isinstance(result, Rejected):
            rejected.append(
                [row, result.reason.value, smiles[:500], result.detail or _explain(result, smiles)]
            )
        elif chunk.exclude and (why := why_excluded(chunk.exclude, result.smiles)):
            rejected.append([row, Reason.EXCLUDED.value, result.smiles, why])
        else:
            kept.append((molecule_hash(result.smiles), row, result))
    kept.sort(key=lambda item: (item[0], item[2].smiles, item[1]))
    texts = [item[2].smiles.encode() for item in kept]
    index = np.zeros(len(kept), dtype=PART_DTYPE)
    index["hash"] = [item[0] for item in kept]
    index["row"] = [item[1] for item in kept]
    index["length"] = [len(text) for text in texts]
    index["start"] = np.cumsum(index["length"]) - index["length"]
    index["heavy"] = [item[2].heavy_atoms for item in kept]
    if target.exists():
        return len(chunk.rows)  # another process was faster
    _write_bytes(target.with_suffix(".smi"), b"".join(texts))
    write_dropped_rows(target.with_suffix(".dropped"), rejected)
    if chunk.numbers is not None:
        first = chunk.rows[0][0] if chunk.rows else 0  # rows of a chunk are numbered on
        write_array(target.with_suffix(".numbers.npy"), chunk.numbers[index["row"] - first])
    write_array(target, index)  # last: where it is, the chunk is complete
    return len(chunk.rows)


def _write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all: two processes may write the same one."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def _explain(rejected: Rejected, smiles: str) -> str:
    """The atom or character that a row was dropped for."""
    if rejected.reason is Reason.UNPARSABLE:
        return explain_unparsable(smiles)
    return explain_wildcard(smiles) if rejected.reason is Reason.WILDCARD else ""


def encode_bucket(bucket: Bucket) -> int:
    """Drop duplicates of a bucket and encode the rest (stage 2).

    Returns:
        The number of molecules seen; 0 where it was done already.
    """
    target = bucket.path
    if target.exists():
        return 0
    molecules = sorted(_members(bucket))
    vocabulary: dict[str, int] = {}
    index: list[tuple[int, int, int, int]] = []
    tokens = array("H")
    rejected: list[DroppedRow] = []
    previous, first = None, 0
    for value, smiles, row, heavy in molecules:
        if smiles == previous:
            rejected.append([row, Reason.DUPLICATE.value, smiles, f"of row {first}"])
            continue
        previous, first = smiles, row
        symbols = symbols_of(smiles, bucket.policy, bucket.notation, bucket.common_to)
        if isinstance(symbols, Rejected):
            rejected.append([row, symbols.reason.value, smiles, symbols.detail])
            continue
        if outside := _outside(symbols, bucket.tokenizer):
            rejected.append([row, Reason.UNKNOWN_SYMBOL.value, smiles, " ".join(sorted(outside))])
            continue
        tokens.extend([vocabulary.setdefault(symbol, len(vocabulary)) for symbol in symbols])
        index.append((value, row, len(symbols), heavy))
    if target.exists():
        return 0  # another process was faster
    if bucket.conditions is not None:
        _measure(bucket, molecules, {row for _, row, _, _ in index}, vocabulary)
    _write_bytes(target.with_suffix(".tokens"), np.array(tokens, dtype="<u2").tobytes())
    _write_bytes(target.with_suffix(".vocabulary"), json.dumps(list(vocabulary)).encode())
    write_dropped_rows(target.with_suffix(".dropped"), rejected)
    write_array(target, np.array(index, dtype=BUCKET_DTYPE))
    return len(molecules)


def _measure(
    bucket: Bucket, molecules: list[tuple[int, str, int, int]], kept: set[int], vocabulary: dict[str, int]
) -> None:
    """Write the conditions of the rows of a bucket that are kept; duplicates among the others count too."""
    assert bucket.conditions is not None
    columns = len(bucket.conditions.columns)
    numbers: dict[int, list[float]] = {}
    for path in bucket.sources.paths() if columns else ():
        where, part = _slice(bucket, path)
        values = np.load(path.with_suffix(".numbers.npy"), mmap_mode="r")[where].tolist()
        numbers.update(zip(part["row"].tolist(), values, strict=True))
    smiles = [text for _, text, row, _ in molecules if row in kept]
    every = [(text, row) for _, text, row, _ in molecules]
    measure_bucket(
        bucket.path,
        bucket.conditions,
        smiles,
        merge_rows(smiles, every, numbers, columns),
        lambda text: symbols_of(text, bucket.policy, bucket.notation),
        vocabulary,
        lambda symbol: not _outside([symbol], bucket.tokenizer),
    )


def _outside(symbols: list[str], tokenizer: AnyTokenizer | None) -> set[str]:
    """Symbols that a tokenizer lacks."""
    return set() if tokenizer is None else {s for s in symbols if tokenizer.symbol_id(s) is None}


def _slice(bucket: Bucket, path: Path) -> tuple[slice, np.ndarray]:
    """Where in a sorted array of stage 1 the hashes of a bucket lie, and these rows."""
    part = np.load(path, mmap_mode="r").view(np.ndarray)
    hashes = part["hash"]
    # Not np.searchsorted: it copies the column, and thousands of buckets ask thousands of parts.
    low = bisect_left(hashes, np.uint64(bucket.low))
    is_last = bucket.high >= 1 << 64
    high = len(part) if is_last else bisect_left(hashes, np.uint64(bucket.high), low)
    return slice(low, high), part[low:high]


def _members(bucket: Bucket) -> Iterator[tuple[int, str, int, int]]:
    """Hash, SMILES, row and heavy atoms of a bucket's molecules, one slice of every sorted part."""
    for path in bucket.sources.paths():
        _, part = _slice(bucket, path)
        if not len(part):
            continue
        first, last = part[0], part[-1]
        offset = int(first["start"])
        with open(path.with_suffix(".smi"), "rb") as file:
            file.seek(offset)
            text = file.read(int(last["start"]) + int(last["length"]) - offset)
        for value, row, start, length, heavy in part.tolist():
            begin = start - offset
            yield value, text[begin : begin + length].decode(), row, heavy
