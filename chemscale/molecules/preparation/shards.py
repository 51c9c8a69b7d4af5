"""The token shards of a corpus: what is held out, and the files that molecules are appended to."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from chemscale.common.progress import ProgressBar
from chemscale.molecules.corpus import sha256
from chemscale.molecules.preparation.conditions.binning import bucket_prefixes
from chemscale.molecules.preparation.stages import bucket_path, low_bits
from chemscale.molecules.tokenizers.conditioned import ConditionedTokenizer
from chemscale.molecules.tokenizers.opening import AnyTokenizer

SHARD_TOKENS = 1 << 27
"""Tokens of a shard at most, unless one bucket has more."""
PREFIX_PARTS = ("prefixes", "prefix_lengths")
"""Files of a corpus with conditions: ids that stand before molecules, and how many each has."""


def validation_limit(folder: Path, buckets: int, fraction: float) -> int:
    """Low bits of the hash below which molecules are held out; a tiny corpus holds out at least one.

    Args:
        folder: of the build.
        buckets: number of them.
        fraction: share of molecules to hold out.
    """
    limit = int(fraction * 2**32)
    smallest = min(
        (int(low_bits(index).min()) for n in range(buckets) if len(index := np.load(bucket_path(folder, n)))),
        default=0,
    )
    return max(limit, smallest + 1)


def write_bucket(path: Path, tokenizer: AnyTokenizer, limit: int, writers: dict[str, ShardWriter]) -> None:
    """Append a bucket to the shards.

    Args:
        path: array of the bucket.
        tokenizer: the vocabulary of the corpus, which has every symbol of the bucket.
        limit: low bits of the hash below which a molecule is held out.
        writers: of each split.
    """
    index = np.load(path)
    if not len(index):
        return
    symbols = json.loads(path.with_suffix(".vocabulary").read_text())
    table = np.array([tokenizer.symbol_id(symbol) for symbol in symbols], dtype="<u2")
    tokens = table[np.fromfile(path.with_suffix(".tokens"), dtype="<u2")]
    owner = np.repeat(np.arange(len(index)), index["length"])
    held_out = low_bits(index) < limit
    parts = (("train", ~held_out), ("validation", held_out))
    for split, mine in parts:
        writers[split].add(tokens[mine[owner]], index["length"][mine], index["heavy"][mine])
    if isinstance(tokenizer, ConditionedTokenizer):
        ids, sizes = bucket_prefixes(path, table, tokenizer)
        for split, mine in parts:
            writers[split].add_prefixes(ids[np.repeat(mine, sizes)], sizes[mine])


class ShardWriter:
    """Token, length and heavy-atom files of one split, each shard of bounded size.

    Args:
        target: folder of the corpus.
        split: its name.
        prefixes: whether files of what stands before molecules lie beside.
    """

    def __init__(self, target: Path, split: str, *, prefixes: bool = False):
        self.target, self.split = target, split
        self._parts = ("tokens", "lengths", "heavy_atoms", *(PREFIX_PARTS if prefixes else ()))
        self.molecules = self.tokens = self.heavy_atoms = self.longest = 0
        self._shard, self._in_shard = -1, 0
        self._files: dict[str, io.BufferedWriter] = {}
        self._paths: list[tuple[str, Path]] = []
        self._open()

    def _open(self) -> None:
        for file in self._files.values():
            file.close()
        self._shard, self._in_shard = self._shard + 1, 0
        for part in self._parts:
            path = self.target / f"{self.split}-{part.replace('_', '-')}-{self._shard:05d}.bin"
            self._files[part] = open(path, "wb")  # noqa: SIM115 (until close)
            self._paths.append((part, path))

    def add(self, tokens: np.ndarray, lengths: np.ndarray, heavy_atoms: np.ndarray) -> None:
        """Append molecules.

        Args:
            tokens: ids of all, one molecule after another.
            lengths: (n,) symbols of each.
            heavy_atoms: (n,) of each.
        """
        if self._in_shard and self._in_shard + len(tokens) > SHARD_TOKENS:
            self._open()
        for part, values in (("tokens", tokens), ("lengths", lengths), ("heavy_atoms", heavy_atoms)):
            self._files[part].write(values.astype("<u2").tobytes())
        self._in_shard += len(tokens)
        self.molecules += len(lengths)
        self.tokens += len(tokens)
        self.heavy_atoms += int(heavy_atoms.sum())
        self.longest = max(self.longest, int(lengths.max(initial=0)))

    def add_prefixes(self, ids: np.ndarray, lengths: np.ndarray) -> None:
        """Append what stands before the molecules that were appended last.

        Args:
            ids: of all, one prefix after another.
            lengths: (n,) ids of each.
        """
        for part, values in zip(PREFIX_PARTS, (ids, lengths), strict=True):
            self._files[part].write(values.astype("<u2").tobytes())

    def close(self) -> list[dict[str, Any]]:
        """Close the files and describe each for the manifest."""
        for file in self._files.values():
            file.close()
        found = []
        with ProgressBar(f"hashes of {self.split}", len(self._paths), "files") as progress:
            for part, path in self._paths:
                of = {"file": path.name, "split": self.split, "part": part}
                found.append({**of, "bytes": path.stat().st_size, "sha256": sha256(path)})
                progress.advance(1)
        return found

    def totals(self) -> dict[str, int]:
        """Counts of the split, for the manifest."""
        return {
            "molecules": self.molecules,
            "symbols": self.tokens,
            "heavy_atoms": self.heavy_atoms,
            "longest": self.longest,
        }
