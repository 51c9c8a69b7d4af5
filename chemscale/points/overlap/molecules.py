"""What a training set and benchmarks of molecules have in common, in numbers, rows and examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chemscale.molecules.metrics.intervals import share
from chemscale.molecules.overlap.keys import BITS, MEANINGS, RADIUS, Level
from chemscale.molecules.overlap.search import Found
from chemscale.molecules.overlap.sets import MoleculeSet
from chemscale.molecules.overlap.stream import Hit
from chemscale.molecules.overlap.targets import Benchmark, Targets

SCHEMA_VERSION = 1
THRESHOLDS = (0.9, 0.8, 0.7, 0.6)
"""Tanimoto similarities whose shares are told."""
NEAR = 0.8
"""From here on a row is listed as a near-duplicate."""
BARS = 20
EXAMPLES = 8
NONE = "none"
HEADER = (
    "benchmark", "row", "file", "line", "smiles", "level", "training_rows", "training_file", "training_line",
    "training_smiles", "similarity", "nearest_file", "nearest_line", "nearest_smiles",
)  # fmt: skip
CLEAN = ("benchmark", "row", "file", "line", "smiles", "scaffold_in_training", "similarity")


@dataclass(frozen=True)
class Neighbour:
    """The nearest training molecule of a benchmark molecule.

    Args:
        similarity: Tanimoto, of ECFP4.
        row: running number of the training molecule.
        smiles: canonical.
    """

    similarity: float
    row: int
    smiles: str


class Comparison:
    """Benchmark molecules with what was found of each.

    Args:
        training: the training set.
        targets: the benchmarks.
        found: what they have in common.
    """

    def __init__(self, training: MoleculeSet, targets: Targets, found: Found):
        self.training, self.targets, self.found = training, targets, found
        self.level = np.full(len(targets.smiles), len(Level), np.int64)
        """(u,) number of the strictest level at which each agrees; the number of levels where none does."""
        self._hits: list[dict[int, Hit]] = []
        for number, level in enumerate(Level):
            column = targets.keys[:, number]
            keys = np.unique(column)
            keys = keys[keys > 0]
            self._hits.append({int(keys[place]): hit for place, hit in found.hits[level].items()})
            known = np.array(sorted(self._hits[-1]), np.uint64)
            agrees = np.isin(column, known) & (self.level == len(Level))
            self.level[agrees] = number
        of_column = {int(place): column for column, place in enumerate(targets.bits.order)}
        self._columns = {int(place): of_column[n] for n, place in enumerate(targets.sampled.tolist())}

    def hit(self, molecule: int) -> Hit | None:
        """Training molecules that a benchmark molecule agrees with at its strictest level.

        Args:
            molecule: its place among the distinct ones.
        """
        level = int(self.level[molecule])
        if level == len(Level):
            return None
        return self._hits[level][int(self.targets.keys[molecule, level])]

    def neighbour(self, molecule: int) -> Neighbour | None:
        """Its nearest training molecule; None where it was not looked for.

        Args:
            molecule: its place among the distinct ones.
        """
        column = self._columns.get(molecule)
        if column is None or column not in self.found.nearest:
            return None
        return Neighbour(float(self.found.best[column]), *self.found.nearest[column])

    def similarities(self, benchmark: Benchmark) -> np.ndarray:
        """(k,) similarity of the nearest training molecule of each sampled molecule of a benchmark."""
        return np.array([self.found.best[self._columns[int(place)]] for place in benchmark.sample])

    def rows(self, benchmark: Benchmark) -> Iterator[tuple[bool, list[Any]]]:
        """Every row of a benchmark that is a molecule: whether it was found, and its cells.

        Args:
            benchmark: of the comparison.

        Yields:
            Whether a training molecule has its parent or is nearly alike, and the cells of ``HEADER``.
        """
        names = [*(level.value for level in Level), NONE]
        for row, molecule in zip(benchmark.rows, benchmark.molecules, strict=True):
            level, hit, near = int(self.level[molecule]), self.hit(molecule), self.neighbour(molecule)
            leaked = level < list(Level).index(Level.SCAFFOLD)
            leaked |= near is not None and near.similarity >= NEAR
            file, line = benchmark.of.place(row)
            cells: list[Any] = [benchmark.name, row, file, line, self.targets.smiles[molecule], names[level]]
            cells += [hit.count, *self.training.place(hit.row), hit.smiles] if hit else [0, "", "", ""]
            if near is None:
                cells += ["", "", "", ""]
            else:
                cells += [f"{near.similarity:.4f}", *self.training.place(near.row), near.smiles]
            yield leaked, cells


def describe_molecules(comparison: Comparison, notes: Sequence[str]) -> dict[str, Any]:
    """Everything that the page says, as JSON can hold it.

    Args:
        comparison: of a training set and benchmarks.
        notes: what a reader should know.
    """
    found = comparison.found
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "molecules",
        "training": {
            "name": comparison.training.name,
            "read": comparison.training.describe(),
            "rows": found.rows,
            "molecules": found.molecules,
            "refused": dict(found.refused.most_common()),
            "agreeing": {level.value: found.agreeing[level] for level in Level},
        },
        "levels": {level.value: MEANINGS[level] for level in Level},
        "fingerprint": f"ECFP4 (Morgan, radius {RADIUS}, {BITS} bits) of the parent",
        "thresholds": list(THRESHOLDS),
        "benchmarks": [_benchmark(comparison, each) for each in comparison.targets.benchmarks],
        "notes": list(notes),
    }


def _benchmark(comparison: Comparison, benchmark: Benchmark) -> dict[str, Any]:
    distinct = benchmark.distinct()
    rows = comparison.level[np.array(benchmark.molecules, np.int64)]
    molecules = comparison.level[distinct]
    levels = {}
    for number, level in enumerate(Level):
        levels[level.value] = {
            "rows": int((rows <= number).sum()),
            "share": float((rows <= number).mean()),
            "molecules": int((molecules <= number).sum()),
            "only": int((molecules == number).sum()),
        }
    scaffolds = np.unique(comparison.targets.keys[distinct, list(Level).index(Level.SCAFFOLD)])
    repeated = Counter(benchmark.molecules)
    return {
        "name": benchmark.name,
        "read": benchmark.of.describe(),
        "rows": len(benchmark.rows) + sum(benchmark.refused.values()),
        "molecules": len(benchmark.rows),
        "refused": dict(benchmark.refused.most_common()),
        "refused_first": [
            {"file": file, "line": line, "reason": reason, "detail": detail}
            for row, reason, detail in benchmark.refused_rows[:5]
            for file, line in (benchmark.of.place(row),)
        ],
        "distinct": len(distinct),
        "repeated": int(sum(count - 1 for count in repeated.values())),
        "scaffolds": int((scaffolds > 0).sum()),
        "levels": levels,
        "similarity": _similarity(comparison, benchmark, len(distinct)),
        "examples": _examples(comparison, distinct),
    }


def _similarity(comparison: Comparison, benchmark: Benchmark, distinct: int) -> dict[str, Any] | None:
    """Distribution of the similarity of the nearest training molecule."""
    values = comparison.similarities(benchmark)
    if not len(values):
        return None
    exact = len(values) == distinct
    edges = np.linspace(0, 1, BARS + 1)
    above = {}
    for threshold in THRESHOLDS:
        value = share(int((values >= threshold - 1e-12).sum()), len(values)).to_dict()
        if exact:  # every molecule was looked at: there is nothing to be uncertain of
            value |= {"low": None, "high": None}
        above[str(threshold)] = value
    return {
        "molecules": len(values),
        "exact": exact,
        "mean": float(values.mean()),
        "quantiles": {str(q): float(np.quantile(values, q)) for q in (0.05, 0.25, 0.5, 0.75, 0.95)},
        "above": above,
        "edges": edges.tolist(),
        "shares": (np.histogram(values, edges)[0] / len(values)).tolist(),
    }


def _examples(comparison: Comparison, distinct: np.ndarray) -> dict[str, list[dict[str, Any]]]:
    """The first molecules of each level, and near-duplicates that agree at none, the nearest first."""
    found: dict[str, list[dict[str, Any]]] = {}
    levels = comparison.level[distinct]
    for number, level in enumerate(Level):
        if level is Level.SCAFFOLD:
            continue
        members = distinct[levels == number][:EXAMPLES].tolist()
        if members:
            found[level.value] = [_example(comparison, place) for place in members]
    others = distinct[levels >= list(Level).index(Level.SCAFFOLD)].tolist()
    near = [(each, place) for place in others if (each := comparison.neighbour(place))]
    near = [pair for pair in near if pair[0].similarity >= THRESHOLDS[-1]]
    near.sort(key=lambda pair: (-pair[0].similarity, pair[1]))
    if near:
        found["similar"] = [
            {
                "smiles": comparison.targets.smiles[place],
                "training": each.smiles,
                "where": list(comparison.training.place(each.row)),
                "similarity": each.similarity,
            }
            for each, place in near[:EXAMPLES]
        ]
    return found


def _example(comparison: Comparison, place: int) -> dict[str, Any]:
    hit, near = comparison.hit(place), comparison.neighbour(place)
    assert hit is not None
    return {
        "smiles": comparison.targets.smiles[place],
        "training": hit.smiles,
        "where": list(comparison.training.place(hit.row)),
        "similarity": near.similarity if near else None,
    }
