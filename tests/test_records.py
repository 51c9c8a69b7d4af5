"""A record survives saving, and says what is wrong with a file that is none."""

import json

import pytest

from chemscale.records import Loss, Parameters, RecordError, RunRecord, State, find_records


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


@pytest.mark.parametrize("text", ["{", '{"schema_version": 99}', '{"schema_version": 1}', "[]"])
def test_a_file_that_is_no_record_is_named(tmp_path, text):
    (tmp_path / "record.json").write_text(text)
    with pytest.raises(RecordError, match=r"record\.json"):
        RunRecord.load(tmp_path)


def test_numbers_that_json_does_not_have_become_null(tmp_path):
    record(truth={"mfu": float("nan")}).save(tmp_path)
    assert json.loads((tmp_path / "record.json").read_text())["truth"] == {"mfu": None}
