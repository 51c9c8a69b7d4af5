"""Which frames of a pool are worth a label: farthest in features, most uncertain, or any."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

METHODS = ("farthest", "uncertain", "random")
CHUNK = 65_536
"""Rows of a pool that are compared at once."""
CANDIDATES = 5
"""The most uncertain frames, so many times those that are wanted, among which different ones are taken."""


def farthest(
    features: np.ndarray,
    count: int,
    *,
    known: np.ndarray | None = None,
    first: int | None = None,
    advance: Callable[[int], None] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Farthest point sampling: each choice is the row farthest from all that is known or chosen.

    A greedy cover of the pool whose radius is at most twice the best possible (T. F. Gonzalez, Clustering to
    minimize the maximum intercluster distance, Theor. Comput. Sci. 38, 293 (1985)). Copies of a chosen row
    come last, at distance 0. Rows are read in chunks: the array may be larger than memory.

    Args:
        features: (M, P) of the pool.
        count: rows to choose, at most M.
        known: (T, P) of frames that are labelled already.
        first: row to begin with; else the farthest from `known`, and without these from the mean.
        advance: told of each choice.

    Returns:
        (count,) rows in the order of choice, and the distance of each from what came before; the first has
        NaN where nothing was known.
    """
    rows = len(features)
    nearest = np.full(rows, np.inf)
    if known is not None and len(known):
        for start, part in _chunks(features):
            nearest[start : start + len(part)] = _nearest(part, known)
    chosen, distances = np.zeros(count, np.int64), np.zeros(count)
    for n in range(count):
        if n == 0 and first is not None:
            row = first
        elif n == 0 and not np.isfinite(nearest[0]):
            mean = sum((part.sum(0, dtype=np.float64) for _, part in _chunks(features)), np.zeros(1)) / rows
            row = int(np.argmax(np.concatenate([_squares(part, mean) for _, part in _chunks(features)])))
        else:
            row = int(np.argmax(nearest))
        chosen[n] = row
        distances[n] = np.sqrt(nearest[row]) if np.isfinite(nearest[row]) else np.nan
        point = np.asarray(features[row], np.float64)
        for start, part in _chunks(features):
            window = nearest[start : start + len(part)]
            np.minimum(window, _squares(part, point), out=window)
        nearest[row] = -1.0  # never again, even where copies of it are all that is left
        if advance is not None:
            advance(1)
    return chosen, distances


def most_uncertain(
    scores: np.ndarray,
    features: np.ndarray,
    count: int,
    *,
    candidates: int = CANDIDATES,
    advance: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Uncertain rows that differ from each other, (count,) in the order of choice.

    The `candidates` × `count` most uncertain are thinned by farthest point sampling that begins with the most
    uncertain: neighbouring frames of a trajectory are uncertain alike, and one label serves them all.

    Args:
        scores: (M,) how uncertain each row is; NaN counts as least.
        features: (M, P) of the pool.
        count: rows to choose, at most M.
        candidates: 1 for the most uncertain as they come.
        advance: told of each choice.
    """
    ranked = np.argsort(-np.where(np.isnan(scores), -np.inf, scores), kind="stable")
    top = ranked[: max(count, candidates * count)]
    if len(top) == count:
        return top
    order = np.sort(top)  # rising rows are read from a file without going back
    thinned, _ = farthest(
        np.asarray(features[order]), count, first=int(np.searchsorted(order, top[0])), advance=advance
    )
    return order[thinned]


def whitened(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each column, 1 where it is constant: what distances are taken in.

    Args:
        features: (M, P); read in chunks.
    """
    total = np.zeros(features.shape[1])
    squares = np.zeros(features.shape[1])
    for _, part in _chunks(features):
        total += part.sum(0, dtype=np.float64)
    mean = total / max(1, len(features))
    for _, part in _chunks(features):
        squares += ((part - mean) ** 2).sum(0)
    deviation = np.sqrt(squares / max(1, len(features)))
    return mean, np.where(deviation > 1e-9 * (np.abs(mean) + 1e-300), deviation, 1.0)


def _chunks(features: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    for start in range(0, len(features), CHUNK):
        yield start, np.asarray(features[start : start + CHUNK])


def _squares(part: np.ndarray, point: np.ndarray) -> np.ndarray:
    """Squared distances of rows from a point, (k,)."""
    return ((part - point) ** 2).sum(1)


def _nearest(part: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Squared distance of each row from the nearest of the known, (k,)."""
    found = np.full(len(part), np.inf)
    for start in range(0, len(known), 256):
        some = np.asarray(known[start : start + 256], np.float64)
        squares = (part**2).sum(1)[:, None] + (some**2).sum(1)[None] - 2 * part @ some.T
        found = np.minimum(found, squares.min(1).clip(min=0))
    return found
