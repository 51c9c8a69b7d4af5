"""The verb on a folder of runs: from records to a page that stands alone."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from chemscale.analysis.fit import fit_runs
from chemscale.analysis.records_to_points import family_of
from chemscale.laws import PointsError
from chemscale.records import Loss, Parameters, RunRecord, State
from tests.helpers.fit_command import SIZES, invoke, reason, write_csv


def write_run(root: Path, size: int, loss: float | None, state: State = State.DONE) -> None:
    run = RunRecord(
        identity=f"id{size}",
        sweep="s",
        family="chemgpt",
        name=f"run-{size}",
        config={},
        versions={"torch": "2"},
        git_revision=None,
        data_hash="datahash",
        seed=0,
        parameters=Parameters(size + 300, size + 20, size + 10, size),
        state=state,
        reason="" if state is State.DONE else "out of memory",
        final=Loss(9, {"nats_per_token": loss, "nats_per_molecule": 40 * loss}) if loss else None,
        truth={"tokens_per_second": 5.0},
    )
    run.data.tokens = 1000
    run.save(root / f"id{size}")
    rows = [
        {"kind": "validation", "step": s, "tokens": 100 * s, "nats_per_token": 3 - s / 10} for s in (1, 5, 9)
    ]
    (root / f"id{size}" / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)))


@pytest.fixture
def runs(tmp_path) -> Path:
    for size in (10_000, 40_000, 160_000, 640_000):
        write_run(tmp_path / "sweep", size, 5 * size**-0.12)
    write_run(tmp_path / "sweep", 9_000_000, None, State.FAILED)
    return tmp_path / "sweep"


def test_runs_give_a_law_with_its_interval_and_leave_failures_out(runs):
    outcome = fit_runs(runs, command="the command", bootstrap=100)
    law = json.loads((runs / "law" / "law.json").read_text())
    assert {"form", "parameters", "intervals", "objective", "data", "command"} <= set(law)
    assert law["parameters"]["beta"] == pytest.approx(0.12, abs=1e-6)
    assert law["command"] == "the command"
    assert [p["used"] for p in law["data"]["points"]].count(True) == 4
    assert "out of memory" in (runs / "law" / "report.html").read_text()
    assert any("β = 0.12 [" in line for line in outcome.lines)


def test_the_page_stands_alone_and_shows_every_run(runs):
    page = fit_runs(runs, bootstrap=100).report.read_text()
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert "<script" not in page
    for size in ("10,000", "640,000", "9,000,000"):
        assert size in page


def test_the_rule_by_which_runs_are_left_out_stands_in_the_report(runs):
    outcome = fit_runs(runs, bootstrap=100, exclude_highest=1)
    left = [p["label"] for p in outcome.law["data"]["points"] if not p["used"]]
    assert left == ["run-10000", "run-9000000"]
    assert any("--exclude-highest 1" in line for line in outcome.lines)


def test_too_few_runs_still_give_a_report_with_the_reason(tmp_path):
    write_run(tmp_path, 10_000, 2.0)
    write_run(tmp_path, 20_000, 1.9)
    outcome = fit_runs(tmp_path)
    assert outcome.law["parameters"] is None
    assert not outcome.found
    assert invoke(tmp_path).exit_code == 1
    assert any("two points always lie on a line" in line for line in outcome.lines)
    assert "No law" in outcome.report.read_text()


@pytest.mark.parametrize("state", [State.PAUSED, State.STOPPED])
def test_a_sweep_that_an_estimate_pruned_feeds_no_law(runs, state):
    write_run(runs, 20_000, None, state)
    with pytest.raises(PointsError, match=r"1 of its 6 runs were paused or stopped.*chemscale\.estimate"):
        fit_runs(runs)
    identities = [f"id{size}" for size in (10_000, 40_000, 160_000, 640_000)]
    assert fit_runs(runs, only=identities, bootstrap=100).law["parameters"]["beta"] == pytest.approx(0.12)


def test_distinct_tokens_are_the_axis_where_runs_repeat_their_data(tmp_path):
    for unique in (1e5, 2e5, 4e5, 8e5):
        write_run(tmp_path, 10_000, 5 * unique**-0.2)
        run = RunRecord.load(tmp_path / "id10000")
        run.identity = f"u{unique:.0f}"
        run.data.tokens, run.data.unique_tokens = int(10 * unique), int(unique)
        run.save(tmp_path / run.identity)
    shutil.rmtree(tmp_path / "id10000")
    assert fit_runs(tmp_path, bootstrap=100).law["axis"] == "unique_tokens"
    for path in tmp_path.glob("u*/record.json"):
        run = RunRecord.load(path)
        run.data.tokens, run.data.unique_tokens = run.data.unique_tokens, 10**7
        run.save(path.parent)
    assert fit_runs(tmp_path, bootstrap=100).law["axis"] == "tokens"


@pytest.mark.slow
def test_a_browser_shows_the_page_on_a_phone_without_overflow(runs, tmp_path):
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed")
    page = fit_runs(runs, bootstrap=100).report
    probe = (
        "<script>document.title = [document.documentElement.scrollWidth, innerWidth, "
        "...[...document.images].map(i => i.naturalWidth)].join(' ')</script>"
    )
    framed = tmp_path / "probe.html"
    framed.write_text(page.read_text().replace("</body>", probe + "</body>"))
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
    ]
    command = [chromium, *flags, f"--user-data-dir={tmp_path / 'profile'}", "--window-size=500,900"]
    dom = subprocess.run(
        [*command, "--virtual-time-budget=3000", "--dump-dom", framed.as_uri()],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    width, window, *images = map(int, re.search(r"<title>([\d ]+)</title>", dom)[1].split())
    assert width <= window
    assert len(images) == 2
    assert min(images) > 100


def test_options_that_would_be_ignored_are_refused(runs, tmp_path):
    assert "--columns is for a file" in reason(invoke(runs, "--columns", "N=n,loss=l"))
    assert "--flops-model is for a file" in reason(invoke(runs, "--flops-model", "6nd"))
    path = write_csv(tmp_path / "c.csv", "n,l", [(n, 4 * n**-0.1) for n in SIZES])
    assert "--unit x is for a directory" in reason(invoke(path, "--columns", "N=n,loss=l", "--unit", "x"))
    assert "--form names no form" in reason(invoke(runs, "--form", ","))


def change(run: Path, **values) -> None:
    record = RunRecord.load(run)
    for name, value in values.items():
        setattr(record, name, value)
    record.save(run)


def test_families_of_different_losses_are_not_mixed_unless_one_loss_is_named(runs):
    write_run(runs, 20_000, 1.5)
    change(runs / "id20000", family="painn", final=Loss(9, {"forces_mae": 30.0, "objective": 1.0}))
    with pytest.raises(PointsError, match=r"chemgpt: nats_per_token; painn: forces_mae.*--unit"):
        fit_runs(runs, bootstrap=100)
    outcome = fit_runs(runs, bootstrap=100, unit="nats_per_token")
    assert outcome.law["parameters"]["beta"] == pytest.approx(0.12, abs=1e-6)
    assert any("painn have no nats_per_token" in line for line in outcome.lines)


def test_other_labels_modules_and_ways_of_choosing_are_other_families(runs):
    record = RunRecord.load(next(runs.glob("id*")))
    record.family = "pyg"
    d3 = {"method": "d3bj", "functional": "PBE"}
    lists = [f"runs/al/selections/{how}-0-n80-0123456789ab.json" for how in ("random", "uncertain")]
    sections = [
        {}, {"subtract": d3}, {"subtract": d3 | {"three_body": True}},
        {"subtract": d3 | {"functional": "b3lyp"}},
        *({"selection": path} for path in (*lists, "my-list.json")),
    ]  # fmt: skip
    families = []
    for module in ("torch_geometric.nn.models.SchNet", "mine.ViSNet"):
        for data in sections:
            record.config = {"model": {"family": "pyg", "module": module}, "data": data}
            families.append(family_of(record))
    assert len(set(families)) == len(families)
    assert families[:2] == ["pyg SchNet", "pyg SchNet without d3bj of pbe"]
    assert families[4:7] == [f"pyg SchNet on {how} frames" for how in ("random", "uncertain", "selected")]


def test_settings_that_differ_besides_size_data_and_seed_are_named(runs):
    def config(size: int, lr: float) -> dict:
        return {
            "model": {"width": size, "basis": "bessel"}, "optimizer": {"lr": lr}, "seed": size,
            "budget": {"steps": size}, "trainer": {"threads": size, "clip": 1.0}, "data": {"molecules": size},
        }  # fmt: skip

    for path in runs.glob("id*"):
        change(path, config=config(int(path.name[2:]), 0.004))
    assert not any("differ in" in line for line in fit_runs(runs, bootstrap=100).lines)
    change(runs / "id40000", config=config(40_000, 0.002))
    outcome = fit_runs(runs, bootstrap=100)
    assert any("these runs differ in optimizer.lr:" in line for line in outcome.lines)
    assert "optimizer.lr" in outcome.report.read_text()
