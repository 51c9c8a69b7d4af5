"""Benchmark molecules in memory: which rows they stand in, their keys at every level, their fingerprints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

from chemscale.common.files import write_array
from chemscale.common.parallel import ordered_map
from chemscale.common.progress import ProgressBar
from chemscale.molecules.overlap.keys import Compared, Level, text_hash
from chemscale.molecules.overlap.neighbours import BitTable
from chemscale.molecules.overlap.sets import CHUNK, MoleculeSet, Rows
from chemscale.molecules.preparation.standardize import Rejected

MAX_ROWS = 10_000_000
"""Rows of all benchmarks together: they are held in memory, some hundred bytes each."""


class OverlapError(ValueError):
    """Sets that cannot be compared; the message names the one and the way out."""


@dataclass
class Benchmark:
    """One benchmark.

    Args:
        of: where its molecules are from.
        rows: running numbers of the rows that are molecules.
        molecules: place in ``Targets.smiles`` of each of them.
        refused: rows that are no molecules, by reason.
        refused_rows: their running numbers, reasons and details.
        sample: places of the distinct molecules whose neighbours are looked for.
    """

    of: MoleculeSet
    rows: list[int] = field(default_factory=list)
    molecules: list[int] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    refused_rows: list[tuple[int, str, str]] = field(default_factory=list)
    sample: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))

    @property
    def name(self) -> str:
        """As a person named it."""
        return self.of.name

    def distinct(self) -> np.ndarray:
        """Places of its distinct molecules, ascending."""
        return np.unique(np.array(self.molecules, np.int64))


@dataclass(frozen=True)
class Targets:
    """Distinct molecules of all benchmarks; u of them.

    Args:
        benchmarks: in order.
        smiles: canonical, of each.
        keys: (u, 4) uint64 hashes by level; 0 where there is none.
        formulas: of the parents (``Compared.formula``).
        sampled: (m,) places of those whose nearest neighbours are looked for, ascending.
        bits: fingerprints of these.
    """

    benchmarks: list[Benchmark]
    smiles: list[str]
    keys: np.ndarray
    formulas: frozenset[str]
    sampled: np.ndarray
    bits: BitTable

    @classmethod
    def read(
        cls,
        sets: Sequence[MoleculeSet],
        *,
        most: int,
        seed: int = 0,
        workers: int = 1,
        silent: bool = False,
        draw: bool = True,
    ) -> Targets:
        """Read benchmarks.

        Args:
            sets: of molecules.
            most: distinct molecules of each whose nearest neighbours are looked for, drawn at random.
            seed: of the draw.
            workers: processes.
            silent: show no progress.
            draw: whether a sample stands for a set that has more; else it is refused.

        Raises:
            OverlapError: one has no molecule, or more than `most` where none are drawn; or all have more than
                fit into memory.
            SourceError: a file is damaged.
        """
        known: dict[str, int] = {}
        described: list[tuple[tuple[int, ...], str]] = []
        benchmarks = []
        rows = 0
        for of in sets:
            benchmark = Benchmark(of)
            with ProgressBar(f"read {of.name}", of.total, "rows", silent=silent) as progress:
                for chunk in ordered_map(describe_chunk, of.chunks(), workers):
                    rows += len(chunk.numbers) + len(chunk.refused)
                    _add(benchmark, chunk, known, described)
                    progress.advance(len(set(chunk.numbers)) + len(chunk.refused))
                    if rows > MAX_ROWS:
                        raise OverlapError(
                            f"{of.name}: more than {MAX_ROWS:,} rows of benchmarks, or of sets of "
                            "data.exclude, which are held in memory. Name the smaller set as the benchmark, "
                            "compare its parts one after another, or exclude smaller sets."
                        )
            if not benchmark.molecules:
                reasons = ", ".join(f"{n:,} {why}" for why, n in benchmark.refused.most_common())
                raise OverlapError(f"{of.name}: no row of it is a molecule ({reasons or 'no row'}).")
            if not draw and (distinct := len(benchmark.distinct())) > most:
                raise OverlapError(
                    f"{of.name}: {distinct:,} distinct molecules, and a similarity is looked for among at "
                    f"most {most:,} of a set. Choose a level (data.exclude_level=parent) or smaller sets."
                )
            benchmarks.append(benchmark)
        keys = np.array([key for key, _ in described], np.uint64).reshape(len(described), len(Level))
        smiles = list(known)
        for number, benchmark in enumerate(benchmarks):
            benchmark.sample = draw_sample(benchmark.distinct(), keys[:, 0], most, seed + number)
        sampled = np.unique(np.concatenate([b.sample for b in benchmarks]))
        bits = BitTable.of(_fingerprints([smiles[i] for i in sampled.tolist()], workers, silent))
        formulas = frozenset(formula for _, formula in described)
        return cls(benchmarks, smiles, keys, formulas, sampled, bits)

    def save(self, folder: Path) -> None:
        """Write what workers look molecules up in.

        Args:
            folder: that exists.
        """
        for column, level in enumerate(Level):
            found = np.unique(self.keys[:, column])
            write_array(folder / f"{level.value}.npy", found[found > 0])
        (folder / "formulas.txt").write_text("\n".join(sorted(self.formulas)))
        self.bits.save(folder)


def _fingerprints(smiles: list[str], workers: int, silent: bool) -> list[np.ndarray]:
    chunks = (smiles[first : first + CHUNK] for first in range(0, len(smiles), CHUNK))
    found: list[np.ndarray] = []
    with ProgressBar("fingerprints", len(smiles), "molecules", silent=silent) as progress:
        for some in ordered_map(bits_of, chunks, workers if len(smiles) > CHUNK else 1):
            found += some
            progress.advance(len(some))
    return found


def bits_of(smiles: list[str]) -> list[np.ndarray]:
    """Numbers of the bits that are 1, of the fingerprint of each molecule.

    Args:
        smiles: canonical, of each.
    """
    return [np.array(Compared(text).bits, np.uint16) for text in smiles]


def draw_sample(distinct: np.ndarray, hashes: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Places of a random sample that depends on the molecules only, not on their rows, ascending.

    Args:
        distinct: (d,) places of the molecules.
        hashes: (u,) of the canonical SMILES of each place.
        most: of the sample.
        seed: of the draw.
    """
    if len(distinct) <= most:
        return distinct
    with np.errstate(over="ignore"):
        mixed = (hashes[distinct] ^ np.uint64(text_hash(f"sample {seed}"))) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(32)
    return np.sort(distinct[np.argsort(mixed, kind="stable")[:most]])


