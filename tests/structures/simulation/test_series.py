"""Errors of correlated series are as large as they say."""

import numpy as np
import pytest
from scipy.signal import lfilter

from chemscale.structures.simulation.series import mean, slope


def autoregressive(memory, length, rng):
    """A stationary AR(1) series of mean 0: x_t = memory x_(t-1) + noise."""
    return lfilter([1], [1, -memory], rng.standard_normal(length + 500))[500:]


@pytest.mark.parametrize("memory", [0.0, 0.5, 0.9])
def test_intervals_of_means_and_slopes_hold_the_truth_as_often_as_they_say(memory):
    rng = np.random.default_rng(1)
    times = np.arange(8000) / 7
    found = []
    for _ in range(250):
        noise = autoregressive(memory, 8000, rng)
        a, b = mean(noise + 5), slope(times, noise + 0.3 * times)
        if a.settled and b.settled:
            found.append((abs(a.value - 5) < a.half_width, abs(b.value - 0.3) < b.half_width))
    assert len(found) > 150
    for share in np.mean(found, axis=0):  # 95 % ± 3 binomial errors, and 2 % for what blocking leaves
        assert 0.89 < share < 0.99


def test_the_error_of_a_mean_is_that_of_the_known_correlation():
    rng = np.random.default_rng(2)
    memory, length = 0.9, 100_000
    error = mean(autoregressive(memory, length, rng)).error
    truth = 1 / (1 - memory) / np.sqrt(length)  # of an AR(1) series with noise of variance 1
    assert error == pytest.approx(truth, rel=0.2)
    assert error > 3 * np.std(autoregressive(memory, length, rng)) / np.sqrt(length)


def test_a_walk_has_no_error_that_could_be_believed():
    rng = np.random.default_rng(3)
    walks = [slope(np.arange(4000), np.cumsum(rng.standard_normal(4000))) for _ in range(30)]
    assert not any(walk.settled for walk in walks)
    assert "at least" in walks[0].text("K")


def test_too_short_or_broken_a_series_has_no_error():
    assert np.isnan(mean(np.ones(5)).error)
    assert "too short" in mean(np.ones(5)).text("K")
    assert mean(np.array([1.0, np.nan])).text("K") == "not known"
    assert slope(np.arange(2), np.arange(2)).text("K") == "not known"


def test_a_constant_series_is_known_exactly():
    found = mean(np.full(1000, 3.0))
    assert (found.value, found.error, found.settled) == (3.0, 0.0, True)
