"""What no law should rest on is left out of a folder of runs, or named, in the same words everywhere."""

import json
import shutil

import numpy as np
import pytest
from omegaconf import OmegaConf

from chemscale.analysis.early_stopping import curve_of, report_of
from chemscale.analysis.finish import finish_sweep
from chemscale.analysis.fit import fit_runs
from chemscale.dashboards.local.board import Board
from chemscale.laws.data.left_out import DIVERGED, in_state
from chemscale.laws.data.points import PointsError
from chemscale.laws.early_stopping.rule import Rule
from chemscale.records import Loss, PointPlan, RunRecord, State, find_records
from tests.helpers.local_runs import write_run

SIZES = (10_000, 40_000, 160_000, 640_000)


def sweep_in(folder):
    for size in SIZES:
        write_run(folder, f"run-{size}", matrices=size, loss=5 * size**-0.12)
    return folder


def without_loss(directory):
    record = RunRecord.load(directory)
    record.final = record.best = Loss(record.final.step, {"nats_per_token": float("nan")})
    record.save(directory)


def said(folder):
    return "\n".join(fit_runs(folder, bootstrap=100).lines)


def test_a_run_that_is_done_without_a_loss_is_left_out_with_its_reason(tmp_path):
    folder = sweep_in(tmp_path / "s")
    without_loss(write_run(folder, "bad", matrices=20_000))
    without_loss(
        write_run(folder, "late", matrices=30_000, state=State.FAILED, reason="DivergedError: (step 3)")
    )
    text = said(folder)
    assert f"left out: 2 of 6: 2 {DIVERGED} (bad, late)" in text
    assert "β = 0.12" in text
    board = Board(folder)
    board.refresh()
    assert board.state()["rows"]["bad"]["reason"].startswith(DIVERGED)
    assert board.state()["rows"]["bad"]["state"] == "done"


def test_a_run_with_a_number_missing_in_any_unit_or_without_the_unit_feeds_no_law(tmp_path):
    folder = sweep_in(tmp_path / "s")
    for name, values in (
        ("part", {"nats_per_token": 1.0, "nats_per_molecule": float("nan")}),
        ("other", {"nats_per_molecule": 30.0}),
        ("nothing", {}),
    ):
        directory = write_run(folder, name, matrices=20_000)
        record = RunRecord.load(directory)
        record.final = record.best = Loss(record.final.step, values)
        record.save(directory)
    text = said(folder)
    assert "left out: 3 of 7" in text
    assert f"{DIVERGED} (part)" in text
    assert "2 no nats_per_token (other, nothing)" in text or "2 no nats_per_token (nothing, other)" in text
    assert "β = 0.12" in text
    with pytest.raises(PointsError, match="--unit energy_mae: the runs have nats_per_token"):
        fit_runs(folder, unit="energy_mae", bootstrap=100)


def test_the_end_of_a_sweep_shows_the_good_points_and_names_the_bad_one(tmp_path, monkeypatch, capsys):
    folder = sweep_in(tmp_path / "runs" / "s")
    without_loss(write_run(folder, "bad", matrices=20_000))
    plans = []
    for directory in sorted(folder.iterdir()):
        record = RunRecord.load(directory)
        plans.append(PointPlan(record.identity, directory, record.name, 1, 1.0, 1.0, 1.0, 1.0))
    config = OmegaConf.create({"runs": str(tmp_path / "runs"), "sweep_name": "s", "logger": None})
    monkeypatch.setattr("sys.argv", ["train", "+sweep=s"])
    with pytest.raises(SystemExit) as left:
        finish_sweep(plans, [config] * len(plans))
    assert left.value.code == 1
    table = capsys.readouterr().err
    assert "done: diverged" in " ".join(table.split())
    law = json.loads((folder / "law" / "law.json").read_text())
    assert law["parameters"]["beta"] == pytest.approx(0.12, abs=1e-3)


