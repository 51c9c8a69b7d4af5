"""Distances between distributions of numbers: Wasserstein's, and the divergence of GuacaMol."""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import entropy, gaussian_kde, wasserstein_distance

from chemscale.molecules.metrics.features import CONTINUOUS, GUACAMOL
from chemscale.molecules.metrics.intervals import MISSING, Value, around, bootstrap_error

GRID = 1000
"""Places at which GuacaMol compares two densities."""
FLOOR = 1e-10
"""What it adds to a density, so that none is zero."""
INTEGER_BINS = 10


def wasserstein(values: np.ndarray, reference: np.ndarray, draws: int, seed: int) -> Value:
    """Wasserstein-1 distance between the values of two lists of molecules, in the unit of the values.

    Args:
        values: (n,).
        reference: (m,).
        draws: resamples of the interval.
        seed: of random numbers.
    """
    if not len(values) or not len(reference):
        return MISSING
    values = np.sort(values)
    # Between two neighbours of both lists together, both distribution functions are constant.
    places = np.sort(np.concatenate([values, reference]))
    steps = np.diff(places)
    of_reference = np.searchsorted(np.sort(reference), places[:-1], side="right") / len(reference)
    upto = np.searchsorted(values, places[:-1], side="right")

    def of(weights: np.ndarray) -> float:
        cumulated = np.concatenate([[0.0], np.cumsum(weights)])[upto] / len(values)
        return float(np.abs(cumulated - of_reference) @ steps)

    error = bootstrap_error(of, len(values), draws, seed)
    return around(float(wasserstein_distance(values, reference)), error, len(values), low=0.0)


def continuous_divergence(baseline: np.ndarray, sampled: np.ndarray) -> float:
    """Kullback-Leibler divergence of kernel densities on a grid, as GuacaMol has it; NaN without spread.

    Args:
        baseline: (m,) values of the reference.
        sampled: (n,) values of the sample.
    """
    if min(len(baseline), len(sampled)) < 2 or min(np.ptp(baseline), np.ptp(sampled)) == 0:
        return math.nan
    both = np.concatenate([baseline, sampled])
    grid = np.linspace(both.min(), both.max(), GRID)
    return float(entropy(gaussian_kde(baseline)(grid) + FLOOR, gaussian_kde(sampled)(grid) + FLOOR))


def discrete_divergence(baseline: np.ndarray, sampled: np.ndarray) -> float:
    """Kullback-Leibler divergence of histograms of the baseline's ten bins, as GuacaMol has it.

    Args:
        baseline: (m,) values of the reference.
        sampled: (n,) values of the sample.
    """
    if not len(baseline) or not len(sampled):
        return math.nan
    wanted, bins = np.histogram(baseline, bins=INTEGER_BINS, density=True)
    inside = np.any((sampled >= bins[0]) & (sampled <= bins[-1]))
    found = np.histogram(sampled, bins=bins, density=True)[0] if inside else np.zeros(INTEGER_BINS)
    return float(entropy(wanted + FLOOR, found + FLOOR))


def guacamol_score(
    sampled: np.ndarray, baseline: np.ndarray, sampled_near: np.ndarray, baseline_near: np.ndarray
) -> tuple[Value, dict[str, float]]:
    """GuacaMol's divergence score, 0 to 1, and the divergences that it is the mean of.

    Brown et al., J. Chem. Inf. Model. 59, 1096 (2019): the mean of exp(−KL) over nine descriptors and the
    similarity to the nearest other molecule of the same list. It has no interval here.

    Args:
        sampled: (n, 9) descriptors of distinct sampled molecules.
        baseline: (m, 9) of distinct reference molecules.
        sampled_near: (n,) similarity to the nearest other molecule.
        baseline_near: (m,) likewise.
    """
    divergences = {}
    for i, name in enumerate(GUACAMOL):
        divergence = continuous_divergence if i < CONTINUOUS else discrete_divergence
        divergences[name] = divergence(baseline[:, i], sampled[:, i])
    divergences["internal_similarity"] = continuous_divergence(baseline_near, sampled_near)
    score = float(np.mean([math.exp(-d) for d in divergences.values()]))
    return Value(score, of=len(sampled)), divergences
