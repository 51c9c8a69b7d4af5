"""What the local dashboard reads, and what it says of it."""

import json
import math
import os
import shutil
import socket
import time

import numpy as np
import pytest

from chemscale.common.files import write_json
from chemscale.dashboards.local import curves
from chemscale.dashboards.local.board import Board
from chemscale.dashboards.local.curves import MAX_ROWS, Curve
from chemscale.dashboards.local.page import snapshot, write_page
from chemscale.dashboards.local.points import SILENT_S
from chemscale.laws.data.points import LawPoint, LawPoints
from chemscale.laws.reports.joint_analysis import analyse
from chemscale.laws.reports.joint_report import SurfaceReport
from chemscale.laws.reports.page import Origin
from chemscale.records import PointPlan, RunRecord, State, find_records, keep_plan
from tests.helpers.local_runs import PER_STEP, grow, rows_at, write_law, write_run


def look(board: Board, since: int = 0) -> dict:
    """The state as it is now, however fresh the last look was."""
    board._looked = float("-inf")
    board.refresh()
    return board.state(since)


def rows_by_name(state: dict) -> dict[str, dict]:
    return {row["name"]: row for row in state["rows"].values() if row}


def test_every_state_is_counted_and_a_broken_record_is_one_of_them(tmp_path):
    sweep = tmp_path / "sizes"
    for state in State:
        write_run(sweep, state.value, state, reason="why" if state is State.FAILED else "")
    for name, text in {
        "empty": "", "half": '{"identity": "x", "sta', "list": "[]", "other": '{"schema_version": 99}',
        "binary": "\udcff",
    }.items():  # fmt: skip
        (sweep / name).mkdir()
        (sweep / name / "record.json").write_bytes(text.encode(errors="surrogateescape"))
    for key, value in {"planned_steps": "many", "truth": {"mfu_percent": math.nan}, "parameters": {}}.items():
        strange = write_run(sweep, f"strange {key}")
        raw = json.loads((strange / "record.json").read_text())
        (strange / "record.json").write_text(json.dumps(raw | {key: value}))
    state = look(Board(tmp_path))
    counts = state["sweeps"]["sizes"]["counts"]
    assert counts == {**dict.fromkeys((s.value for s in State), 1), "unreadable": 8}
    rows = rows_by_name(state)
    assert "not valid JSON" in rows["half"]["reason"]
    assert "schema version 99" in rows["other"]["reason"]
    assert rows["failed"]["reason"] == "why"
    json.dumps(state, allow_nan=False)


def test_a_failed_point_names_the_file_with_its_traceback(tmp_path):
    failed = write_run(tmp_path, "failed", State.FAILED, reason="OutOfMemoryError: much")
    (failed / "error.txt").write_text("Traceback")
    assert rows_by_name(look(Board(tmp_path)))["failed"]["error"] == str(failed / "error.txt")


def test_a_running_point_whose_files_do_not_move_is_silent_until_they_do(tmp_path):
    run = write_run(tmp_path, "run", State.RUNNING, steps=50)
    board = Board(tmp_path)
    assert rows_by_name(look(board))["run"]["state"] == "running"
    before = time.time() - SILENT_S - 5
    for name in ("record.json", "metrics.jsonl"):
        os.utime(run / name, (before, before))
    assert rows_by_name(look(board))["run"]["state"] == "silent"
    grow(run, 60, 1.9)
    assert rows_by_name(look(board))["run"]["state"] == "running"


def test_a_running_point_is_shown_as_far_as_its_curve_not_as_its_record(tmp_path):
    run = write_run(tmp_path, "run", State.RUNNING, steps=50)
    grow(run, 80, 1.5)
    row = rows_by_name(look(Board(tmp_path)))["run"]
    assert (row["steps"], row["seen"], row["losses"]["nats_per_token"]) == (80, 80 * PER_STEP, 1.5)
    assert row["left"] == pytest.approx(20 * PER_STEP / 5000)


