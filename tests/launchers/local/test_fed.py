"""A sweep that decides while it runs, on processes of this machine."""

import logging

import pytest

from chemscale.launchers import worker
from chemscale.launchers.ledger import load_ledger
from chemscale.launchers.local.fed import FedRunner
from chemscale.launchers.run import run_fed
from chemscale.records import RunRecord, State
from chemscale.sweeps.settings_feed import SettingsFeed
from tests.helpers import settings
from tests.helpers.paths import ROOT
from tests.helpers.settings import FIRST, beginnings, ends_at_once, jobs_in


@pytest.fixture(autouse=True)
def quick_ranks(monkeypatch, caplog):
    monkeypatch.setattr(worker, "run_point", settings.run_point)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    caplog.set_level(logging.INFO)


def run(jobs, choose=ends_at_once):
    run_fed(SettingsFeed(jobs, choose, {}), jobs)


def test_a_setting_goes_on_while_another_is_still_at_its_first_share(tmp_path, caplog):
    jobs = jobs_in(tmp_path, {"waits": "id2"}, {}, {}, parallel=2)
    run(jobs)
    order = beginnings(tmp_path / "settings")
    assert sorted(order) == sorted([(f"id{n}", share) for n in range(3) for share in (FIRST, 1.0)])
    assert order.index(("id1", 1.0)) < order.index(("id2", FIRST)) < order.index(("id0", 1.0))
    assert {RunRecord.load(job.plan.directory).state for job in jobs} == {State.DONE}
    assert "lr1 trains to 10 %" in caplog.text
    assert "lr1 goes on to its end" in caplog.text


@pytest.mark.slow
def test_a_setting_that_fails_is_tried_once_and_the_others_go_on(tmp_path, caplog):
    jobs = jobs_in(tmp_path, {"fails": True}, {}, {}, parallel=2)
    run(jobs)
    assert beginnings(tmp_path / "settings").count(("id0", FIRST)) == 1
    assert [RunRecord.load(job.plan.directory).state for job in jobs] == [
        State.FAILED,
        State.DONE,
        State.DONE,
    ]
    assert "lr0 ended short of 10 % (told to fail): this command does not start it again" in caplog.text
    run(jobs)
    assert beginnings(tmp_path / "settings").count(("id0", FIRST)) == 2, "the same command again tries once"


@pytest.mark.slow
def test_a_rank_that_is_killed_starts_again_and_is_not_asked_for_beside_that(tmp_path):
    jobs = jobs_in(tmp_path, {"dies": True}, {}, parallel=2)
    run(jobs)
    order = beginnings(tmp_path / "settings")
    assert order.count(("id0", FIRST)) == 2
    assert order.count(("id0", 1.0)) == 1
    entry = load_ledger(tmp_path / "settings").points["id0"]
    assert len(set(entry.jobs)) == len(entry.jobs) == 3, "every start has a name and a log of its own"


def test_nothing_new_begins_after_ctrl_c(tmp_path):
    jobs = jobs_in(tmp_path, {"stops": True}, {}, {}, {}, parallel=1)
    runner = FedRunner(SettingsFeed(jobs, ends_at_once, {}), jobs, jobs)
    with pytest.raises(KeyboardInterrupt):
        runner.run()
    assert beginnings(tmp_path / "settings") == [("id0", FIRST)]


def test_a_sweep_whose_points_are_done_leaves_the_ledger_alone(tmp_path):
    jobs = jobs_in(tmp_path, {}, {}, parallel=2)
    for job in jobs:
        settings.record_of(job.plan.directory, None)
    run(jobs)
    assert not (tmp_path / "settings" / "jobs").exists()
