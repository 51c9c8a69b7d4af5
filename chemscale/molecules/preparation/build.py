"""From files of SMILES to a corpus: byte-identical on any number of workers, resumable, in bounded memory."""

from __future__ import annotations

import collections
import csv
import gzip
import hashlib
import heapq
import io
import json
import logging
import platform
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rdkit
import selfies

from chemscale.common.files import atomic_path, write_json
from chemscale.common.progress import ProgressBar
from chemscale.molecules.corpus import MANIFEST, SCHEMA_VERSION, SPLITS, Corpus, CorpusError, sha256
from chemscale.molecules.preparation.parallel import ordered_map, worker_count
from chemscale.molecules.preparation.sources import read_chunks
from chemscale.molecules.preparation.stages import (
    Bucket,
    Chunk,
    bucket_path,
    encode_bucket,
    part_path,
    read_rejected,
    standardize_chunk,
)
from chemscale.molecules.preparation.standardize import Policy, Reason
from chemscale.molecules.tokenizers.tokenizer import SelfiesTokenizer

log = logging.getLogger(__name__)

CHUNK_ROWS = 4096
SHARD_TOKENS = 1 << 27
EXAMPLES = 5
BUCKET_BYTES = 4 << 20
"""Input text a bucket holds on average: a few hundred MB of memory for a worker at most."""


@dataclass(frozen=True)
class Request:
    """What decides a corpus."""

    files: tuple[Path, ...]
    policy: Policy
    smiles_column: str | int | None
    validation_fraction: float
    tokenizer: SelfiesTokenizer | None

    def __post_init__(self) -> None:
        if not 0 < self.validation_fraction < 1:
            raise CorpusError(
                f"data.validation_fraction={self.validation_fraction}: must lie between 0 and 1."
            )

    def content(self) -> dict[str, Any]:
        """Everything that decides the bytes of the corpus; no path but the file names."""
        return {
            "schema_version": SCHEMA_VERSION,
            "inputs": [{"file": f.name, "sha256": sha256(f), "bytes": f.stat().st_size} for f in self.files],
            "policy": self.policy.to_dict(),
            "smiles_column": self.smiles_column,
            "validation_fraction": self.validation_fraction,
            "tokenizer": self.tokenizer.hash if self.tokenizer else None,
            "tools": {
                "python": platform.python_version(),
                "rdkit": rdkit.__version__,
                "selfies": selfies.__version__,
            },
        }


def corpus_key(files: Sequence[Path], **options: Any) -> str:
    """Short hash of inputs, policies and tools; the same options as ``build_corpus``."""
    return _key(_request(files, **options).content())


def build_corpus(
    files: Sequence[Path], target: Path, *, workers: int | None = None, **options: Any
) -> Corpus:
    """Prepare a corpus in `target`, or open the one that is complete there.

    Args:
        files: CSV, TSV, SMI, TXT, JSONL or Parquet, plain or gzip.
        options: policy, smiles_column, validation_fraction, tokenizer (a vocabulary to keep to).
        workers: processes; None for one a core.

    Raises:
        SourceError: a file is not a file of SMILES.
        CorpusError: another corpus is in `target`, or too few molecules are left.
    """
    request = _request(files, **options)
    content = request.content()
    target = Path(target)
    if (target / MANIFEST).exists():
        corpus = Corpus.open(target)
        if corpus.manifest["key"] != _key(content):
            raise CorpusError(
                f"{target} holds another corpus (inputs or policies differ): choose another folder."
            )
        return corpus
    folder = target / ".build"
    _begin(folder, _key(content))
    processes = worker_count(workers)
    log.info("Preparing %s with %d processes …", target, processes)
    rows, parts = _standardize(request, folder, processes)
    buckets = _encode(request, folder, parts, processes)
    _finish(request, content, target, rows, parts, buckets)
    shutil.rmtree(folder)
    return Corpus.open(target)


def _request(files: Sequence[Path], **options: Any) -> Request:
    defaults = {"policy": Policy(), "smiles_column": None, "validation_fraction": 0.02, "tokenizer": None}
    return Request(files=tuple(Path(f) for f in files), **{**defaults, **options})


