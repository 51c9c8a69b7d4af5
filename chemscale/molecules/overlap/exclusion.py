"""Molecules of other sets that a corpus is made without: a test on one molecule, whatever its row."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from chemscale.common.files import atomic_path, write_array, write_json
from chemscale.molecules.overlap.keys import Compared, Level
from chemscale.molecules.overlap.neighbours import BitTable
from chemscale.molecules.overlap.sets import CHUNK, MoleculeSet, Rows
from chemscale.molecules.overlap.targets import Benchmark, OverlapError, Targets
from chemscale.molecules.preparation.standardize import (
    MAX_SYMBOLS,
    Molecule,
    Policy,
    Rejected,
    standardize,
)

log = logging.getLogger(__name__)

VERSION = 2
"""Raised when the same sets would exclude other molecules: it is part of the key of a corpus."""
LEAST_SIMILARITY = 0.3
"""Below it half of all molecules of a kind are alike."""
DONE = "about.json"


@dataclass(frozen=True)
class Exclusion:
    """Sets whose molecules a corpus is made without.

    Args:
        sets: of molecules.
        level: identical | connectivity | parent | scaffold, or a Tanimoto similarity of ECFP4 from which on a
            molecule is left out too, beside those of the same parent.

    Raises:
        OverlapError: there is no such level.
    """

    sets: tuple[MoleculeSet, ...]
    level: Level | float = Level.PARENT

    def __post_init__(self) -> None:
        if isinstance(self.level, Level):
            return
        if isinstance(self.level, bool) or not isinstance(self.level, int | float):
            raise OverlapError(
                f"data.exclude_level={self.level}: choose {', '.join(level.value for level in Level)}, or a "
                "similarity such as 0.9."
            )
        if not LEAST_SIMILARITY <= self.level <= 1:
            raise OverlapError(
                f"data.exclude_level={self.level}: a similarity lies between {LEAST_SIMILARITY} and 1."
            )

    @classmethod
    def of(cls, sets: tuple[MoleculeSet, ...], level: str | int | float) -> Exclusion:
        """What a person asked for.

        Args:
            sets: of molecules.
            level: name of a level, or a similarity.

        Raises:
            OverlapError: there is no such level.
        """
        known: dict[Any, Any] = {each.value: each for each in Level}
        return cls(sets, known.get(level, level))

    @property
    def levels(self) -> list[Level]:
        """At which agreement leaves a molecule out."""
        last = self.level if isinstance(self.level, Level) else Level.PARENT
        return list(Level)[: list(Level).index(last) + 1]

    def content(self) -> dict[str, Any]:
        """What decides which molecules are left out."""
        level = self.level.value if isinstance(self.level, Level) else float(self.level)
        return {"version": VERSION, "level": level, "sets": [each.content() for each in self.sets]}

    def write(self, folder: Path, policy: Policy, workers: int) -> None:
        """Write what ``why_excluded`` looks molecules up in, unless it is there.

        A policy changes molecules: those of the sets are compared as they are and as it would make them.

        Args:
            folder: that is written to.
            policy: of the corpus.
            workers: processes.

        Raises:
            OverlapError: a set has no molecule, or too many for a similarity.
            SourceError: a file is damaged.
        """
        if is_written(folder):
            return
        folder.mkdir(parents=True, exist_ok=True)
        similar = not isinstance(self.level, Level)
        free = replace(policy, max_symbols=MAX_SYMBOLS, max_heavy_atoms=None)
        sets: list[Any] = [_UnderPolicy(each, free) for each in self.sets]
        targets = Targets.read(sets, most=MOST if similar else 0, workers=workers, draw=not similar)
        if is_written(folder):
            return  # another process was faster: whoever reads it keeps its files
        for benchmark in targets.benchmarks:
            _warn_of_refused(benchmark)
        first, names = self._first_places(targets)
        for column, level in enumerate(Level):
            keys, at = np.unique(targets.keys[:, column], return_index=True)
            kept = keys > 0
            write_array(folder / f"{level.value}.npy", keys[kept])
            write_array(folder / f"{level.value}-place.npy", first[at[kept]])
        with atomic_path(folder / "formulas.txt") as temporary:
            temporary.write_text("\n".join(sorted(targets.formulas)))
        targets.bits.save(folder)
        write_array(folder / "sampled-place.npy", first[targets.sampled[targets.bits.order]])
        about = {
            "names": names,
            "levels": [level.value for level in self.levels],
            "similarity": float(self.level) if similar else None,
        }
        write_json(folder / DONE, about)  # last: where it is, the rest is complete

    def _first_places(self, targets: Targets) -> tuple[np.ndarray, list[str]]:
        """File (by number) and line that each distinct molecule stands in first, (u, 2); the files."""
        first = np.full((len(targets.smiles), 2), -1, np.int64)
        names: dict[tuple[str, str], int] = {}
        for of, benchmark in zip(self.sets, targets.benchmarks, strict=True):
            for row, place in zip(benchmark.rows, benchmark.molecules, strict=True):
                if first[place, 0] < 0:
                    name, line = of.place(row)
                    first[place] = names.setdefault((of.name, name), len(names)), line
        times = Counter(name for _, name in names)
        return first, [name if times[name] == 1 else f"{name} of {of}" for of, name in names]


def _warn_of_refused(benchmark: Benchmark) -> None:
    refused = benchmark.refused
    if refused:
        log.warning(
            "%s: rows that are no molecules leave out nothing: %s; the first is %s, line %d.",
            benchmark.name,
            ", ".join(f"{n:,} {why}" for why, n in refused.most_common()),
            *benchmark.of.place(benchmark.refused_rows[0][0]),
        )


MOST = 1_000_000
"""Distinct molecules of a set that others can be compared with by similarity: 2 kB each."""


@dataclass(frozen=True)
class _VariantRows:
    """Rows whose molecules are given as they are, and as a policy makes them where that differs."""

    rows: Rows
    policy: Policy

    def molecules(self) -> Iterator[tuple[int, str | Rejected]]:
        for number, smiles in self.rows.molecules():
            yield number, smiles
            if not isinstance(smiles, Rejected):
                result = standardize(smiles, self.policy)
                if isinstance(result, Molecule) and result.smiles != smiles:
                    yield number, result.smiles


class _UnderPolicy:
    """A set of molecules, each as it is and as a policy makes it."""

    def __init__(self, of: MoleculeSet, policy: Policy):
        self.of, self.policy, self.name, self.total = of, policy, of.name, of.total

    def chunks(self, size: int = CHUNK) -> Iterator[_VariantRows]:
        for rows in self.of.chunks(size):
            yield _VariantRows(rows, self.policy)

    def place(self, number: int) -> tuple[str, int]:
        return self.of.place(number)


class Excluded:
    """What ``Exclusion.write`` wrote, as a worker looks molecules up in it.

    Args:
        folder: that it was written to.
    """

    def __init__(self, folder: Path):
        about = json.loads((folder / DONE).read_text())
        self.names: list[str] = about["names"]
        self.levels = [Level(name) for name in about["levels"]]
        self.similarity: float | None = about["similarity"]
        self.formulas = frozenset((folder / "formulas.txt").read_text().split("\n"))
        self._keys = {level: np.load(folder / f"{level.value}.npy", mmap_mode="r") for level in self.levels}
        self._places = {
            level: np.load(folder / f"{level.value}-place.npy", mmap_mode="r") for level in self.levels
        }
        self._bits = BitTable.open(folder) if self.similarity is not None else None
        self._sampled = np.load(folder / "sampled-place.npy", mmap_mode="r")

    def why(self, smiles: str) -> str:
        """Why a molecule is left out, and the file and line of the one it is like; empty where it stays.

        Args:
            smiles: canonical.
        """
        molecule = Compared(smiles)
        for level in self.levels:
            if level in (Level.CONNECTIVITY, Level.PARENT) and molecule.formula not in self.formulas:
                continue
            key, known = np.uint64(molecule.key(level)), self._keys[level]
            at = int(np.searchsorted(known, key))
            if key and at < len(known) and known[at] == key:
                return f"{level.value}: {self._where(self._places[level][at])}"
        return self._why_similar(molecule.bits) if self._bits is not None else ""

    def _why_similar(self, bits: list[int]) -> str:
        assert self._bits is not None
        assert self.similarity is not None
        # At least so many bits, and at most: the smaller number over the larger is at least the similarity.
        low = int(np.searchsorted(self._bits.counts, len(bits) * self.similarity - 1e-6, side="left"))
        high = int(np.searchsorted(self._bits.counts, len(bits) / self.similarity + 1e-6, side="right"))
        if low >= high:
            return ""
        common = self._bits.common(bits, slice(low, high)).astype(np.int64)
        either = self._bits.counts[low:high] + len(bits) - common
        similar = np.where(either > 0, common / np.maximum(either, 1), 1.0)
        best = int(similar.argmax())
        if similar[best] < self.similarity:
            return ""
        return f"similarity {similar[best]:.2f}: {self._where(self._sampled[low + best])}"

    def _where(self, place: np.ndarray) -> str:
        return f"{self.names[int(place[0])]}:{int(place[1])}"


def is_written(folder: Path) -> bool:
    """Whether ``Exclusion.write`` has written all of a folder."""
    return (folder / DONE).exists()


@lru_cache(maxsize=1)
def _opened(folder: Path, made: int) -> Excluded:
    return Excluded(folder)


def why_excluded(folder: Path, smiles: str) -> str:
    """Why a molecule is left out of a corpus, with the file and line of the other; empty where it stays.

    Args:
        folder: that ``Exclusion.write`` wrote.
        smiles: canonical, as the policy of the corpus makes it.
    """
    return _opened(folder, (folder / DONE).stat().st_mtime_ns).why(smiles)
