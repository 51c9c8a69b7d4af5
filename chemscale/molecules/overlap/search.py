"""One pass over a training set, compared with benchmarks; it goes on where it was interrupted."""

from __future__ import annotations

import io
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rdkit import rdBase

from chemscale.common.files import atomic_write, write_json
from chemscale.common.parallel import ordered_map
from chemscale.common.progress import ProgressBar
from chemscale.molecules.overlap.keys import Level
from chemscale.molecules.overlap.sets import CHUNK, MoleculeSet
from chemscale.molecules.overlap.stream import Hit, Result, Task, compare_chunk
from chemscale.molecules.overlap.targets import OverlapError, Targets, lookup_in

VERSION = 2
"""Raised when the same sets would be found to have something else in common."""
KEPT_EVERY = 60.0
"""Seconds between states that an interrupted comparison is continued from."""


@dataclass
class Found:
    """What a training set has in common with benchmark molecules.

    Args:
        best: (m,) similarity of the nearest training molecule, by column of the table of bits; -1 for none.
        chunks: of the training set that were looked at.
        rows: in them.
        refused: rows that are no molecules, by reason.
        hits: by level, of each key by its place among the sorted distinct keys of that level.
        agreeing: training rows that agree at a level or a stricter one, by level.
        nearest: running number and SMILES of the nearest training molecule, by column.
    """

    best: np.ndarray
    chunks: int = 0
    rows: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    hits: dict[Level, dict[int, Hit]] = field(default_factory=lambda: {level: {} for level in Level})
    agreeing: Counter[Level] = field(default_factory=Counter)
    nearest: dict[int, tuple[int, str]] = field(default_factory=dict)

    @property
    def molecules(self) -> int:
        """Training rows that are molecules."""
        return self.rows - sum(self.refused.values())

    def add(self, result: Result) -> None:
        """Take in the next chunk; the first of equal finds stays, so that processes do not show.

        Args:
            result: of the chunk.
        """
        self.chunks += 1
        self.rows += result.rows
        self.refused.update(result.refused)
        self.agreeing.update(result.agreeing)
        for level, found in result.hits.items():
            known = self.hits[level]
            for key, hit in found.items():
                if key in known:
                    known[key].count += hit.count
                else:
                    known[key] = hit
        for column, similar, neighbour in zip(
            result.columns.tolist(), result.similar.tolist(), result.nearest, strict=True
        ):
            if similar > self.best[column]:
                self.best[column] = similar
                self.nearest[column] = neighbour

    def write(self, path: Path) -> None:
        """Write it whole or not at all.

        Args:
            path: of the file.
        """
        plain = {
            "chunks": self.chunks,
            "rows": self.rows,
            "refused": self.refused,
            "agreeing": {level.value: count for level, count in self.agreeing.items()},
            "hits": {
                level.value: [[key, hit.count, hit.row, hit.smiles] for key, hit in found.items()]
                for level, found in self.hits.items()
            },
            "nearest": [[column, *neighbour] for column, neighbour in self.nearest.items()],
        }
        buffer = io.BytesIO()
        np.savez(buffer, best=self.best, rest=np.frombuffer(json.dumps(plain).encode(), np.uint8))
        with atomic_write(path, "wb") as file:
            file.write(buffer.getvalue())

    @classmethod
    def read(cls, path: Path) -> Found:
        """What ``write`` wrote.

        Args:
            path: of the file.
        """
        with np.load(path) as content:
            best, plain = content["best"], json.loads(content["rest"].tobytes())
        return cls(
            best,
            plain["chunks"],
            plain["rows"],
            Counter(plain["refused"]),
            {Level(name): {key: Hit(*rest) for key, *rest in found} for name, found in plain["hits"].items()},
            Counter({Level(name): count for name, count in plain["agreeing"].items()}),
            {column: (row, smiles) for column, row, smiles in plain["nearest"]},
        )


def search(
    training: MoleculeSet, targets: Targets, folder: Path, *, workers: int = 1, silent: bool = False
) -> Found:
    """Compare every training molecule with the benchmarks.

    Memory grows with the benchmarks only. What is found does not depend on the number of processes, nor on
    whether the comparison was interrupted.

    Args:
        training: the molecules that stream by.
        targets: the benchmarks.
        folder: where the state is kept, from which the same comparison is continued; whoever has written down
            what was found removes it.
        workers: processes.
        silent: show no progress.

    Raises:
        OverlapError: the training set has no molecule.
        SourceError: a file of it is damaged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state, key = folder / "state.npz", folder / "identity.json"
    identity = _identity(training, targets)
    if not key.exists() or not state.exists() or json.loads(key.read_text()) != identity:
        state.unlink(missing_ok=True)
        write_json(key, identity)
    lookup = folder / "lookup"
    lookup.mkdir(exist_ok=True)
    targets.save(lookup)
    lookup_in.cache_clear()
    found = Found.read(state) if state.exists() else Found(np.full(len(targets.bits), -1.0))
    done, kept = found.chunks, time.monotonic()
    tasks = (
        Task(number, rows, lookup, found.best.copy())
        for number, rows in enumerate(training.chunks(CHUNK))
        if number >= done
    )
    with ProgressBar(f"compare {training.name}", training.total, "rows", silent=silent) as progress:
        progress.start(found.rows)
        try:
            for result in ordered_map(compare_chunk, tasks, workers):
                found.add(result)
                progress.update(found.rows)
                if time.monotonic() - kept > KEPT_EVERY:
                    found.write(state)
                    kept = time.monotonic()
        finally:
            found.write(state)
    if not found.molecules:
        reasons = ", ".join(f"{n:,} {why}" for why, n in found.refused.most_common()) or "no row"
        raise OverlapError(f"{training.name}: no row of it is a molecule ({reasons}).")
    return found


def _identity(training: MoleculeSet, targets: Targets) -> dict[str, Any]:
    """What decides the state of a comparison, as plain values."""
    return json.loads(
        json.dumps(
            {
                "version": VERSION,
                "rdkit": rdBase.rdkitVersion,
                "chunk": CHUNK,
                "training": training.identity(),
                "benchmarks": [benchmark.of.identity() for benchmark in targets.benchmarks],
                "sampled": targets.sampled.tolist(),
            }
        )
    )