def test_only_what_changed_is_told_again(tmp_path):
    write_run(tmp_path / "a", "one")
    run = write_run(tmp_path / "a", "two", State.RUNNING, steps=50)
    gone = write_run(tmp_path / "b", "three")
    board = Board(tmp_path)
    first = look(board)
    assert set(first["rows"]) == {"a/one", "a/two", "b/three"}
    nothing = look(board, first["version"])
    assert nothing["version"] == first["version"]
    assert not nothing["rows"]
    grow(run, 60, 1.9)
    shutil.rmtree(gone)
    later = look(board, first["version"])
    assert set(later["rows"]) == {"a/two", "b/three"}
    assert later["rows"]["b/three"] is None
    assert later["sweeps"]["b"] is None


def test_points_that_slurm_has_not_started_wait_and_count_in_the_time_left(tmp_path):
    run = write_run(tmp_path / "sweep", "run", State.RUNNING, steps=50)
    plan = {"name": "later", "parameters": 10_000, "steps": 100, "directory": "runs/sweep/later"}
    plan |= {"flops": 6e4 * 100 * PER_STEP, "seconds": 1.0}
    entries = {
        "later": {"plan": plan, "jobs": ["17_1"]},
        "stopped": {"plan": plan | {"name": "stopped"}, "jobs": ["17_2"], "cancelled": True},
        run.name: {"plan": plan | {"name": "run"}, "jobs": ["17_0"]},
        "odd": {"plan": None},
    }
    jobs = tmp_path / "sweep" / "jobs"
    jobs.mkdir()
    (jobs / "submission.json").write_text(json.dumps({"points": entries, "sweep": list(entries)}))
    state = look(Board(tmp_path))
    about = state["sweeps"]["sweep"]
    assert about["whole"]
    assert about["counts"] == {"running": 1, "waiting": 1, "cancelled": 1}
    assert "17_1" in rows_by_name(state)["later"]["reason"]
    # 50 steps of the running one and 100 of the waiting one, one at a time.
    assert about["left"] == pytest.approx(150 * PER_STEP / 5000)


def test_points_of_a_sweep_in_one_process_wait_by_the_plan_that_it_left(tmp_path):
    run = write_run(tmp_path / "sweep", "run", State.RUNNING, steps=50)
    plans = [
        PointPlan(
            name, tmp_path / "sweep" / name, name, 10_000, 1e5, 6e4 * 100 * PER_STEP, 1.0, 1.0, steps=100
        )
        for name in (run.name, "later")
    ]
    keep_plan(plans)
    state = look(Board(tmp_path))
    assert state["sweeps"]["sweep"]["whole"]
    assert state["sweeps"]["sweep"]["counts"] == {"running": 1, "waiting": 1}
    assert rows_by_name(state)["later"]["reason"] == "planned"
    assert state["sweeps"]["sweep"]["left"] == pytest.approx(150 * PER_STEP / 5000)


def test_a_plan_whose_time_is_unknown_or_that_is_no_plan_stops_nothing(tmp_path):
    """Nothing has run on this device yet: the planned seconds are not a number, null in the file."""
    sweep = tmp_path / "sweep"
    keep_plan([PointPlan("new", sweep / "new", "new", 10_000, 1e5, 1e12, math.nan, 1.0, steps=100)])
    (row,) = look(Board(tmp_path))["rows"].values()
    assert row["state"] == "waiting"
    assert "planned_seconds" not in row
    plan = json.loads((sweep / "planned.json").read_text())["points"][0]
    for odd in ({"flops": math.inf}, {"steps": math.inf}, {"parameters": 10**400}, {"name": "\ud800"}):
        (sweep / "planned.json").write_text(json.dumps({"points": [plan | odd]}))
        json.dumps(look(Board(tmp_path)), allow_nan=False)
        write_page(tmp_path, tmp_path / "page.html")
    (sweep / "planned.json").write_text("[" * 100_000)
    assert look(Board(tmp_path))["rows"] == {}


