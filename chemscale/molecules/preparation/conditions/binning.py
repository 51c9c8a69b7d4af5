"""Bins of all values of a corpus by quantiles of its training molecules, and the prefixes of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from chemscale.molecules.conditions.prefixes import before
from chemscale.molecules.preparation.conditions.measuring import UNKNOWN
from chemscale.molecules.preparation.conditions.request import ConditionRequest, ConditionValueError
from chemscale.molecules.preparation.stages import low_bits
from chemscale.molecules.tokenizers.conditioned import (
    SCAFFOLD,
    ConditionedTokenizer,
    Conditions,
    ValueCondition,
)
from chemscale.molecules.tokenizers.opening import AnyTokenizer

EDGE_MOLECULES = 1 << 20
"""Training molecules whose values decide the edges: the first by hash, which are a random sample."""


def conditioned_tokenizer(
    tokenizer: AnyTokenizer, paths: Sequence[Path], limit: int, request: ConditionRequest
) -> ConditionedTokenizer:
    """The tokenizer of a corpus with its conditions; one that has them already stays as it is.

    Args:
        tokenizer: of the molecules.
        paths: arrays of the buckets, in order.
        limit: low bits of the hash below which a molecule is held out.
        request: which conditions.

    Raises:
        ConditionValueError: a condition does not tell the training molecules apart.
        TokenizerError: the vocabulary has one of the new tokens already.
    """
    if isinstance(tokenizer, ConditionedTokenizer):
        return tokenizer
    return ConditionedTokenizer(tokenizer, fit_conditions(paths, limit, request))


def fit_conditions(paths: Sequence[Path], limit: int, request: ConditionRequest) -> Conditions:
    """Edges of bins from the training molecules.

    Args:
        paths: arrays of the buckets, in order.
        limit: low bits of the hash below which a molecule is held out.
        request: which conditions.

    Raises:
        ConditionValueError: no training molecule has a value, or all have the same.
    """
    sample: list[np.ndarray] = []
    width, sampled = len(request.values), 0
    low, high = np.full(width, np.inf), np.full(width, -np.inf)
    for path in paths:
        held_out = low_bits(np.load(path)) < limit
        training = np.load(path.with_suffix(".values.npy"))[~held_out]
        low = np.fmin(low, np.fmin.reduce(training, axis=0, initial=np.inf))
        high = np.fmax(high, np.fmax.reduce(training, axis=0, initial=-np.inf))
        if sampled < EDGE_MOLECULES:
            sample.append(training[: EDGE_MOLECULES - sampled])
            sampled += len(sample[-1])
    table = np.concatenate(sample)
    found = []
    for column, name in enumerate(request.values):
        known = table[~np.isnan(table[:, column]), column]
        edges = quantile_edges(known, request.bins)
        if not edges:
            what = f"every one has {known[0]:g}" if len(known) else "none has a value"
            raise ConditionValueError(
                f"data.condition: {name} does not tell training molecules apart ({what}): leave it out."
            )
        limits = float(low[column]), float(high[column])
        found.append(ValueCondition(name, edges, *limits, column=name in request.columns))
    return Conditions(tuple(found), request.scaffold)


def describe_conditions(
    paths: Sequence[Path], conditions: Conditions, request: ConditionRequest, notes: dict[str, dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Conditions of a corpus by name, for its manifest: where they come from, and what is not known.

    Args:
        paths: arrays of the buckets.
        conditions: with their edges.
        request: that the buckets were measured for.
        notes: what the cells of columns held.
    """
    found: dict[str, dict[str, Any]] = {}
    for column, name in enumerate(request.values):
        about = next(each for each in conditions.values if each.name == name)
        values = (np.load(path.with_suffix(".values.npy"))[:, column] for path in paths)
        found[name] = {
            "from": "column" if about.column else "descriptor",
            "bins": about.bins,
            "low": about.low,
            "high": about.high,
            "unknown": sum(int(np.isnan(each).sum()) for each in values),
        }
        if about.column:
            place = request.columns.index(name)
            differing = (np.load(path.with_suffix(".differing.npy"))[place] for path in paths)
            found[name]["molecules with different numbers"] = sum(map(int, differing))
            found[name] |= notes[name]
    if request.scaffold:
        lengths = (np.load(path.with_suffix(".scaffold-lengths.npy")) for path in paths)
        found[SCAFFOLD] = {"from": SCAFFOLD, "unknown": sum(int((n == UNKNOWN).sum()) for n in lengths)}
    return found


def quantile_edges(values: np.ndarray, bins: int) -> tuple[float, ...]:
    """Edges that put about as many values into each bin; fewer where values are tied.

    An edge is one of the values and begins a bin, so that small whole numbers get a bin each.

    Args:
        values: (n,) without NaN.
        bins: at most.
    """
    if not len(values):
        return ()
    edges = np.unique(np.quantile(values, np.arange(1, bins) / bins, method="higher"))
    return tuple(edges[edges > values.min()].tolist())


def bucket_prefixes(
    path: Path, table: np.ndarray, tokenizer: ConditionedTokenizer
) -> tuple[np.ndarray, np.ndarray]:
    """Ids of the prefixes of a bucket one after another, and how many each has.

    Args:
        path: array of the bucket.
        table: id of each symbol of the bucket's vocabulary.
        tokenizer: whose edges and ids hold.
    """
    ids, conditions = tokenizer.condition_ids, tokenizer.conditions
    values = np.load(path.with_suffix(".values.npy"))
    binned = np.empty(values.shape, dtype=np.uint16)
    for column, condition in enumerate(conditions.values):
        missing, *bins = (ids[token] for token in condition.tokens)
        numbers = np.searchsorted(np.array(condition.edges), values[:, column], side="right")
        known = ~np.isnan(values[:, column])
        binned[:, column] = np.where(known, np.array(bins)[np.where(known, numbers, 0)], missing)
    sizes = np.full(len(values), len(conditions.values), dtype=np.int64)
    if not conditions.scaffold:
        return binned.ravel(), sizes
    lengths = np.load(path.with_suffix(".scaffold-lengths.npy"))
    unknown = lengths == UNKNOWN
    both = np.where(unknown, 1, lengths + 2)
    ends = np.cumsum(both)
    scaffolds = np.zeros(ends[-1] if len(ends) else 0, dtype=np.uint16)
    inner = np.ones(len(scaffolds), dtype=bool)
    inner[ends - both] = inner[ends - 1] = False
    scaffolds[inner] = table[np.fromfile(path.with_suffix(".scaffolds"), dtype="<u2")]
    scaffolds[ends - 1] = ids[f"</{SCAFFOLD}>"]
    scaffolds[ends - both] = np.where(unknown, ids[f"<{SCAFFOLD}:?>"], ids[f"<{SCAFFOLD}>"])
    return before((binned.ravel(), sizes), (scaffolds, both))
