"""What commands write beside runs at an address goes back there."""

import importlib
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

import chemscale
from chemscale.analysis.fit import FitOutcome
from chemscale.objects.address import local_place
from chemscale.objects.reading import bring_records
from chemscale.records import PointPlan, keep_plan
from tests.helpers.object_stores import Fault, forbid


@pytest.fixture
def sweep(bucket):
    record = {"attempts": 1, "updated": "2026-01-01T00:00:00+00:00"}
    bucket.put("runs/sweep/one/record.json", json.dumps(record).encode())
    return f"{bucket.url}/runs/sweep"


def write(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("found")
    return folder / name


def fit_runs(source, **_):
    return FitOutcome([], write(source / "law", "report.html"), {"parameters": {"a": 1}})


def test_the_function_fit_takes_an_address_and_leaves_its_law_there(bucket, sweep, monkeypatch):
    monkeypatch.setattr("chemscale.analysis.fit.fit_runs", fit_runs)
    found = chemscale.fit(sweep)
    assert found.report == local_place(sweep) / "law" / "report.html"
    assert bucket.get("runs/sweep/law/report.html") == b"found"


def test_a_law_that_the_store_does_not_take_is_found_all_the_same(sweep, bucket, monkeypatch, caplog):
    monkeypatch.setattr("chemscale.analysis.fit.fit_runs", fit_runs)
    bucket.proxy.faults.append(Fault(lambda method, path: method == "PUT", forbid, times=99))
    assert chemscale.fit(sweep).found
    assert f"What was written is in {local_place(sweep) / 'law'}" in caplog.text


def test_the_points_of_a_sweep_are_known_at_its_address_before_they_begin(bucket, sweep):
    keep_plan([PointPlan("two", local_place(sweep) / "two", "w8", 1, 1.0, 1.0, 1.0, 1.0)])
    (point,) = json.loads(bucket.get("runs/sweep/planned.json"))["points"]
    assert point["identity"] == "two"


def test_the_estimate_of_a_sweep_is_left_beside_it(bucket, sweep, monkeypatch):
    report = SimpleNamespace(write=lambda out: write(out, "report.html"), lines=list)
    monkeypatch.setattr("chemscale.analysis.early_stopping.report_of", lambda *_, **__: (report, []))
    command = importlib.import_module("chemscale.estimate").estimate
    command(Path(sweep), 0.2, "validation", None, None, 0.05, 0.005, None, None)
    assert bucket.get("runs/sweep/estimate/report.html") == b"found"


def test_the_evaluation_of_molecules_of_a_run_is_left_beside_it(bucket, sweep, monkeypatch):
    from chemscale.molecules.metrics import run as metrics

    run = local_place(sweep) / "one"
    write(run / "model", "config.json")
    monkeypatch.setattr(metrics.Known, "of", lambda *_: metrics.Known())
    monkeypatch.setattr(metrics, "earlier_evaluation", lambda folder, _: write(folder, "report.html"))
    metrics.evaluate_molecules(run)
    assert bucket.get("runs/sweep/one/evaluation/report.html") == b"found"


def test_the_evaluation_of_a_potential_is_left_beside_it(bucket, sweep, monkeypatch):
    run = local_place(sweep) / "one"

    def evaluate_run(*_, **__):
        path, page = write(run, "evaluation-test.json"), write(run, "evaluation-test.html")
        return SimpleNamespace(values={}, groups=[None], path=path, page=page)

    monkeypatch.setattr("chemscale.points.trained.evaluation.evaluate_run", evaluate_run)
    importlib.import_module("chemscale.evaluate")._potential(run, "test", None, 32, "formula", "cpu")
    assert bucket.get("runs/sweep/one/evaluation-test.html") == b"found"
    assert bucket.get("runs/sweep/one/evaluation-test.json") == b"found"


def test_records_that_are_here_are_not_read_again(bucket):
    def put(name, updated):
        record = {"attempts": 1, "updated": updated}
        bucket.put(f"runs/sweep/{name}/record.json", json.dumps(record).encode())

    for number in range(12):
        put(f"run{number}", "2026-01-01T00:00:00+00:00")
    assert len(list(bring_records(f"{bucket.url}/runs/sweep").glob("*/record.json"))) == 12
    bucket.proxy.asked.clear()
    put("run3", "2026-01-02T00:00:00+00:00")  # as long as before
    root = bring_records(f"{bucket.url}/runs/sweep")
    read = [path for method, path in bucket.proxy.asked if method == "GET" and "record.json" in path]
    assert len(read) == 1
    assert json.loads((root / "run3" / "record.json").read_text())["updated"].startswith("2026-01-02")
