"""The page of a sweep over settings."""

import json
from dataclasses import replace

import pytest

from chemscale.laws.early_stopping.reference import population
from chemscale.laws.early_stopping.rule import Rule
from chemscale.laws.reports.early_stopping_report import EarlyStoppingReport

RULE = Rule(rungs=(0.06, 0.2, 0.5))


def report_of(curves, **options):
    return EarlyStoppingReport("settings", curves, RULE, population(RULE), "nats_per_token", **options)


def stop(curve):
    rows = curve.seen <= 200
    read = curve.validated <= 200
    return replace(
        curve, seen=curve.seen[rows], loss=curve.loss[rows], validated=curve.validated[read],
        validation=curve.validation[read], final=None, spent=0.2e9,
    )  # fmt: skip


@pytest.mark.parametrize("complete", [True, False])
def test_a_report_shows_what_was_saved_and_what_may_have_been_missed(sweep, tmp_path, complete):
    curves = sweep if complete else [stop(c) if n in (0, 1, 2, 9) else c for n, c in enumerate(sweep)]
    report = report_of(curves, command="here")
    page = report.write(tmp_path).read_text()
    text = "\n".join(report.lines())
    assert "early validation loss at 20%" in text
    if complete:
        assert "Replayed, successive halving, η = 2, from 12%:" in text
        assert "Policies replayed" in page
        assert report.outcomes[0].policy == "rungs at a risk of 5%"
    else:
        assert "6 of 10 settings were finished, the others stopped at 20%" in text
        assert "Compute saved: 32%" in text
        assert "Chance that a setting that was not finished would have ended below the best" in text
    written = json.loads((tmp_path / "estimate.json").read_text())
    assert written["runs"][0]["run"] == "s3"
    assert 0 <= written["chance_lost"] <= (0 if complete else 1)
    assert (tmp_path / "ends.png").exists()


def test_a_sweep_without_an_end_ranks_and_promises_no_losses(sweep):
    report = report_of([stop(c) for c in sweep])
    assert report.lines() == ["No run has ended yet: 10 settings ranked by early validation loss."]
    assert not any("predicted" in row for row in report.rows())
    assert report.rows()[0]["run"] == "s3"


def test_forecasts_of_stopped_runs_stand_beside_their_chances(sweep):
    report = report_of([c if n % 2 else stop(c) for n, c in enumerate(sweep)])
    row = report.row(0)
    low, high = row["interval"]
    assert low < sweep[0].final < high
    assert row["reached"] == pytest.approx(0.2)
    assert row["chance"] < 0.05


def test_estimators_are_compared_on_runs_that_reach_the_share(sweep):
    report = report_of([c if n else stop(c) for n, c in enumerate(sweep)], share=0.4)
    assert {found.runs for found in report.assessments} == {9}
