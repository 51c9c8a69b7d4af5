"""Corpora of any size from the molecules of a small one, written as shards without chemistry."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from chemscale.molecules.corpus import MANIFEST, SPLITS, Corpus, corpus_hash

TILE = 1 << 20
"""Molecules that are drawn; a larger corpus repeats them."""
SHARD = 3 << 20
"""Molecules of a shard: about ``SHARD_TOKENS`` of tokens."""


def repeated(
    corpus: Corpus,
    target: Path,
    molecules: dict[str, int],
    *,
    key: str | None = None,
    shard: int = SHARD,
    sparse: bool = False,
) -> Path:
    """Write a corpus of molecules that are drawn from another one, with replacement.

    Args:
        corpus: the small one.
        target: folder that is made.
        molecules: of each split.
        key: of the manifest; None for that of `corpus`.
        shard: molecules of a shard.
        sparse: tokens and heavy atoms are holes in files of the right size, which take no disk; their hashes
            in the manifest are made up.

    Returns:
        `target`.
    """
    target.mkdir(parents=True)
    listed = {s["file"] for s in corpus.manifest["shards"]}
    for file in corpus.path.iterdir():
        if file.is_file() and file.name not in listed and not file.name.startswith("."):
            shutil.copy(file, target)
    shards, totals = [], {}
    for split in SPLITS:
        tile = _drawn(getattr(corpus, split), min(TILE, molecules[split]))
        totals[split] = 0
        for number, first in enumerate(range(0, molecules[split], shard)):
            rows = min(shard, molecules[split] - first)
            for part, (values, sizes) in tile.items():
                file = target / f"{split}-{part.replace('_', '-')}-{number:05d}.bin"
                hollow = sparse and part in ("tokens", "heavy_atoms")
                about = _write(file, values, sizes, rows, hollow)
                shards.append({"file": file.name, "split": split, "part": part, **about})
                totals[split] += about["bytes"] // 2 if part == "tokens" else 0
    manifest = dict(corpus.manifest)
    manifest["counts"] = manifest["counts"] | molecules
    manifest["splits"] = {
        split: manifest["splits"][split] | {"molecules": molecules[split], "symbols": totals[split]}
        for split in SPLITS
    }
    manifest |= {"shards": shards, "corpus_hash": corpus_hash(corpus.tokenizer, shards)}
    manifest["key"] = key or manifest["key"]
    (target / MANIFEST).write_text(json.dumps(manifest))
    return target


def _drawn(split: Any, rows: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Values of each part of the files of a split, and how many each molecule has."""
    chosen = np.random.default_rng(0).integers(0, len(split), rows)
    one = np.ones(rows, np.int64)
    tokens, lengths = split.gather(chosen)
    found = {"tokens": (tokens, lengths), "lengths": (lengths, one)}
    found["heavy_atoms"] = (split.heavy_atoms[chosen], one)
    if split.prefixes is not None:
        ids, sizes = split.prefixes.gather(chosen)
        found |= {"prefixes": (ids, sizes), "prefix_lengths": (sizes, one)}
    return {part: (values.astype("<u2"), sizes) for part, (values, sizes) in found.items()}


def _write(file: Path, values: np.ndarray, sizes: np.ndarray, rows: int, hollow: bool) -> dict[str, Any]:
    digest = hashlib.sha256(file.name.encode() if hollow else b"")
    size = 0
    with open(file, "wb") as out:
        for content in _content(values, sizes, rows):
            size += content.nbytes
            if not hollow:
                digest.update(content)
                out.write(content)
    if hollow:
        os.truncate(file, size)
    return {"bytes": size, "sha256": digest.hexdigest()}


def _content(values: np.ndarray, sizes: np.ndarray, rows: int) -> Iterator[memoryview]:
    """The rows of a shard: the tile again and again, and the part of it that is left."""
    whole, rest = divmod(rows, len(sizes))
    for _ in range(whole):
        yield memoryview(values.view("u1"))
    yield memoryview(values[: int(sizes[:rest].sum())].view("u1"))