def test_a_link_to_a_folder_above_shows_nothing_twice_and_a_pipe_stops_nothing(tmp_path):
    write_run(tmp_path / "sweep", "run")
    (tmp_path / "sweep" / "up").symlink_to("..")
    (tmp_path / "sweep" / "pipe").mkdir()
    os.mkfifo(tmp_path / "sweep" / "pipe" / "record.json")
    assert list(look(Board(tmp_path))["sweeps"]) == ["sweep"]


@pytest.mark.parametrize("what", ["pipe", "socket", "folder", "link to a device"])
@pytest.mark.parametrize("name", ["metrics.jsonl", "record.json", "law.json", "report.html", "points.csv"])
def test_what_is_no_file_is_not_opened_and_the_page_goes_on(tmp_path, what, name):
    sweep = tmp_path / "s"
    directory = write_run(sweep, "run", State.RUNNING)
    write_run(sweep, "good")
    law = sweep / "law"
    law.mkdir()
    (law / "law.json").write_text(json.dumps({"kind": "ladder", "unit": "u", "axis": "x", "rungs": {}}))
    folder = directory if name in ("metrics.jsonl", "record.json") else law
    place_irregular(folder / name, what)
    board = Board(tmp_path)
    state = look(board)
    assert "s/good" in state["rows"]
    assert board.curves("s", ["validation/nats_per_token"])["more"] == 0
    board.wait_for_laws(5.0)
    # The same files stop neither a law nor an estimate; a record that is none of them is named.
    unreadable = []
    found = [record.name for _, record in find_records(sweep, unreadable)]
    assert found + [each.directory.name for each in unreadable] in (["good", "run"], ["run", "good"])
    for run, record in find_records(sweep, []):
        record.curve_rows(run)


def test_a_curve_that_is_huge_is_read_in_turns_and_one_without_lines_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.setattr(curves, "CHUNK", 1 << 10)
    monkeypatch.setattr(curves, "TURN", 4 << 10)
    monkeypatch.setattr(curves, "MAX_LINE", 2 << 10)
    directory = write_run(tmp_path / "s", "run")
    rows = [json.dumps({"kind": "train", "step": n, "tokens": n, "loss": 1.0}) for n in range(1, 900)]
    (directory / "metrics.jsonl").write_text("\n".join(rows) + "\n")
    board = Board(tmp_path)
    look(board)
    assert board.curves("s", ["train/loss"], seconds=-1)["more"] == 1
    while board.curves("s", ["train/loss"], seconds=0.0001)["more"]:
        pass
    assert board.points["s/run"].curve.newest["step"] == 899
    sparse = write_run(tmp_path / "s", "sparse") / "metrics.jsonl"
    with open(sparse, "wb") as file:
        file.truncate(1 << 40)
    board = Board(tmp_path)
    look(board)
    assert board.curves("s", ["train/loss"], seconds=5)["more"] == 0
    assert board.points["s/sparse"].curve.broken_lines == 1


def place_irregular(path, what):
    path.unlink(missing_ok=True)
    if what == "pipe":
        os.mkfifo(path)
    elif what == "socket":
        here = os.getcwd()
        os.chdir(path.parent)  # the name of a socket is short
        try:
            with socket.socket(socket.AF_UNIX) as bound:
                bound.bind(path.name)
        finally:
            os.chdir(here)
    elif what == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")


def test_time_left_is_unknown_where_nothing_runs_and_absent_where_all_is_done(tmp_path):
    write_run(tmp_path / "cut", "a", State.PREEMPTED, steps=50)
    write_run(tmp_path / "done", "a")
    sweeps = look(Board(tmp_path))["sweeps"]
    assert not sweeps["cut"]["whole"]
    assert sweeps["cut"]["left_why"] == "nothing is running"
    assert "left" not in sweeps["cut"]
    assert sweeps["done"]["left_why"] == ""


