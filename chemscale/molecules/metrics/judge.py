"""All metrics of a list of molecules, beside a reference where there is one."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from chemscale.molecules.metrics.counts import cosine, occurrences_of
from chemscale.molecules.metrics.distributions import guacamol_score, wasserstein
from chemscale.molecules.metrics.fcd import frechet_distance
from chemscale.molecules.metrics.features import PROPERTIES, Features
from chemscale.molecules.metrics.filters import NAMES
from chemscale.molecules.metrics.intervals import MISSING, Value, distinct_share, share
from chemscale.molecules.metrics.novelty.index import MoleculeIndex
from chemscale.molecules.metrics.sampled.samples import Fate, Samples
from chemscale.molecules.metrics.similarity import internal_diversity, nearest_other, nearest_similarity

UNIQUE_AT = (1000, 10_000)


@dataclass(frozen=True)
class Described:
    """Molecules with all that is compared of them.

    Args:
        features: of each.
        activations: (n, 512) of ChemNet; None where the Fréchet distance is left out.
    """

    features: Features
    activations: np.ndarray | None = None

    def take(self, rows: np.ndarray) -> Described:
        """Some of them.

        Args:
            rows: (k,) their places.
        """
        chosen = None if self.activations is None else self.activations[rows]
        return Described(self.features.take(rows), chosen)


@dataclass(frozen=True)
class Judgement:
    """Metrics of a list of molecules.

    Args:
        values: by name, as in ``table.METRICS``.
        divergences: those that GuacaMol's score is the mean of.
    """

    values: dict[str, Value]
    divergences: dict[str, float] = field(default_factory=dict)


def judge_validity(samples: Samples) -> dict[str, Value]:
    """Shares of sequences: valid, and what became of the others; of the valid, the distinct ones.

    Args:
        samples: what was drawn.
    """
    n, valid, fates = len(samples.drawn), samples.valid, samples.fates()
    values = {"valid": share(len(valid), n)}
    if samples.written:
        finished = fates[Fate.EXACT] + fates[Fate.REWRITTEN]
        values["truncated"] = share(fates[Fate.TRUNCATED], n)
        values["rewritten"] = share(fates[Fate.REWRITTEN], finished)
        values["exact"] = share(fates[Fate.EXACT], n)
    for k in UNIQUE_AT:
        if len(valid) >= k:
            values[f"unique_{k}"] = _unique(valid[:k])
    return values | {"unique": _unique(valid)}


def _unique(smiles: Sequence[str]) -> Value:
    return distinct_share(np.array(list(Counter(smiles).values()), dtype=np.int64))


def judge_novelty(smiles: Sequence[str], index: MoleculeIndex, first: int | None = None) -> Value:
    """Share of distinct molecules that were not trained on.

    Args:
        smiles: canonical, of the valid molecules.
        index: of the training molecules.
        first: only the so many of the lowest hashes were trained on.
    """
    distinct = list(dict.fromkeys(smiles))
    known = index.known(distinct, first)
    return share(int((~known).sum()), len(distinct))


def judge(sampled: Described, reference: Described | None, *, draws: int = 200, seed: int = 0) -> Judgement:
    """Metrics of valid molecules, duplicates included.

    Args:
        sampled: what is judged.
        reference: what it is compared with; None for nothing.
        draws: resamples of each interval.
        seed: of random numbers.
    """
    of = sampled.features
    first, second = internal_diversity(of.bits)
    values = {"internal_diversity": first, "internal_diversity_2": second}
    for i, name in enumerate(NAMES if of.filters.shape[1] else ()):
        values[name] = share(int(of.filters[:, i].sum()), len(of))
    if reference is None:
        return Judgement(values)
    other = reference.features
    values["snn"] = nearest_similarity(of.bits, other.bits)
    scaffolds, theirs = [[s] if s else [] for s in of.scaffolds], [[s] if s else [] for s in other.scaffolds]
    values["scaffolds"] = cosine(scaffolds, occurrences_of(theirs), draws, seed)
    values["fragments"] = cosine(of.fragments, occurrences_of(other.fragments), draws, seed)
    for i, name in enumerate(PROPERTIES):
        values[f"wasserstein_{name}"] = wasserstein(of.properties[:, i], other.properties[:, i], draws, seed)
    if sampled.activations is not None and reference.activations is not None:
        values["fcd"] = frechet_distance(sampled.activations, reference.activations, seed=seed)
        fcd = values["fcd"]
        values["guacamol_fcd"] = Value(
            math.exp(-0.2 * fcd.value), math.exp(-0.2 * fcd.high), math.exp(-0.2 * fcd.low), fcd.of
        )
    if not of.guacamol.shape[1]:
        return Judgement(values)
    values["guacamol_kl"], divergences = _guacamol(of, other)
    return Judgement(values, divergences)


def _guacamol(of: Features, other: Features) -> tuple[Value, dict[str, float]]:
    """GuacaMol's score of the molecules that are distinct without stereo."""
    mine, theirs = (each.take(_distinct(each.flat)) for each in (of, other))
    if min(len(mine), len(theirs)) < 2:
        return MISSING, {}
    near = [nearest_other(each.long_bits) for each in (mine, theirs)]
    return guacamol_score(mine.guacamol, theirs.guacamol, *near)


def _distinct(texts: Sequence[str]) -> np.ndarray:
    places: dict[str, int] = {}
    for i, text in enumerate(texts):
        places.setdefault(text, i)
    return np.array(list(places.values()), dtype=np.int64)


def own_split(reference: int, wanted: int) -> tuple[np.ndarray, np.ndarray]:
    """Places of reference molecules that are judged as a sample would be, and of those they are judged by.

    Args:
        reference: number of reference molecules, in random order.
        wanted: size of the sample; half of the reference at most.
    """
    size = min(wanted, reference // 2)
    return np.arange(size), np.arange(size, reference)
