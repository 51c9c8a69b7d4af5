"""Cosine similarity of what occurs in two lists of molecules, and how often: scaffolds, fragments."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_matrix

from chemscale.molecules.metrics.intervals import MISSING, Value, around, bootstrap_error


def occurrences_of(parts: Sequence[Sequence[str]]) -> Counter[str]:
    """How often each part occurs.

    Args:
        parts: of each molecule.
    """
    return Counter(part for each in parts for part in each)


def cosine(parts: Sequence[Sequence[str]], reference: Counter[str], draws: int, seed: int) -> Value:
    """Cosine of the counts in a list of molecules and in a reference, as MOSES has it.

    Args:
        parts: scaffolds or fragments of each molecule.
        reference: counts there.
        draws: resamples of the interval.
        seed: of random numbers.
    """
    if not reference or not any(parts):
        return MISSING
    names: dict[str, int] = {}
    places = [[names.setdefault(part, len(names)) for part in each] for each in parts]
    starts = np.cumsum([0, *map(len, places)])
    columns = np.array([place for each in places for place in each], dtype=np.int64)
    matrix = csr_matrix((np.ones(len(columns)), columns, starts), shape=(len(parts), len(names)))
    wanted = np.array([reference.get(name, 0) for name in names], dtype=float)
    norm = math.sqrt(math.fsum(count * count for count in reference.values()))

    def of(weights: np.ndarray) -> float:
        counts = weights @ matrix
        length = float(np.linalg.norm(counts))
        return float(counts @ wanted) / (length * norm) if length else math.nan

    error = bootstrap_error(of, len(parts), draws, seed)
    return around(of(np.ones(len(parts))), error, len(parts), low=0.0, high=1.0)
