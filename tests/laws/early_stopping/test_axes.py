"""Settings in which runs differ, as columns of a regression."""

import numpy as np
import pytest

from chemscale.laws.early_stopping.axes import columns


def test_rates_stand_in_decades_and_batches_under_one_name():
    found = columns([{"optimizer.lr": 1e-3, "batch.frames": 2}, {"optimizer.lr": 1e-2, "batch.frames": 20}])
    np.testing.assert_allclose(found["optimizer.lr"], [-0.5, 0.5])
    np.testing.assert_allclose(found["batch"], [-0.5, 0.5])


def test_values_with_a_zero_stand_in_their_order():
    found = columns([{"decay": 0.0}, {"decay": 0.5}, {"decay": 0.01}])
    np.testing.assert_allclose(found["decay"], [-0.5, 0.5, 0.0])


def test_texts_and_switches_have_a_column_a_level():
    found = columns([{"name": "cosine"}, {"name": "wsd"}, {"name": "cosine"}, {"name": None}])
    assert list(found) == ["name=wsd", "name=None"]
    assert found["name=wsd"].sum() == pytest.approx(0)


def test_what_is_the_same_in_all_is_no_axis_and_runs_that_have_not_begun_have_none():
    runs = [{"optimizer.lr": 1e-3, "ema": 0.9}, {"optimizer.lr": 1e-2, "ema": 0.9}, {}]
    found = columns(runs)
    assert list(found) == ["optimizer.lr"]
    np.testing.assert_allclose(found["optimizer.lr"], [-0.5, 0.5, 0.0])