def test_the_same_points_in_two_sweeps_are_counted_once_and_that_is_said(tmp_path):
    sweep_in(tmp_path / "a")
    alone = fit_runs(tmp_path / "a", bootstrap=100).law
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    both = fit_runs(tmp_path, bootstrap=100)
    assert both.law["parameters"] == alone["parameters"]
    assert both.law["intervals"] == alone["intervals"]
    assert any("4 the same as another run" in line and f"{tmp_path}/b" in line for line in both.lines)
    board = Board(tmp_path)
    board.refresh()
    rows = board.state()["rows"]
    assert rows["b/run-10000"]["reason"] == "the same as another run (a/run-10000)"
    assert "reason" not in rows["a/run-10000"]


def test_an_estimate_leaves_out_what_a_law_does_in_the_same_words(tmp_path):
    for n in range(4):
        write_run(tmp_path / "s", f"lr-{n}", loss=2 + n / 10)
    without_loss(write_run(tmp_path / "s", "bad"))
    write_run(tmp_path / "s", "late", state=State.FAILED, reason="DivergedError: step 3")
    shutil.copytree(tmp_path / "s" / "lr-3", tmp_path / "other" / "lr-3")
    found = list(find_records(tmp_path))
    report, used = report_of(found, Rule(rungs=(0.5,), estimator="tse"), title="s", unit=None, command="")
    assert sorted(record.name for _, record in used) == ["lr-0", "lr-1", "lr-2", "lr-3"]
    assert report.lines()[0].startswith(
        f"Left out: 3 of 7: 2 {DIVERGED} (bad, late); 1 the same as another run"
    )


def test_records_that_cannot_be_read_are_named_and_the_others_fitted(tmp_path):
    folder = sweep_in(tmp_path / "s")
    whole = (folder / "run-10000" / "record.json").read_text()
    broken = {
        "cut": whole[:200].encode(), "empty": b"", "binary": b"\x80\x00\xff", "list": b"[]",
        "version": whole.replace('"schema_version": 1', '"schema_version": 9').encode(),
        "parts": whole.replace('"matrices"', '"other"').encode(),
    }  # fmt: skip
    for name, content in broken.items():
        (folder / name).mkdir()
        (folder / name / "record.json").write_bytes(content)
    (folder / "folder" / "record.json").mkdir(parents=True)
    text = said(folder)
    assert "7 unreadable record" in text
    assert all(f"{folder / name / 'record.json'}" in text for name in (*broken, "folder"))
    for size in SIZES:
        shutil.rmtree(folder / f"run-{size}")
    with pytest.raises(PointsError, match="none of its 7 records can be read"):
        fit_runs(folder)


def test_other_versions_of_the_software_are_said(tmp_path):
    folder = sweep_in(tmp_path / "s")
    assert "different software" not in said(folder)
    for n, (directory, record) in enumerate(find_records(folder)):
        record.versions, record.git_revision = {"torch": f"2.{n % 2}"}, "abc" if n else "def"
        record.save(directory)
    assert "torch 2.0 (2 runs), 2.1 (2 runs); code abc (3 runs), def (1 runs)" in said(folder)


def test_a_run_that_skipped_steps_or_ended_far_above_smaller_ones_is_named_and_fitted(tmp_path):
    folder = sweep_in(tmp_path / "s")
    assert "CHECK" not in said(folder)
    write_run(folder, "odd", matrices=320_000, loss=45.0, skipped_steps=77)
    law = fit_runs(folder, bootstrap=100)
    (line,) = [line for line in law.lines if line.startswith("CHECK odd (odd)")]
    assert "odd (odd): 77 of 100 steps had no finite gradient; ended at 45 where run-160000" in line
    assert all(point["used"] for point in law.law["data"]["points"])


def test_records_use_the_words_of_tables(tmp_path):
    record = RunRecord.load(write_run(tmp_path, "x", State.PREEMPTED, reason="SIGTERM (at step 3)"))
    assert record.why_left_out() == in_state("preempted") + " (SIGTERM at step 3)"


def test_a_row_whose_steps_were_all_left_out_does_not_make_a_run_diverge(tmp_path):
    directory = write_run(tmp_path / "s", "run")
    rows = [{"kind": "train", "step": n, "loss": None if n in (2, 5) else 1.0} for n in range(1, 6)]
    (directory / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    curve = curve_of(directory, RunRecord.load(directory), "nats_per_token")
    assert curve.seen.tolist() == [1, 3, 4, 5]  # the last one stays: whether it recovers is not known
    assert np.isnan(curve.loss).tolist() == [False, False, False, True]
