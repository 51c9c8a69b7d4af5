"""Measures are those of scikit-learn, and their intervals hold what they promise."""

import math

import numpy as np
import pytest

from chemscale.probing.measures import (
    bootstrap,
    bootstrap_interval,
    jackknife,
    mae,
    over_tasks,
    per_task,
    rmse,
    roc_auc,
    seed_interval,
)


def test_measures_are_those_of_scikit_learn_with_weights_and_ties():
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is an optional dependency")
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, size=60).astype(float)
    predictions = np.round(random.normal(size=60) + labels, 1)  # with ties
    weights = random.integers(0, 4, size=(5, 60)).astype(float)
    for row, area, square, absolute in zip(
        weights,
        roc_auc(labels, predictions, weights),
        rmse(labels, predictions, weights),
        mae(labels, predictions, weights),
        strict=True,
    ):
        assert area == pytest.approx(metrics.roc_auc_score(labels, predictions, sample_weight=row))
        expected = metrics.mean_squared_error(labels, predictions, sample_weight=row) ** 0.5
        assert square == pytest.approx(expected)
        expected = metrics.mean_absolute_error(labels, predictions, sample_weight=row)
        assert absolute == pytest.approx(expected)


def test_missing_labels_and_single_classes_are_left_out_of_the_mean_and_are_not_zero():
    labels = np.array([[0.0, np.nan, 1.0], [1.0, 1.0, 1.0], [1.0, 0.0, 1.0]])
    predictions = np.array([[0.1, 0.9, 0.3], [0.9, 0.8, 0.3], [0.8, 0.2, 0.1]])
    values = per_task(roc_auc, labels, predictions, np.ones((1, 3)))
    assert values[0, :2].tolist() == [1.0, 1.0]
    assert math.isnan(values[0, 2])
    assert over_tasks(values)[0] == 1.0
    assert math.isnan(over_tasks(values[:, 2:])[0])


def test_a_task_that_nothing_was_predicted_for_has_no_area_and_not_that_of_ties():
    labels = np.array([[0.0, 0.0], [1.0, 1.0], [1.0, 0.0]])
    predictions = np.array([[0.1, np.nan], [0.9, np.nan], [0.8, np.nan]])
    values = per_task(roc_auc, labels, predictions, np.ones((1, 3)))
    assert values[0, 0] == over_tasks(values)[0] == 1.0
    assert math.isnan(values[0, 1])


def test_models_are_compared_on_the_same_draws():
    random = np.random.default_rng(1)
    labels = random.normal(size=(80, 1))
    predictions = labels + random.normal(size=(80, 1))
    same = bootstrap(rmse, labels, [predictions, predictions], 100)
    assert (same[0] == same[1]).all()
    assert same[0].std() > 0
    whole = bootstrap(rmse, labels, [predictions], 100, seed=2)
    assert (whole[0] != same[0]).any()


def covered(measure, truth, make, repeats=200, draws=200):
    """Share of simulated test sets whose interval holds the truth."""
    hits = 0
    for repeat in range(repeats):
        labels, predictions = make(np.random.default_rng(repeat))
        value = measure(labels[:, 0], predictions[:, 0], np.ones((1, len(labels))))[0]
        sample = bootstrap(measure, labels, [predictions], draws, seed=repeat)[0]
        interval = bootstrap_interval(sample, value, jackknife(measure, labels, [predictions])[0])
        hits += interval[0] <= truth <= interval[1]
    return hits / repeats


def test_the_interval_over_molecules_covers_the_error_on_all_molecules():
    """Errors of standard deviation 1: the true RMSE is 1."""

    def make(random):
        labels = random.normal(size=(150, 1))
        return labels, labels + random.normal(size=(150, 1))

    assert 0.90 <= covered(rmse, 1.0, make) <= 0.985


@pytest.mark.parametrize("apart", [1.0, 2.5])
def test_the_interval_over_molecules_covers_the_area_under_the_curve(apart):
    """Scores so many standard deviations apart: the true area is Φ(apart/√2). Near 1 draws are skew."""

    def make(random):
        labels = random.integers(0, 2, size=(150, 1)).astype(float)
        return labels, apart * labels + random.normal(size=(150, 1))

    assert 0.90 <= covered(roc_auc, 0.5 * (1 + math.erf(apart / 2)), make) <= 0.985


def test_many_molecules_are_left_out_in_groups_and_bend_the_interval_as_each_of_them_would(monkeypatch):
    random = np.random.default_rng(0)
    labels = random.normal(size=(400, 1))
    predictions = labels + random.laplace(size=(400, 1))
    draws = bootstrap(rmse, labels, [predictions], 500)[0]
    value = rmse(labels[:, 0], predictions[:, 0], np.ones((1, 400)))[0]
    one = bootstrap_interval(draws, value, jackknife(rmse, labels, [predictions])[0])
    monkeypatch.setattr("chemscale.probing.measures.MAX_GROUPS", 100)
    groups = jackknife(rmse, labels, [predictions])
    assert groups.shape == (1, 100)
    assert bootstrap_interval(draws, value, groups[0]) == pytest.approx(one, abs=0.2 * (one[1] - one[0]))


def test_an_interval_that_draws_do_not_support_is_not_given():
    still = np.zeros(10)
    assert bootstrap_interval(np.r_[np.full(10, np.nan), np.linspace(0, 1, 90)], 0.5, still) is None
    assert bootstrap_interval(np.ones(100), 1.0, still) is None  # a perfect area of a small test part
    assert bootstrap_interval(np.linspace(0, 1, 1001), 0.5, still) == pytest.approx((0.025, 0.975))
    assert seed_interval([1.0, 2.0]) is None
    assert seed_interval([1.0, 2.0, math.nan]) is None
    low, high = seed_interval([1.0, 2.0, 3.0])
    assert (low, high) == pytest.approx((2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5))
