"""Frames of other sets that a store is made without."""

from __future__ import annotations

import csv
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from chemscale.structures.blocks import Block, Source
from chemscale.structures.overlap.comparing import Benchmarks
from chemscale.structures.overlap.frame_sets import FrameSet
from chemscale.structures.overlap.identity import among, formula_of, geometry_prints, graph_of, is_periodic
from chemscale.structures.preparation.separate_files import SeparateFiles

VERSION = 2
"""Raised when the same sets would exclude other frames: it is part of the key of a store."""
EVERY = 1 << 62
"""More frames than there are: none is left out of the comparison."""


class FrameExclusion:
    """Sets whose frames a store is made without.

    Args:
        sets: of frames.
        level: ``identical`` for copies; ``molecule`` for all frames of their molecules too; a number for
            frames whose interatomic distances differ by at most so many Å (RMS) too.
    """

    def __init__(self, sets: Sequence[FrameSet], level: str | float = "identical"):
        self.sets, self.level = tuple(sets), level
        self.left_out: Counter[str] = Counter()
        """Frames that were left out, by why."""
        self.rows: list[tuple[str, int, str]] = []
        """Name and row of each of them, and why."""
        self._benchmarks: Benchmarks | None = None
        self._graphs: dict[int, set[int | None]] = {}
        self._is_test: Callable[[Block], np.ndarray] = lambda block: np.zeros(len(block), bool)

    def content(self) -> dict[str, Any]:
        """What decides which frames are left out."""
        level = self.level if isinstance(self.level, str) else float(self.level)
        return {"version": VERSION, "level": level, "sets": [each.content() for each in self.sets]}

    def open(self, source: Source) -> None:
        """Read the sets.

        Args:
            source: whose frames are left out; those of its test part stay: they are not trained on.

        Raises:
            SourceError: one cannot be read, or has no frame.
        """
        if isinstance(source, SeparateFiles):
            self._is_test = lambda block: np.full(len(block), block.name.startswith("test/"))
        elif len(tested := np.unique((source.splits() or {}).get("test", ()))):
            self._is_test = lambda block: among(block.rows, tested)
        most = 0 if isinstance(self.level, str) else EVERY
        # One name may stand for many molecules, and each of them is to be left out.
        bonds = EVERY if self.level == "molecule" else 0
        self._benchmarks = Benchmarks(self.sets, most=most, bonds=bonds)
        for member in self._benchmarks.members:
            for formula, graphs in zip(member.formulas, member.graphs, strict=True):
                self._graphs.setdefault(formula, set()).update(graphs)

    def rest_of(self, block: Block) -> Block:
        """The frames of a block that stay.

        Args:
            block: of the store's source.
        """
        assert self._benchmarks is not None
        formula = formula_of(block)
        single = len(block.numbers) < 2 and not is_periodic(block)  # an isolated atom is no leak
        if single or formula not in self._graphs:
            return block
        why = np.full(len(block), "", object)
        if self.level == "molecule":
            known = self._graphs[formula]
            graphs = [graph_of(block, frame) for frame in range(len(block))]
            same = [graph in known or graph is None or None in known for graph in graphs]
            why[np.array(same, bool)] = "molecule"
        elif not isinstance(self.level, str) and not is_periodic(block):
            why[self._near(block, formula)] = "nearly identical"
        prints = geometry_prints(block)
        copies = among(prints[:, 0], self._benchmarks.prints[0])
        copies |= among(prints[:, 1], self._benchmarks.prints[1])
        why[copies] = "identical"
        out = (why != "") & ~self._is_test(block)
        if not out.any():
            return block
        self.left_out.update(why[out].tolist())
        self.rows += [(block.name, int(block.rows[i]), why[i]) for i in np.flatnonzero(out)]
        return block.select(~out)

    def _near(self, block: Block, formula: int) -> np.ndarray:
        assert self._benchmarks is not None
        near = np.zeros(len(block), bool)
        for sampled in self._benchmarks.sampled.get(formula, []):
            for at, far in sampled.lengths.compare(block.numbers, block.positions):
                near[at] |= (far <= float(self.level)).any(axis=1)
        return near

    def write(self, folder: Path, files: Sequence[tuple[int, str]] = ()) -> list[str]:
        """Write which frames were left out; what is to be said of it.

        Args:
            folder: of the store.
            files: first row and name of each, where the source counts rows on over several.
        """
        starts = [start for start, _ in files]
        rows = [
            (name, row - starts[bisect_right(starts, row) - 1] if starts else row, why)
            for name, row, why in self.rows
        ]
        with open(folder / "excluded.csv", "w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([("name", "row", "why"), *rows])
        names = ", ".join(each.name for each in self.sets)
        told = ", ".join(f"{count:,} {why}" for why, count in self.left_out.most_common()) or "none"
        return [f"Frames left out because they are in {names} (data.exclude): {told}."]
