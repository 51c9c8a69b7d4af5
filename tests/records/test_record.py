"""A record survives saving, and says what is wrong with a file that is none."""

import json

import pytest

from chemscale.records import Loss, Parameters, RecordError, RunRecord, State, find_records, find_run


def record(**changes) -> RunRecord:
    values = {
        "identity": "abc",
        "sweep": "s",
        "family": "chemgpt",
        "name": "n",
        "config": {"seed": 0},
        "versions": {},
        "git_revision": None,
        "data_hash": "h",
        "seed": 0,
        "parameters": Parameters(4, 3, 2, 1),
    }
    return RunRecord(**(values | changes))


def test_a_record_comes_back_as_it_was_saved(tmp_path):
    saved = record(state=State.DONE, final=Loss(5, {"nats_per_token": 1.5}))
    saved.save(tmp_path / "a")
    assert RunRecord.load(tmp_path / "a") == saved
    assert [r for _, r in find_records(tmp_path)] == [saved]


def test_keys_without_effect_stand_in_the_file_only_where_there_are_any(tmp_path):
    plain, odd = record(), record()
    odd.without_effect = {"optimizer.weight_decay": "nothing decays"}
    plain.save(tmp_path / "plain")
    odd.save(tmp_path / "odd")
    assert "without_effect" not in (tmp_path / "plain" / "record.json").read_text()
    assert RunRecord.load(tmp_path / "odd").without_effect == odd.without_effect


@pytest.mark.parametrize("text", ["{", '{"schema_version": 99}', '{"schema_version": 1}', "[]"])
def test_a_file_that_is_no_record_is_named(tmp_path, text):
    (tmp_path / "record.json").write_text(text)
    with pytest.raises(RecordError, match=r"record\.json"):
        RunRecord.load(tmp_path)


def test_numbers_that_json_does_not_have_become_null(tmp_path):
    record(truth={"mfu": float("nan")}).save(tmp_path)
    assert json.loads((tmp_path / "record.json").read_text())["truth"] == {"mfu": None}


def test_a_run_is_found_by_the_name_of_its_point(tmp_path):
    record(name="small").save(tmp_path / "aaa")
    record(name="large").save(tmp_path / "bbb")
    assert find_run(tmp_path / "large") == tmp_path / "bbb"
    assert find_run(tmp_path / "aaa") == tmp_path / "aaa"
    assert find_run(tmp_path / "large" / "model") == tmp_path / "bbb" / "model"


def test_a_name_that_several_points_have_is_refused_with_what_distinguishes_them(tmp_path):
    record(name="small", overrides=["seed=0"]).save(tmp_path / "aaa")
    record(name="small", overrides=["seed=1"]).save(tmp_path / "bbb")
    with pytest.raises(RecordError, match=r"aaa \(seed=0\).*bbb \(seed=1\)"):
        find_run(tmp_path / "small")


def test_a_name_that_no_point_has_is_answered_with_those_that_exist(tmp_path):
    record(name="small").save(tmp_path / "aaa")
    with pytest.raises(RecordError, match="has small"):
        find_run(tmp_path / "smal")
