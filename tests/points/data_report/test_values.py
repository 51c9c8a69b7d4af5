"""Numbers that are seen once: what a report says of them is what NumPy and SciPy say of all."""

import numpy as np
import pytest
from scipy.stats import ks_2samp

from chemscale.points.data_report.values import KEPT, Values, distance, distribution, sample


def of(numbers, blocks=7, **settings):
    values = Values(**settings)
    for block in np.array_split(np.asarray(numbers, float), blocks):
        values.add(block)
    return values


def test_moments_are_those_of_all_and_survive_a_large_mean():
    numbers = np.random.default_rng(0).normal(-1e6, 1e-3, 5000)
    found = of(numbers)
    assert found.mean == pytest.approx(numbers.mean(), rel=1e-14)
    assert found.deviation == pytest.approx(numbers.std(), rel=1e-6)
    assert found.rms == pytest.approx(np.sqrt(np.square(numbers).mean()), rel=1e-14)
    assert (found.low, found.high, found.sampled) == (numbers.min(), numbers.max(), None)


def test_what_is_not_finite_is_missing_and_never_zero():
    found = of([np.nan, 2.0, np.inf, 4.0])
    assert (found.count, found.missing, found.mean, found.low) == (2, 2, 3.0, 2.0)
    nothing = of([np.nan])
    assert (nothing.count, nothing.missing) == (0, 1)
    assert all(np.isnan(v) for v in (nothing.mean, nothing.deviation, nothing.rms, nothing.quantile(0.5)))
    assert np.isnan(list(nothing.summary()["quantiles"].values())).all()


def test_a_sum_that_cancels_leaves_no_noise():
    assert of([0.1, 0.2, -0.3]).mean == 0.0
    assert of([1e-12, 3e-12]).mean == pytest.approx(2e-12)


def test_a_sample_is_bounded_fair_and_the_same_each_time():
    numbers = np.arange(100_000.0)
    found = of(numbers, blocks=50, kept=2000)
    assert (found.count, found.sampled, len(found.table()[0])) == (100_000, 2000, 2000)
    assert (found.low, found.high) == (0.0, 99_999.0)  # of all, not of the sample
    for share in (0.05, 0.5, 0.95):
        assert found.quantile(share) == pytest.approx(1e5 * share, abs=5 * 1e5 * 0.5 / np.sqrt(2000))
    assert np.array_equal(found.table()[0], of(numbers, blocks=50, kept=2000).table()[0])


def test_counted_numbers_are_exact_however_many():
    counts = np.array([0, 3, 0, 5, KEPT * 10])
    found = Values.counted(counts)
    numbers = np.repeat(np.arange(5), counts)
    assert (found.count, found.sampled) == (counts.sum(), None)
    assert found.mean == pytest.approx(numbers.mean())
    assert found.deviation == pytest.approx(numbers.std())
    assert found.quantile(3 / counts.sum()) == 1
    assert found.quantile(0.5) == 4
    assert found.shares(np.array([0.5, 1.5, 3.5, 4.5])).sum() == pytest.approx(1)


def test_the_distance_is_that_of_kolmogorov_and_smirnov():
    random = np.random.default_rng(1)
    one, other = random.normal(size=800), random.normal(0.15, 1, 700)
    expected = ks_2samp(one, other, method="asymp")
    found, chance = distance(of(one), of(other))
    assert found == pytest.approx(expected.statistic)
    assert chance == pytest.approx(expected.pvalue, rel=0.2)  # SciPy corrects for finite samples
    assert distance(of(one), of(one)) == (0.0, 1.0)
    assert np.isnan(distance(of(one), Values())).all()


def test_counts_have_the_distance_of_the_numbers_that_they_count():
    random = np.random.default_rng(2)
    one, other = random.poisson(5, 900), random.poisson(6, 300)
    counted = [Values.counted(np.bincount(numbers)) for numbers in (one, other)]
    assert distance(*counted)[0] == pytest.approx(ks_2samp(one, other).statistic)


def test_a_part_without_a_value_is_named_and_has_no_bars():
    made = distribution("energy", "eV", {"train": of([1.0, 2.0]), "validation": of([np.nan, np.nan])})
    assert made["without"] == ["validation"]
    assert made["missing"] == {"validation": 2}
    assert list(made["parts"]) == ["train"]
    assert sum(made["parts"]["train"]["shares"]) == pytest.approx(1)
    assert distribution("energy", "eV", {"train": Values()}) is None


def test_a_draw_is_of_distinct_places_and_depends_on_its_number_alone():
    assert len(set(sample(10**9, 1000).tolist())) == 1000
    assert np.array_equal(sample(500, 100), sample(500, 100))
    assert not np.array_equal(sample(500, 100), sample(500, 100, number=1))
    assert sorted(sample(5, 100).tolist()) == list(range(5))
