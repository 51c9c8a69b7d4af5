"""The parallel stage of an index: canonical hashes of a chunk of rows, written whole or not at all."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from chemscale.common.files import atomic_write
from chemscale.molecules.corpus import Corpus, Split
from chemscale.molecules.preparation.notations import to_smiles
from chemscale.molecules.preparation.stages import molecule_hash
from chemscale.molecules.preparation.standardize import ANY_LENGTH, Molecule, Rejected, standardize

CHUNK = 20_000
"""Rows of a task: some seconds."""
SAMPLE = 200_000
"""Molecules whose SMILES an index keeps, those of the lowest hashes: a random sample of the distinct ones."""
SPARE = 4
"""A chunk keeps so many times its share of the sample, for rows that are no molecules or duplicates."""


@dataclass(frozen=True)
class RowsTask:
    """Rows of files.

    Args:
        number: of the chunk, from 0.
        rows: their running number, text and notation.
        folder: of the parts.
    """

    number: int
    rows: list[tuple[int, str, str]]
    folder: Path

    def smiles(self) -> Iterator[str | Rejected]:
        """SMILES of each, or why there is none."""
        return (to_smiles(text, notation) for _, text, notation in self.rows)


@dataclass(frozen=True)
class CorpusTask:
    """Molecules of a prepared corpus.

    Args:
        number: of the chunk, from 0.
        corpus: its folder.
        split: train or validation.
        rows: places of the first one and after the last one.
        folder: of the parts.
    """

    number: int
    corpus: Path
    split: str
    rows: tuple[int, int]
    folder: Path

    def smiles(self) -> Iterator[str]:
        """SMILES of each, decoded from its ids."""
        corpus, split = _opened(self.corpus, self.split)
        return (corpus.tokenizer.to_smiles(split.tokens(i).tolist()) for i in range(*self.rows))


@lru_cache(maxsize=2)
def _opened(path: Path, split: str) -> tuple[Corpus, Split]:
    corpus = Corpus.open(path)
    return corpus, getattr(corpus, split)


def part_path(folder: Path, number: int) -> Path:
    """File of a part."""
    return folder / f"part-{number:06d}.npz"


def hash_chunk(task: RowsTask | CorpusTask) -> int:
    """Write the part of a task, unless an earlier build left it; returns its number of rows."""
    target = part_path(task.folder, task.number)
    rows = len(task.rows) if isinstance(task, RowsTask) else task.rows[1] - task.rows[0]
    if target.exists():
        return rows
    refused: Counter[str] = Counter()
    found: dict[int, str] = {}
    for smiles in task.smiles():
        result = smiles if isinstance(smiles, Rejected) else standardize(smiles, ANY_LENGTH)
        if isinstance(result, Molecule):
            found[molecule_hash(result.smiles)] = result.smiles
        else:
            refused[result.reason.value] += 1
    hashes = np.array(sorted(found), dtype=np.uint64)
    limit = kept_below(task.number)
    texts = [found[int(h)] for h in hashes[: np.searchsorted(hashes, limit, side="right")]]
    buffer = io.BytesIO()
    np.savez(
        buffer,
        hashes=hashes,
        texts=np.frombuffer("\n".join(texts).encode(), dtype=np.uint8),
        reasons=np.frombuffer("\n".join(refused).encode(), dtype=np.uint8),
        refused=np.array(list(refused.values()), dtype=np.int64),
    )
    with atomic_write(target, "wb") as file:
        file.write(buffer.getvalue())
    return rows


def kept_below(number: int) -> np.uint64:
    """The highest hash whose SMILES a chunk keeps: what cannot be in the sample is not written.

    Args:
        number: of the chunk, which says how many rows came before it.
    """
    share = min(1.0, SPARE * SAMPLE / max(1, number * CHUNK))
    return np.uint64(min(int(share * 2.0**64), 2**64 - 1))
