"""Training molecules that stream by: what one chunk of them has in common with the benchmarks."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from chemscale.molecules.overlap.keys import Compared, Level
from chemscale.molecules.overlap.neighbours import Nearest
from chemscale.molecules.overlap.sets import Rows
from chemscale.molecules.overlap.targets import Lookup, lookup_in
from chemscale.molecules.preparation.standardize import Rejected

OF_PARENTS = (Level.CONNECTIVITY, Level.PARENT)
"""Levels at which only molecules of one formula can agree."""


@dataclass(frozen=True)
class Task:
    """A chunk of training rows.

    Args:
        number: of the chunk, from 0.
        rows: of it.
        lookup: folder of what they are looked up in.
        best: (m,) similarities that neighbours must exceed, by column of the table of bits.
    """

    number: int
    rows: Rows
    lookup: Path
    best: np.ndarray


@dataclass
class Hit:
    """Training molecules that share a key.

    Args:
        count: how many rows.
        row: running number of the first one.
        smiles: canonical, of that one.
    """

    count: int
    row: int
    smiles: str


@dataclass
class Result:
    """What a chunk has in common with the benchmarks.

    Args:
        rows: of the chunk.
        refused: rows that are no molecules, by reason.
        hits: by level, of each key by its place in the lookup.
        agreeing: rows that agree with a benchmark molecule at a level or a stricter one, by level.
        columns: of the table of bits for which a nearer neighbour was found.
        similar: similarity of these.
        nearest: running number and canonical SMILES of these neighbours.
    """

    rows: int
    refused: Counter[str]
    hits: dict[Level, dict[int, Hit]]
    agreeing: Counter[Level]
    columns: np.ndarray
    similar: np.ndarray
    nearest: list[tuple[int, str]]


@dataclass
class _Keys:
    """Hashes of one level, and the places of their molecules in the chunk."""

    hashes: list[int] = field(default_factory=list)
    places: list[int] = field(default_factory=list)

    def add(self, value: int, place: int) -> None:
        self.hashes.append(value)
        self.places.append(place)


def compare_chunk(task: Task) -> Result:
    """Look the molecules of a chunk up at every level, and among the nearest neighbours."""
    lookup = lookup_in(task.lookup)
    nearest = Nearest(lookup.bits, task.best)
    refused: Counter[str] = Counter()
    numbers: list[int] = []
    texts: list[str] = []
    keys = {level: _Keys() for level in Level}
    for number, smiles in task.rows.molecules():
        if isinstance(smiles, Rejected):
            refused[smiles.reason.value] += 1
            continue
        molecule, place = Compared(smiles), len(numbers)
        numbers.append(number)
        texts.append(smiles)
        for level in (Level.IDENTICAL, Level.SCAFFOLD):
            keys[level].add(molecule.key(level), place)
        if molecule.formula in lookup.formulas:
            for level in OF_PARENTS:
                keys[level].add(molecule.key(level), place)
        if len(lookup.bits):
            nearest.add(molecule.bits, place)
    hits, agreeing = _looked_up(lookup, keys, numbers, texts)
    columns = np.flatnonzero(nearest.row >= 0)
    neighbours = [(numbers[i], texts[i]) for i in nearest.row[columns].tolist()]
    return Result(len(task.rows), refused, hits, agreeing, columns, nearest.best[columns], neighbours)


def _looked_up(
    lookup: Lookup, keys: dict[Level, _Keys], numbers: list[int], texts: list[str]
) -> tuple[dict[Level, dict[int, Hit]], Counter[Level]]:
    """Hits of every level, and how many molecules agree at it or at a stricter one."""
    hits: dict[Level, dict[int, Hit]] = {}
    agreeing: Counter[Level] = Counter()
    known = np.zeros(len(numbers), bool)
    for level in Level:
        found: dict[int, Hit] = {}
        places = lookup.find(level, np.array(keys[level].hashes, np.uint64))
        for i in np.flatnonzero(places >= 0).tolist():
            key, molecule = int(places[i]), keys[level].places[i]
            known[molecule] = True
            if key in found:
                found[key].count += 1
            else:
                found[key] = Hit(1, numbers[molecule], texts[molecule])
        hits[level] = found
        agreeing[level] = int(known.sum())
    return hits, agreeing
