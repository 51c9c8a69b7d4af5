"""Conditions that are columns of the user's files: numbers, row by row."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from chemscale.molecules.descriptors import DESCRIPTORS
from chemscale.molecules.preparation.sources import Reading, Source, SourceError
from chemscale.molecules.preparation.sources.cells import column_cells, find_column
from chemscale.molecules.tokenizers.conditioned import SCAFFOLD

PROBED_ROWS, PROBED_CELLS = 20_000, 100
EXAMPLES = 5
NOTHING = frozenset({"", "na", "n/a", "nan", "none", "null", "nd", "n.d.", "-", "?"})
"""Cells that say that there is no value."""


class ColumnReader:
    """Numbers of columns, in step with the rows of a ``Reading``; what was none is counted.

    Args:
        reading: the files.
        names: of columns that each of them has.

    Raises:
        SourceError: a file lacks a column, or holds no numbers in it.
    """

    def __init__(self, reading: Reading, names: Sequence[str]):
        self.names = names
        self._reading = reading
        for source, name in itertools.product(reading.sources, names):
            _check_column(source, name)
        self._cells = [
            itertools.chain.from_iterable(column_cells(source, name) for source in reading.sources)
            for name in names
        ]
        self.notes: dict[str, dict[str, Any]] = {
            name: {"empty cells": 0, "cells without a number": 0, "examples": []} for name in names
        }
        """Of each column, for the manifest."""

    def take(self, rows: Sequence[tuple[int, str, str]]) -> np.ndarray | None:
        """Numbers of the next rows, (rows, columns) float64, NaN where there is none; None without columns.

        Args:
            rows: that the reading gave, in its order.
        """
        if not self.names:
            return None
        out = np.full((len(rows), len(self.names)), np.nan)
        for column, (name, cells) in enumerate(zip(self.names, self._cells, strict=True)):
            for place, text in enumerate(itertools.islice(cells, len(rows))):
                value = number_of(text)
                if value is not None:
                    out[place, column] = value
                elif text.lower() in NOTHING:
                    self.notes[name]["empty cells"] += 1
                else:
                    self._note(name, rows[place][0], text)
        return out

    def _note(self, name: str, row: int, text: str) -> None:
        self.notes[name]["cells without a number"] += 1
        if len(self.notes[name]["examples"]) < EXAMPLES:
            file, line = self._reading.place(row)
            self.notes[name]["examples"].append({"file": file, "line": line, "cell": text[:80]})


def number_of(text: str) -> float | None:
    """The finite number that a cell holds; None where it holds none."""
    try:
        value = float(text) if "_" not in text else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _check_column(source: Source, name: str) -> None:
    """Refuse a name that is neither a descriptor nor a column, and a column of words."""
    try:
        find_column(source, name)
    except SourceError as error:
        raise SourceError(
            f"data.condition: {name!r} is neither {SCAFFOLD}, nor one of the descriptors "
            f"{', '.join(DESCRIPTORS)}, nor a column. {error}"
        ) from None
    first = itertools.islice(column_cells(source, name), PROBED_ROWS)
    probe = list(itertools.islice((c for c in first if c.lower() not in NOTHING), PROBED_CELLS))
    if probe and all(number_of(text) is None for text in probe):
        shown = ", ".join(repr(text[:40]) for text in probe[:3])
        raise SourceError(
            f"{source.entry}: column {name!r} of data.condition holds no numbers; its first cells are "
            f"{shown}. Write classes as 0 and 1."
        )
