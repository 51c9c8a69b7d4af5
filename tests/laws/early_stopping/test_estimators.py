"""Training performance estimation: sums of losses, and the regression of ends on them."""

import csv
from dataclasses import replace

import numpy as np
import pytest

from chemscale.laws.data.curves import CurveError, TrainingCurve
from chemscale.laws.early_stopping.calibration import Calibration, assess, rank_interval
from chemscale.laws.early_stopping.estimators import (
    ESTIMATORS,
    epoch_means,
    recursive_ema,
    tse,
    tse_e,
    tse_ema,
)
from tests.helpers.paths import real_data
from tests.laws.early_stopping.conftest import curve


def test_the_published_log_gives_the_published_triple():
    """litmatter's TPE notebook, T = 10, E = 1, γ = 0.999: its TSE ends at epoch 10, the others one later."""
    with open(real_data("scaling/litmatter_example_metrics.csv")) as file:
        rows = [row for row in csv.DictReader(file) if row["train_loss_step"]]
    loss = np.array([float(row["train_loss_step"]) for row in rows])
    means = epoch_means(loss, np.array([int(row["epoch"]) for row in rows]))
    assert tse(means[:10]) == pytest.approx(129.8276312691825, rel=1e-12)
    assert tse_e(means[:11], 1) == pytest.approx(5.670970326378232, rel=1e-12)
    assert tse_ema(means[:11], 0.999) == pytest.approx(134.53728970599116, rel=1e-12)


def test_sums_follow_their_definitions():
    means = np.array([4.0, 3.0, 2.0])
    assert tse(means) == 9.0
    assert tse_e(means, 2) == 5.0
    assert tse_ema(means, 0.5) == 0.25 * 4 + 0.5 * 3 + 2
    assert recursive_ema(means, 0.5) == 0.5 * (0.5 * 4 + 0.5 * 3) + 0.5 * 2
    with pytest.raises(ValueError, match="E=4"):
        tse_e(means, 4)


def test_epochs_of_unequal_length_weigh_by_their_own_minibatches():
    np.testing.assert_allclose(epoch_means(np.array([1.0, 3.0, 5.0]), np.array([0, 0, 1])), [2.0, 5.0])


def test_windows_do_not_depend_on_how_often_a_run_was_logged():
    fine = curve("fine", 1.0, rows=1000)
    area = np.cumsum(fine.loss)
    seen = fine.seen[9::10]
    coarse = replace(fine, seen=seen, loss=np.diff(area[9::10], prepend=0.0) / 10)
    np.testing.assert_allclose(fine.means(0.2, 20), coarse.means(0.2, 20), rtol=1e-9)


@pytest.mark.parametrize("share", [0.2, 0.207, 0.215])
def test_a_run_that_goes_on_keeps_the_score_that_it_was_paused_with(sweep, share):
    one = replace(sweep[0], loss=np.where(sweep[0].seen > 1000 * share, 99.0, sweep[0].loss))
    rows = one.seen <= 1000 * share
    paused = replace(one, seen=one.seen[rows], loss=one.loss[rows])
    assert paused.reaches(share)
    for estimator in ESTIMATORS.values():
        assert estimator.score(one, share) == estimator.score(paused, share), estimator.name


def test_every_setting_that_was_paused_counts_whatever_its_rows(sweep):
    """Rows of 4 steps, paused at step 99 of 493: the last row is step 96."""
    seen = np.arange(4.0, 97.0, 4.0)
    paused = TrainingCurve("paused", seen, 3 - seen / 100, 493.0)
    assert paused.reaches(0.2)
    assert len(paused.means(0.2, 50)) == 10
    assert not replace(paused, seen=seen[:-2], loss=paused.loss[:-2]).reaches(0.2)


def test_a_log_that_is_too_short_is_refused_by_name():
    whole = curve("short", 1.0)
    short = replace(whole, seen=whole.seen[:20], loss=whole.loss[:20])
    with pytest.raises(CurveError, match=r"short: its log ends at 20\.0%"):
        short.means(0.5, 50)
    with pytest.raises(CurveError, match="go forward"):
        TrainingCurve("back", np.array([2.0, 1.0]), np.array([1.0, 1.0]), 10.0)


def test_every_estimator_ranks_settings_that_differ_in_their_floor(sweep):
    finals = np.array([c.final for c in sweep])
    for estimator in ESTIMATORS.values():
        found = assess(estimator.name, estimator.title, estimator.scores(sweep, 0.3), finals, draws=100)
        assert found.rho > 0.9, estimator.name


def test_prediction_intervals_hold_as_often_as_their_level():
    random, held = np.random.default_rng(0), 0
    for _ in range(2000):
        x = random.normal(2.0, 1.0, 9)
        y = 0.7 * x + 0.4 + random.normal(0, 0.2, 9)
        low, high = Calibration.fit(x[:8], y[:8]).interval(x[8:])
        held += low[0] <= y[8] <= high[0]
    assert 0.935 < held / 2000 < 0.965


def test_a_perfect_order_of_a_few_runs_is_not_called_certain():
    low, high = rank_interval(1.0, 5)
    assert low < 0.5
    assert high < 1


def test_ends_that_are_all_equal_allow_no_assessment(sweep):
    scores = ESTIMATORS["tse"].scores(sweep, 0.2)
    assert assess("tse", "TSE", scores, np.full(len(sweep), 2.0)) is None