def _key(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def _begin(folder: Path, key: str) -> None:
    """Parts of an interrupted build are taken up if its key and its chunks are the same, else dropped."""
    mark, key = folder / "key", f"{key} {CHUNK_ROWS}"
    if folder.exists() and (not mark.exists() or mark.read_text() != key):
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    mark.write_text(key)


def _standardize(request: Request, folder: Path, workers: int) -> tuple[int, int]:
    """Stage 1 over all rows: (rows, parts)"""
    tasks = (
        Chunk(number, rows, request.policy, folder)
        for number, rows in read_chunks(request.files, request.smiles_column, CHUNK_ROWS)
    )
    rows = parts = 0
    with ProgressBar("standardise", None, "rows") as progress:
        for done in ordered_map(standardize_chunk, tasks, workers):
            rows, parts = rows + done, parts + 1
            progress.advance(done)
    return rows, parts


def _encode(request: Request, folder: Path, parts: int, workers: int) -> int:
    """Stage 2 over all buckets: their number."""
    size = sum(part_path(folder, n).with_suffix(".smi").stat().st_size for n in range(parts))
    buckets = 1 << max(4, (size // BUCKET_BYTES).bit_length())
    width = (1 << 64) // buckets
    tasks = (Bucket(n, n * width, (n + 1) * width, parts, request.policy, folder) for n in range(buckets))
    total = sum(len(np.load(part_path(folder, n), mmap_mode="r")) for n in range(parts))
    with ProgressBar("encode", total, "molecules") as progress:
        for done in ordered_map(encode_bucket, tasks, workers):
            progress.advance(done)
    return buckets


def _finish(
    request: Request, content: dict[str, Any], target: Path, rows: int, parts: int, buckets: int
) -> None:
    """Stage 3: one vocabulary, the shards, the list of dropped rows, and last the manifest."""
    folder = target / ".build"
    tokenizer = request.tokenizer or _tokenizer(folder, buckets, request.policy)
    limit = _validation_limit(folder, buckets, request.validation_fraction)
    writers = {split: ShardWriter(target, split) for split in SPLITS}
    unknown = folder / "unknown.dropped"
    with open(unknown, "w") as outside:
        for number in range(buckets):
            for row in _write_bucket(bucket_path(folder, number), tokenizer, limit, writers):
                outside.write(json.dumps(row) + "\n")
    shards = [shard for split in SPLITS for shard in writers[split].close()]
    lists = [part_path(folder, n).with_suffix(".dropped") for n in range(parts)]
    lists += [bucket_path(folder, n).with_suffix(".dropped") for n in range(buckets)]
    dropped, examples = _write_dropped(target / "dropped.csv.gz", lists, unknown)
    counts = {split: writers[split].molecules for split in SPLITS}
    kept = sum(counts.values())
    if min(counts.values()) == 0:
        shutil.rmtree(target)
        reasons = ", ".join(f"{n} {reason}" for reason, n in dropped.items()) or "none"
        raise CorpusError(
            f"Of {rows} rows {kept} molecules are left (dropped: {reasons}): too few to train on."
        )
    tokenizer.save(target)
    # Only what was made may be named by the hash: the same molecules in another file are the same corpus.
    identity = json.dumps([tokenizer.hash, [[s["split"], s["part"], s["sha256"]] for s in shards]])
    write_json(
        target / MANIFEST,
        {
            **content,
            "key": _key(content),
            "corpus_hash": hashlib.sha256(identity.encode()).hexdigest(),
            "counts": {"rows": rows, "kept": kept, **counts, "dropped": dropped},
            "examples": examples,
            "splits": {split: writers[split].totals() for split in SPLITS},
            "vocabulary": tokenizer.vocab_size,
            "shards": shards,
        },
    )


def _tokenizer(folder: Path, buckets: int, policy: Policy) -> SelfiesTokenizer:
    symbols: set[str] = set()
    for number in range(buckets):
        symbols.update(json.loads(bucket_path(folder, number).with_suffix(".vocabulary").read_text()))
    if not symbols:
        raise CorpusError("No molecule is left: every row was dropped. Look at the policies and the column.")
    return SelfiesTokenizer.from_symbols(symbols, stereo=policy.stereo == "keep")


def _low_bits(index: np.ndarray) -> np.ndarray:
    """The half of the hash that the order of the corpus does not depend on first."""
    return (index["hash"] & np.uint64(0xFFFFFFFF)).astype(np.int64)


def _validation_limit(folder: Path, buckets: int, fraction: float) -> int:
    """Molecules whose low bits are below this are held out; a tiny corpus holds out at least one."""
    limit = int(fraction * 2**32)
    least = min(
        (
            int(_low_bits(index).min())
            for n in range(buckets)
            if len(index := np.load(bucket_path(folder, n)))
        ),
        default=0,
    )
    return max(limit, least + 1)


def _write_bucket(
    path: Path, tokenizer: SelfiesTokenizer, limit: int, writers: dict[str, ShardWriter]
) -> Iterator[list]:
    """Append a bucket to the shards; yields the rows with a symbol outside a given vocabulary."""
    index = np.load(path)
    if not len(index):
        return
    symbols = json.loads(path.with_suffix(".vocabulary").read_text())
    known = {symbol: i + 4 for i, symbol in enumerate(tokenizer.symbols)}
    table = np.array([known.get(symbol, tokenizer.unk_id) for symbol in symbols], dtype="<u2")
    tokens = table[np.fromfile(path.with_suffix(".tokens"), dtype="<u2")]
    owner = np.repeat(np.arange(len(index)), index["length"])
    outside = np.zeros(len(index), dtype=bool)
    outside[owner[tokens == tokenizer.unk_id]] = True
    for row in sorted(index["row"][outside].tolist()):
        yield [row, Reason.UNKNOWN_SYMBOL.value, "", ""]
    held_out = _low_bits(index) < limit
    for split, mine in (("train", ~held_out & ~outside), ("validation", held_out & ~outside)):
        writers[split].add(tokens[mine[owner]], index["length"][mine], index["heavy"][mine])


class ShardWriter:
    """Token, length and heavy-atom files of one split, each shard of bounded size."""

    def __init__(self, target: Path, split: str):
        self.target, self.split = target, split
        self.molecules = self.tokens = self.heavy_atoms = self.longest = 0
        self._shard, self._in_shard = -1, 0
        self._files: dict[str, io.BufferedWriter] = {}
        self._paths: list[tuple[str, Path]] = []
        self._open()

    def _open(self) -> None:
        for file in self._files.values():
            file.close()
        self._shard, self._in_shard = self._shard + 1, 0
        for part in ("tokens", "lengths", "heavy_atoms"):
            path = self.target / f"{self.split}-{part.replace('_', '-')}-{self._shard:05d}.bin"
            self._files[part] = open(path, "wb")  # noqa: SIM115 (until close)
            self._paths.append((part, path))

    def add(self, tokens: np.ndarray, lengths: np.ndarray, heavy_atoms: np.ndarray) -> None:
        if self._in_shard and self._in_shard + len(tokens) > SHARD_TOKENS:
            self._open()
        for part, values in (("tokens", tokens), ("lengths", lengths), ("heavy_atoms", heavy_atoms)):
            self._files[part].write(values.astype("<u2").tobytes())
        self._in_shard += len(tokens)
        self.molecules += len(lengths)
        self.tokens += len(tokens)
        self.heavy_atoms += int(heavy_atoms.sum())
        self.longest = max(self.longest, int(lengths.max(initial=0)))

    def close(self) -> list[dict[str, Any]]:
        """What the manifest says of each file."""
        for file in self._files.values():
            file.close()
        return [
            {
                "file": path.name,
                "split": self.split,
                "part": part,
                "bytes": path.stat().st_size,
                "sha256": sha256(path),
            }
            for part, path in self._paths
        ]

    def totals(self) -> dict[str, int]:
        return {
            "molecules": self.molecules,
            "symbols": self.tokens,
            "heavy_atoms": self.heavy_atoms,
            "longest": self.longest,
        }


def _write_dropped(
    path: Path, lists: list[Path], unknown: Path
) -> tuple[dict[str, int], dict[str, list[dict[str, Any]]]]:
    """All dropped rows by row number, and their counts and first examples by reason."""
    counts: collections.Counter[str] = collections.Counter()
    examples: dict[str, list[dict[str, Any]]] = {}
    unknown_rows = iter(sorted(read_rejected(unknown)))
    # No time stamp in the gzip header: the same rows give the same bytes.
    with (
        atomic_path(path) as temporary,
        open(temporary, "wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed,
        io.TextIOWrapper(packed, newline="") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(["row", "reason", "smiles", "detail"])
        for row in heapq.merge(*(read_rejected(p) for p in lists), unknown_rows):
            writer.writerow(row)
            counts[row[1]] += 1
            shown = examples.setdefault(row[1], [])
            if len(shown) < EXAMPLES:
                shown.append({"row": row[0], "smiles": row[2], "detail": row[3]})
    return dict(sorted(counts.items())), dict(sorted(examples.items()))