def test_energy_that_was_not_measured_is_absent_and_not_zero(tmp_path):
    write_run(tmp_path / "without", "a")
    write_run(tmp_path / "partly", "a", joules=1500.0)
    write_run(tmp_path / "partly", "b")
    state = look(Board(tmp_path))
    assert "joules" not in state["sweeps"]["without"]
    assert (state["sweeps"]["partly"]["joules"], state["sweeps"]["partly"]["joules_of"]) == (1500.0, 1)
    assert "joules" not in state["rows"]["without/a"]["sizes"]


def test_a_curve_takes_whole_lines_only_and_starts_again_where_the_file_was_cut(tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = [json.dumps(row) + "\n" for step in (10, 20, 30) for row in rows_at(step, 2.0)]
    path.write_text("".join(lines[:6]) + lines[6][:20])
    curve = Curve(path)
    assert curve.read()
    assert curve.newest["step"] == 20
    assert not curve.read()
    with open(path, "a") as file:
        file.write(lines[6][20:] + "not JSON\n" + "".join(lines[7:]))
    assert curve.read()
    assert (curve.newest["step"], curve.broken_lines) == (30, 1)
    # As training does when it resumes: a new file with fewer lines.
    shorter = tmp_path / "metrics.part"
    shorter.write_text("".join(lines[:3]))
    os.replace(shorter, path)
    assert curve.read()
    assert (curve.newest["step"], curve.broken_lines) == (10, 0)
    path.unlink()
    assert curve.read()
    assert not curve.series


def test_seconds_of_a_curve_add_up_from_its_rates(tmp_path):
    rates = {10: 1000.0, 20: 500.0, 30: 2000.0}
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for s, rate in rates.items() for r in rows_at(s, 2.0, rate)))
    curve = Curve(path)
    curve.read()
    assert curve.series["train"].table("loss", 100)["seconds"] == [10.0, 30.0, 35.0]
    assert curve.series["validation"].table("nats_per_token", 100)["seconds"] == [10.0, 30.0, 35.0]


def test_a_thinned_curve_keeps_its_ends_and_every_spike(tmp_path):
    path = tmp_path / "metrics.jsonl"
    spikes = {7_770: 9.0, 12_340: 0.1}
    with open(path, "w") as file:
        for step in range(10, 20_001, 10):
            loss = spikes.get(step, 2 + 1 / step)
            row = {"kind": "train", "step": step, "tokens": step, "flops": step, "loss": loss}
            file.write(json.dumps(row) + "\n")
    curve = Curve(path)
    curve.read()
    assert len(curve.series["train"].rows) < 2 * MAX_ROWS
    table = curve.series["train"].table("loss", 60)
    assert len(table["step"]) <= 62
    assert (table["step"][0], table["step"][-1]) == (10, 20_000)
    assert table["step"] == sorted(table["step"])
    assert {9.0, 0.1} <= set(table["y"])


