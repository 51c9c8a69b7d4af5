"""Training performance estimation: sums of losses, the regression on them, and which runs to finish."""

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
from chemscale.laws.early_stopping.rule import Rule, replay, standing, successive_halving, to_finish
from chemscale.laws.reports.early_stopping_report import TpeReport
from tests.helpers.paths import real_data


def curve(label: str, floor: float, rows: int = 100, *, noise: float = 0.0, seed: int = 0) -> TrainingCurve:
    """A loss that falls to its floor as a power of 1,000 units of data."""
    seen = np.linspace(1000 / rows, 1000, rows)
    loss = floor + 9 * seen**-0.5 + noise * np.random.default_rng(seed).standard_normal(rows)
    return TrainingCurve(
        label, seen, loss, 1000.0, seen[4::5], loss[4::5] + 0.1, final=floor + 0.05, flops=1e9
    )


@pytest.fixture
def sweep() -> list[TrainingCurve]:
    floors = [2.0, 1.2, 1.9, 1.0, 1.5, 1.7, 1.3, 1.1, 1.6, 1.4]
    return [curve(f"s{k}", floor, noise=0.01, seed=k) for k, floor in enumerate(floors)]


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


def test_a_run_that_diverged_comes_last_and_is_never_asked_for(sweep):
    sweep[3] = replace(sweep[3], loss=np.full(100, np.nan), final=None)
    known = standing(sweep, Rule())
    assert known.ranks[3] == len(sweep) - 1
    unfinished = [replace(c, final=None) for c in sweep]
    assert 3 not in to_finish(unfinished, Rule(keep=9, controls=3))


def test_prediction_intervals_hold_as_often_as_their_level():
    random, held = np.random.default_rng(0), 0
    for _ in range(2000):
        x = random.normal(2.0, 1.0, 9)
        y = 0.7 * x + 0.4 + random.normal(0, 0.2, 9)
        low, high = Calibration.fit(x[:8], y[:8]).interval(x[8:])
        held += low[0] <= y[8] <= high[0]
    assert 0.935 < held / 2000 < 0.965


def test_the_rule_finishes_the_best_and_controls_then_what_still_has_a_chance(sweep):
    unknown = [replace(c, final=None) for c in sweep]
    rule = Rule(keep=2, controls=2, estimator="tse")
    first = to_finish(unknown, rule)
    assert set(first[:2]) == {3, 7}
    assert len(first) == 4
    after = [c if n in first else u for n, (c, u) in enumerate(zip(sweep, unknown, strict=True))]
    assert to_finish(after, rule) == []
    sure = to_finish(after, replace(rule, risk=0.0))
    assert set(sure) | set(first) == set(range(10))


def test_a_decision_is_taken_again_as_before_after_an_interruption(sweep):
    unknown = [replace(c, final=None) for c in sweep]
    first = to_finish(unknown, Rule())
    partly = [c if n == first[0] else u for n, (c, u) in enumerate(zip(sweep, unknown, strict=True))]
    assert to_finish(partly, Rule()) == first[1:]


def test_a_replay_counts_what_was_spent_and_what_was_missed(sweep):
    outcome = replay(sweep, Rule(keep=2, controls=2, estimator="tse"))
    assert outcome.regret == 0
    assert outcome.saved == pytest.approx(1 - (4 + 6 * 0.2) / 10)
    halving = successive_halving(sweep, 0.2)
    assert halving.finished == [3]
    assert halving.saved == pytest.approx(1 - (5 * 0.2 + 3 * 0.4 + 1 * 0.8 + 1) / 10)


def test_too_few_finished_runs_give_no_prediction(sweep):
    report = TpeReport(
        "t", [replace(c, final=c.final if n < 3 else None) for n, c in enumerate(sweep)], Rule(), "loss"
    )
    assert report.known.calibration is None
    assert any("Too few runs have ended" in line for line in report.lines())


@pytest.mark.parametrize("complete", [True, False])
def test_a_report_shows_what_was_saved_and_what_may_have_been_missed(sweep, tmp_path, complete):
    stopped = [replace(c, final=None, spent=0.2e9) if n <= 3 else c for n, c in enumerate(sweep)]
    curves = sweep if complete else stopped
    report = TpeReport("settings", curves, Rule(estimator="tse"), "nats_per_token", command="here")
    page = report.write(tmp_path).read_text()
    text = "\n".join(report.lines())
    assert "TSE at 20%" in text
    if complete:
        assert "successive halving: 1 finished" in text
        assert "Policies replayed" in page
    else:
        assert "Compute saved: 32%" in text
        assert "What may have been missed: s3" in text
    assert "s3" in page
    assert {p.name for p in tmp_path.iterdir()} >= {"tpe.json", "report.html", "predicted_final.png"}


def test_a_perfect_order_of_a_few_runs_is_not_called_certain():
    low, high = rank_interval(1.0, 5)
    assert low < 0.5
    assert high < 1


def test_ends_that_are_all_equal_allow_no_assessment(sweep):
    scores = ESTIMATORS["tse"].scores(sweep, 0.2)
    assert assess("tse", "TSE", scores, np.full(len(sweep), 2.0)) is None


def test_a_baseline_that_was_read_too_early_is_reported(sweep):
    late = [replace(c, validated=c.validated[2::3], validation=c.validation[2::3]) for c in sweep]
    assert not any("were read at" in line for line in TpeReport("t", sweep, Rule(), "loss").lines())
    assert any("were read at 15% to 15%" in line for line in TpeReport("t", late, Rule(), "loss").lines())


@pytest.mark.parametrize(
    "wrong", [{"share": 1.0}, {"share": 0.01}, {"keep": 0}, {"risk": 2.0}, {"estimator": "luck"}]
)
def test_a_rule_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Rule(**wrong)
