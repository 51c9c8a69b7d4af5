"""Audit of a vocabulary: how often each symbol of a corpus occurs, and which a model can hardly learn."""

from __future__ import annotations

import collections
import csv
import gzip
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np

from chemscale.common.files import atomic_path
from chemscale.common.progress import ProgressBar
from chemscale.molecules.corpus import Corpus, Split
from chemscale.molecules.preparation.standardize import Reason

VOCABULARY_FILE = "vocabulary.csv"
RARE = 10
"""Training molecules below which a symbol is called rare."""
AT_ONCE = 1 << 23
"""Pairs of a molecule and a symbol that are marked together: bytes."""
SHOWN = 8
"""Symbols that a line names."""


@dataclass(frozen=True)
class SymbolCount:
    """How often a symbol occurs.

    Args:
        id: its id.
        symbol: its text.
        training: occurrences in training molecules.
        training_molecules: of them that have it.
        validation: occurrences in held-out molecules.
        validation_molecules: of them that have it.
    """

    id: int
    symbol: str
    training: int
    training_molecules: int
    validation: int
    validation_molecules: int


HEADER = [field.name for field in fields(SymbolCount)]


def count_symbols(corpus: Corpus) -> list[SymbolCount]:
    """Occurrences of every symbol of a corpus's tokenizer, in the order of ids; specials, word pieces of
    published vocabularies and tokens of conditions are left out.

    Args:
        corpus: prepared; its shards are read once, in bounded memory.
    """
    tokenizer = corpus.tokenizer
    symbols = set(tokenizer.symbols)
    with ProgressBar("symbols", len(corpus.train) + len(corpus.validation), "molecules") as progress:
        counts = [
            counted
            for split in (corpus.train, corpus.validation)
            for counted in _count(split, tokenizer.vocab_size, progress)
        ]
    return [
        SymbolCount(i, tokenizer.token(i), *(int(column[i]) for column in counts))
        for i in range(tokenizer.vocab_size)
        if tokenizer.token(i) in symbols
    ]


def _count(split: Split, size: int, progress: ProgressBar) -> tuple[np.ndarray, np.ndarray]:
    """(V,) occurrences of each id in a split, and (V,) molecules that have it."""
    occurrences, molecules = np.zeros(size, dtype=np.int64), np.zeros(size, dtype=np.int64)
    at_once = max(1, AT_ONCE // size)
    for first in range(0, len(split), at_once):
        tokens, lengths = split.gather(np.arange(first, min(first + at_once, len(split))))
        has = np.zeros((len(lengths), size), dtype=bool)
        has[np.repeat(np.arange(len(lengths)), lengths), tokens] = True
        occurrences += np.bincount(tokens, minlength=size)
        molecules += np.count_nonzero(has, axis=0)
        split.let_go()
        progress.advance(len(lengths))
    return occurrences, molecules


def audit_vocabulary(corpus: Corpus) -> list[SymbolCount]:
    """Counts of every symbol, kept as ``vocabulary.csv`` beside the manifest; read from there if it is there.

    Args:
        corpus: prepared.
    """
    path = corpus.path / VOCABULARY_FILE
    if path.is_file() and (kept := _read(path)) is not None:
        return kept
    found = count_symbols(corpus)
    # Finished data may lie where nothing can be written: then they are counted again each time.
    with (
        suppress(OSError),
        atomic_path(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(HEADER)
        writer.writerows(map(astuple, found))
    return found


def _read(path: Path) -> list[SymbolCount] | None:
    """Counts as they were kept; None where the file is not what was written."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            header, *rows = csv.reader(file)
        found = [SymbolCount(int(i), symbol, *map(int, counts)) for i, symbol, *counts in rows]
    except (ValueError, TypeError, csv.Error):
        return None
    return found if header == HEADER else None


def dropped_symbols(corpus: Corpus) -> dict[str, int]:
    """Symbols for which molecules were dropped, outside a given vocabulary, and how many; most first.

    Args:
        corpus: prepared.
    """
    reason = Reason.UNKNOWN_SYMBOL.value
    if reason not in corpus.manifest["counts"]["dropped"]:
        return {}
    counts: collections.Counter[str] = collections.Counter()
    with gzip.open(corpus.path / "dropped.csv.gz", "rt", newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["reason"] == reason:
                counts.update(row["detail"].split(" "))
    return dict(counts.most_common())


def describe_vocabulary(corpus: Corpus, counts: Sequence[SymbolCount]) -> list[str]:
    """What is to be said of a vocabulary before anything is trained on it.

    Args:
        corpus: whose vocabulary it is.
        counts: as ``audit_vocabulary`` gives them.
    """
    title = corpus.tokenizer.representation.title
    rarest = sorted(counts, key=lambda c: c.training_molecules)
    rare = {c.symbol: c.training_molecules for c in rarest if 0 < c.training_molecules < RARE}
    unseen = {c.symbol: c.validation_molecules for c in counts if not c.training and c.validation}
    absent = sum(not c.training and not c.validation for c in counts)
    kept = corpus.path / VOCABULARY_FILE
    where = f"; their counts: {kept}" if kept.is_file() else ""
    lines = [f"Vocabulary: {len(counts)} symbols of {title}{where}"]
    if rare:
        lines.append(f"  {len(rare)} in fewer than {RARE} training molecules: {_listed(rare)}")
    if unseen:
        lines.append(f"  {len(unseen)} in held-out molecules only, never learnt: {_listed(unseen)}")
    if absent:
        lines.append(f"  {absent} of the given vocabulary in no molecule here")
    if outside := dropped_symbols(corpus):
        lines.append(f"  outside the given vocabulary, by dropped molecules: {_listed(outside)}")
    return lines


def _listed(counts: Mapping[str, int]) -> str:
    """The first symbols with their counts."""
    more = f" and {len(counts) - SHOWN} more" if len(counts) > SHOWN else ""
    return ", ".join(f"{symbol} ({number:,})" for symbol, number in list(counts.items())[:SHOWN]) + more