@dataclass(frozen=True)
class Chunk:
    """What is known of the molecules of one chunk.

    Args:
        numbers: running numbers of the rows that are molecules.
        smiles: canonical, of each.
        keys: hashes by level, of each.
        formulas: of each.
        refused: running number, reason and detail of the other rows.
    """

    numbers: list[int]
    smiles: list[str]
    keys: list[tuple[int, ...]]
    formulas: list[str]
    refused: list[tuple[int, str, str]]


def describe_chunk(rows: Rows) -> Chunk:
    """Keys of every molecule of a chunk.

    Args:
        rows: of it.
    """
    chunk = Chunk([], [], [], [], [])
    for number, smiles in rows.molecules():
        if isinstance(smiles, Rejected):
            chunk.refused.append((number, smiles.reason.value, smiles.detail))
            continue
        molecule = Compared(smiles)
        chunk.numbers.append(number)
        chunk.smiles.append(smiles)
        chunk.keys.append(tuple(molecule.key(level) for level in Level))
        chunk.formulas.append(molecule.formula)
    return chunk


def _add(
    benchmark: Benchmark,
    chunk: Chunk,
    known: dict[str, int],
    described: list[tuple[tuple[int, ...], str]],
) -> None:
    for number, smiles, key, formula in zip(
        chunk.numbers, chunk.smiles, chunk.keys, chunk.formulas, strict=True
    ):
        place = known.setdefault(smiles, len(known))
        if place == len(described):
            described.append((key, formula))
        benchmark.rows.append(number)
        benchmark.molecules.append(place)
    benchmark.refused.update(reason for _, reason, _ in chunk.refused)
    benchmark.refused_rows += chunk.refused


@dataclass(frozen=True)
class Lookup:
    """What ``Targets.save`` wrote, as a worker looks molecules up in it.

    Args:
        keys: (n,) sorted hashes of each level.
        formulas: of the parents.
        bits: fingerprints of the sampled molecules.
    """

    keys: dict[Level, np.ndarray]
    formulas: frozenset[str]
    bits: BitTable

    @classmethod
    def open(cls, folder: Path) -> Lookup:
        """Open it.

        Args:
            folder: that it was written to.
        """
        keys = {level: np.load(folder / f"{level.value}.npy", mmap_mode="r") for level in Level}
        formulas = frozenset((folder / "formulas.txt").read_text().split("\n"))
        return cls(keys, formulas, BitTable.open(folder))

    def find(self, level: Level, hashes: np.ndarray) -> np.ndarray:
        """Place of each hash among those of a level, (k,); -1 where it is not among them.

        Args:
            level: of the comparison.
            hashes: (k,) uint64.
        """
        known = self.keys[level]
        if not len(known):
            return np.full(len(hashes), -1, np.int64)
        places = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
        return np.where((known[places] == hashes) & (hashes > 0), places, -1)


@lru_cache(maxsize=2)
def lookup_in(folder: Path) -> Lookup:
    """The lookup of a folder, opened once in each process."""
    return Lookup.open(folder)
