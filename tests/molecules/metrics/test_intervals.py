"""Intervals hold the expectation of a metric over samples of the same size: simulated."""

import math

import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from chemscale.molecules.metrics.counts import cosine, occurrences_of
from chemscale.molecules.metrics.distributions import wasserstein
from chemscale.molecules.metrics.fcd import frechet_distance
from chemscale.molecules.metrics.intervals import distinct_share, share
from chemscale.molecules.metrics.similarity import (
    internal_diversity,
    nearest,
    nearest_other,
    nearest_similarity,
)

SAMPLES = 120


def held(values):
    """Share of intervals that hold the mean of the values."""
    truth = np.mean([value.value for value in values])
    return np.mean([value.low <= truth <= value.high for value in values])


def test_a_share_has_an_interval_at_its_ends_too():
    assert share(0, 50).low == 0.0
    assert 0.05 < share(0, 50).high < 0.1
    assert share(50, 50).high == 1.0
    assert math.isnan(share(0, 0).value)


@pytest.mark.parametrize("spread", [0.0, 1.0, 3.0])
def test_the_interval_of_uniqueness_is_never_too_narrow(spread):
    """From few chance duplicates to a model that repeats itself."""
    random = np.random.default_rng(1)
    weights = np.exp(spread * random.standard_normal(20_000))
    weights /= weights.sum()
    found = [
        distinct_share(np.unique(random.choice(len(weights), 300, p=weights), return_counts=True)[1])
        for _ in range(SAMPLES)
    ]
    assert held(found) >= 0.94


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_a_wasserstein_distance_is_scipys_and_its_interval_holds(shift):
    random = np.random.default_rng(2)
    reference = random.normal(size=500)
    draws = [random.normal(shift, 1.2, size=200) for _ in range(SAMPLES)]
    found = [wasserstein(sample, reference, 60, seed) for seed, sample in enumerate(draws)]
    assert found[0].value == wasserstein_distance(draws[0], reference)
    assert 0.89 <= held(found) <= 1.0


def test_the_interval_of_a_cosine_of_counts_holds():
    random = np.random.default_rng(3)
    weights = 1 / np.arange(1, 200)
    weights /= weights.sum()
    reference = occurrences_of(
        [[str(i)] for i in random.choice(199, 1000, p=weights[::-1] / 2 + weights / 2)]
    )
    found = [
        cosine([[str(i)] for i in random.choice(199, 200, p=weights)], reference, 60, seed)
        for seed in range(SAMPLES)
    ]
    assert 0.89 <= held(found) <= 1.0


def test_intervals_of_similarities_hold():
    random = np.random.default_rng(4)
    population = np.packbits(random.random((600, 64)) < random.uniform(0.1, 0.6, (600, 1)), axis=1)
    reference = population[:100]
    draws = [population[random.integers(100, 600, 80)] for _ in range(SAMPLES)]
    for found in (
        [internal_diversity(bits)[0] for bits in draws],
        [internal_diversity(bits)[1] for bits in draws],
        [nearest_similarity(bits, reference) for bits in draws],
    ):
        assert 0.89 <= held(found) <= 1.0


def test_similarities_over_several_blocks_are_those_of_one(monkeypatch):
    random = np.random.default_rng(5)
    bits = np.packbits(random.random((57, 128)) < 0.3, axis=1)
    bits[3] = 0  # a molecule without a bit is like itself
    whole = (*nearest(bits, bits[:20]), nearest_other(bits), *internal_diversity(bits))
    monkeypatch.setattr("chemscale.molecules.metrics.similarity.BLOCK", 10)
    parts = (*nearest(bits, bits[:20]), nearest_other(bits), *internal_diversity(bits))
    for first, second in zip(whole[:3], parts[:3], strict=True):
        assert np.array_equal(first, second)
    assert whole[3].value == pytest.approx(parts[3].value)
    assert whole[4].high == pytest.approx(parts[4].high)
    assert nearest_other(bits)[3] == 0.0


def test_a_frechet_distance_is_that_of_two_gaussians_and_its_interval_holds():
    random = np.random.default_rng(6)
    mix = random.normal(size=(4, 4))
    reference = random.normal(size=(4000, 4))
    found = [
        frechet_distance(random.normal(size=(200, 4)) @ mix + 0.5, reference, draws=40, seed=seed)
        for seed in range(100)
    ]
    assert 0.88 <= held(found) <= 1.0
    same = frechet_distance(reference, reference, draws=0)
    assert same.value == pytest.approx(0.0, abs=1e-9)
    assert math.isnan(same.low)


def test_what_there_is_too_little_of_has_no_number():
    none = np.empty((0, 8), dtype=np.uint8)
    assert math.isnan(nearest_similarity(none, none).value)
    assert math.isnan(wasserstein(np.empty(0), np.ones(3), 10, 0).value)
    assert math.isnan(cosine([], occurrences_of([["a"]]), 10, 0).value)
    assert math.isnan(frechet_distance(np.ones((1, 4)), np.ones((5, 4))).value)
    assert math.isnan(distinct_share(np.empty(0, dtype=int)).value)


def test_what_was_not_seen_to_vary_has_no_interval():
    none_shared = cosine([["a"], ["b"]], occurrences_of([["c"]]), 10, 0)
    assert none_shared.value == 0.0
    assert math.isnan(none_shared.high)
