"""What a rule asks for, as points that are started."""

import logging

from chemscale.records import State
from chemscale.sweeps.settings_feed import SettingsFeed, has_reached
from tests.helpers.settings import FIRST, ends_at_once, jobs_in, record_of


def train(jobs, **outcome):
    """As a launcher would: every point to what it was given."""
    for job in jobs:
        record_of(job.plan.directory, job.config["pause"], **outcome)


def names(jobs):
    return [job.plan.name for job in jobs]


def test_points_come_with_the_share_that_the_rule_asks_for_and_as_they_are_for_their_end(tmp_path):
    jobs = jobs_in(tmp_path, {}, {})
    feed = SettingsFeed(jobs, ends_at_once, {})
    (first,) = feed({}, 1)
    assert (first.plan.name, first.config["pause"], first.overrides) == ("lr0", FIRST, [f"pause={FIRST}"])
    train([first])
    assert feed({}, 1) == [jobs[0]]


def test_the_rule_is_told_what_is_busy_and_what_is_given_up(tmp_path):
    told = []

    def choose(plans, settings, busy, free):
        told.append((dict(busy), free))
        return ends_at_once(plans, settings, busy, free)

    jobs = jobs_in(tmp_path, {}, {}, {})
    feed = SettingsFeed(jobs, choose, {})
    asked = feed({}, 2)
    train(asked[:1], state=State.FAILED)
    assert names(feed({"id1": FIRST, "of another sweep": 1.0}, 1)) == ["lr2"]
    assert told == [({}, 2), ({0: 0.0, 1: FIRST}, 1)]


def test_a_point_that_another_command_had_queued_is_given_up_too_where_it_fails(tmp_path, caplog):
    jobs = jobs_in(tmp_path, {})
    feed = SettingsFeed(jobs, ends_at_once, {})
    assert feed({"id0": FIRST}, 1) == []
    assert feed({}, 1) == []
    assert "lr0 ended short of 10 % (it never began)" in caplog.text


def test_a_rule_that_asks_again_for_what_is_reached_does_not_train_for_ever(tmp_path, caplog):
    def choose(plans, settings, busy, free):
        return [(n, FIRST) for n in range(len(plans)) if n not in busy][:free]

    jobs = jobs_in(tmp_path, {}, {})
    feed = SettingsFeed(jobs, choose, {})
    train(feed({}, 1))
    assert names(feed({}, 1)) == ["lr1"], "the next one takes the place"
    assert "lr0 has reached 10 % and is asked for again: left as it is" in caplog.text


def test_a_command_that_begins_again_asks_for_the_same(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    jobs = jobs_in(tmp_path, {}, {}, {})
    feed = SettingsFeed(jobs, ends_at_once, {})
    train(feed({}, 1))
    on = feed({}, 2)
    assert [(job.plan.name, job.config["pause"]) for job in on] == [("lr0", None), ("lr1", FIRST)]
    assert SettingsFeed(jobs, ends_at_once, {})({}, 2) == on


def test_a_share_is_reached_by_steps_and_the_end_by_being_done_only(tmp_path):
    (job,) = jobs_in(tmp_path, {})
    assert not has_reached(job.plan, FIRST)
    record_of(job.plan.directory, 0.2, State.PREEMPTED)
    assert has_reached(job.plan, 0.2)
    assert not has_reached(job.plan, 0.21)
    record_of(job.plan.directory, None, State.RUNNING)
    assert not has_reached(job.plan, 1.0)
    record_of(job.plan.directory, 0.5, State.FAILED)
    assert not has_reached(job.plan, 0.2)
    record_of(job.plan.directory, None)
    assert has_reached(job.plan, 1.0)
