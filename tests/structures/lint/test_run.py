"""Findings kept beside a store: believed while data and linter are the same."""

import json
import logging

import numpy as np
import pytest

from chemscale.structures.lint import run
from chemscale.structures.preparation.building import SplitPolicy, build_store
from tests.helpers.structures import ToySource, toy_blocks


@pytest.fixture
def store(tmp_path):
    return build_store(ToySource(toy_blocks(40)), tmp_path / "toy", SplitPolicy(validation=0.2))


def test_findings_are_kept_and_read_again(store, monkeypatch):
    first = run.lint_store(store, "warn")
    monkeypatch.setattr(run, "lint", lambda parts: pytest.fail("linted twice"))
    assert run.lint_store(store, "warn") == first


@pytest.mark.parametrize(
    "old",
    [
        [],
        [{"check": "force sign", "severity": "error", "message": "of an older linter"}],
        {"version": 1, "hash": "", "findings": []},
        {"version": run.LINTER_VERSION, "hash": "of other data", "findings": []},
        "cut short",
    ],
)
def test_what_another_linter_or_other_data_left_is_not_believed(store, old):
    (store.path / "lint.json").write_text(json.dumps(old)[: 8 if isinstance(old, str) else None])
    findings = run.lint_store(store, "warn")
    assert any(f.check == "element coverage" for f in findings)
    assert not any("older" in f.message for f in findings)


def test_strict_stops_on_errors_only(tmp_path):
    few = build_store(ToySource(toy_blocks(4)), tmp_path / "few", SplitPolicy(validation=0.2))
    assert any(f.severity == "not checked" for f in run.lint_store(few, "strict"))
    blocks = toy_blocks(40)
    for block in blocks:
        block.forces[:] = 0.0
    zero = build_store(ToySource(blocks), tmp_path / "zero", SplitPolicy(validation=0.2))
    with pytest.raises(ValueError, match="every force is exactly zero"):
        run.lint_store(zero, "strict")


def test_the_log_of_a_run_names_what_was_ok_and_what_was_not_checked(store, caplog):
    with caplog.at_level(logging.INFO):
        run.lint_store(store, "warn")
    assert any(m.startswith("ok · ") and "zero forces" in m for m in caplog.messages)


def test_published_parts_are_linted_as_such():
    blocks = toy_blocks(40)
    source = ToySource(blocks, {"train": np.arange(60), "test": np.arange(60, 80)})
    assert not any(f.check == "leakage" for f in run.lint_source(source))


def test_of_very_many_frames_a_sample_is_looked_at_in_runs_and_its_size_is_said(tmp_path, monkeypatch):
    store = build_store(ToySource(toy_blocks(400)), tmp_path / "many", SplitPolicy(validation=0.1))
    monkeypatch.setattr(run, "MAX_FRAMES", 300)
    findings = run.lint_store(store, "warn")
    (note,) = [f.message for f in findings if f.check == "sample"]
    total = store.manifest["counts"]["train"]
    looked = run.sampled_runs(np.asarray(store.part("train")), len(store), 300)
    assert 300 - run.RUN < len(looked) <= 300
    assert f"{len(looked)} of {total} train frames" in note
    assert "validation" not in note
    assert note.endswith("where both are in it: there are more.")
    train = set(store.part("train").tolist())
    for number in set((looked // run.RUN).tolist()):  # whole runs, as far as they are of the part
        assert train & set(range(number * run.RUN, (number + 1) * run.RUN)) <= set(looked.tolist())
    assert not [f for f in findings if f.severity == "error"]