def sizes(folder, exponent: float = 0.1):
    for width in (16, 24, 32, 48, 64):
        matrices = 96 * width**2
        noise = 1 + 0.002 * (-1) ** (width // 8)
        write_run(folder, f"w{width}", matrices=matrices, loss=noise * 4 * matrices**-exponent)


def test_a_law_is_drawn_as_it_was_fitted_with_its_band_and_only_then(tmp_path):
    sizes(tmp_path / "sizes")
    board = Board(tmp_path)
    assert not look(board)["laws"]
    fitted = write_law(tmp_path / "sizes")
    assert look(board)["laws"]["sizes"][0]["reading"]
    board.wait_for_laws()
    (law,) = board.state()["laws"]["sizes"]
    (line,) = law["lines"]
    values = fitted["parameters"]
    assert fitted["form"] == "offset"
    expected = values["floor"] + values["alpha"] * np.array(line["x"]) ** -values["beta"]
    np.testing.assert_allclose(line["y"], expected, rtol=1e-3)
    assert all(low < y < high for low, y, high in zip(line["low"], line["y"], line["high"], strict=True))
    assert law["report"] in board.reports


def test_a_page_from_the_disk_finds_reports_below_any_name(tmp_path):
    sweep = tmp_path / "runs" / "a#b?: 50 %"
    write_run(sweep, "run")
    write_law(sweep)
    (law,) = snapshot(Board(tmp_path / "runs"), tmp_path / "page.html")["state"]["laws"][sweep.name]
    assert law["report"] == "runs/a%23b%3F%3A%2050%20%25/law/report.html"


def test_a_joint_law_is_drawn_against_size_and_against_data(tmp_path):
    points = []
    for width in (16, 32, 64, 96):
        for steps in (50, 100, 200, 400):
            matrices, tokens = 96 * width**2, steps * PER_STEP
            loss = (20 * matrices**-0.4 + 60 * tokens**-0.4) * (1 + 0.001 * math.sin(width * steps))
            write_run(tmp_path / "joint", f"w{width}-{steps}", matrices=matrices, steps=steps, loss=loss)
            points.append(LawPoint("", {"parameters": matrices, "tokens": tokens}, {"nats_per_token": loss}))
    table = LawPoints(tuple(points), "made").with_six_nd()
    found = analyse(table, "nats_per_token", "tokens", forms=("tied",), bootstrap=50)
    write_json(tmp_path / "joint" / "law" / "law.json", SurfaceReport("joint", found, Origin()).law())
    board = Board(tmp_path)
    look(board)
    board.wait_for_laws()
    (law,) = board.state()["laws"]["joint"]
    assert [line["axis"] for line in law["lines"]] == ["parameters"] * 4 + ["tokens"] * 4
    for line in law["lines"]:
        assert np.all(np.diff(line["y"]) < 0)
        assert np.all(np.array(line["low"]) < line["y"])
    for line, steps in zip(law["lines"][:4], (50, 100, 200, 400), strict=True):
        ends = found.law.band(np.array(line["x"]), np.full(len(line["x"]), steps * PER_STEP))
        np.testing.assert_allclose([line["low"], line["high"]], ends, rtol=1e-4)


def test_a_broken_law_is_named_and_the_runs_are_shown(tmp_path):
    write_run(tmp_path / "sweep", "a")
    (tmp_path / "sweep" / "law").mkdir()
    (tmp_path / "sweep" / "law" / "law.json").write_text('{"kind": "axis"')
    board = Board(tmp_path)
    look(board)
    board.wait_for_laws()
    state = board.state()
    assert "law.json" in state["laws"]["sweep"][0]["problem"]
    assert "sweep/a" in state["rows"]


def test_one_sweep_or_one_run_may_be_given_as_well(tmp_path):
    run = write_run(tmp_path / "sweep", "a")
    assert set(look(Board(tmp_path / "sweep"))["rows"]) == {"a"}
    state = look(Board(run))
    assert rows_by_name(state)["a"]["state"] == "done"
    assert state["sweeps"]["."]["name"] == "a"


def test_reading_changes_nothing_below_the_runs(tmp_path):
    sizes(tmp_path / "sizes")
    write_law(tmp_path / "sizes")

    def everything():
        paths = sorted(tmp_path.rglob("*"))
        return [(p, p.stat().st_mtime_ns, p.read_bytes() if p.is_file() else b"") for p in paths]

    before = everything()
    board = Board(tmp_path)
    look(board)
    board.wait_for_laws()
    board.curves("sizes", ["validation/nats_per_token"])
    assert everything() == before


def test_a_record_that_becomes_whole_again_is_shown_again(tmp_path):
    run = write_run(tmp_path, "run", State.RUNNING, steps=50)
    whole = (run / "record.json").read_text()
    board = Board(tmp_path)
    (run / "record.json").write_text(whole[:100])
    assert look(board)["rows"]["run"]["state"] == "unreadable"
    (run / "record.json").write_text(whole)
    assert look(board)["rows"]["run"]["state"] == "running"
    assert RunRecord.load(run).state is State.RUNNING
