"""The verb: from runs or a CSV to a page that stands alone."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from chemscale.fit import app, fit_runs
from chemscale.laws.points import PointsError, read_csv
from chemscale.records import Loss, Parameters, RunRecord, State
from tests.conftest import real_data


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


def test_too_few_runs_still_give_a_report_that_says_why(tmp_path):
    write_run(tmp_path, 10_000, 2.0)
    write_run(tmp_path, 20_000, 1.9)
    outcome = fit_runs(tmp_path)
    assert outcome.law["parameters"] is None
    assert any("two points always lie on a line" in line for line in outcome.lines)
    assert "No law" in outcome.report.read_text()


def test_a_csv_of_anyone_is_fitted_from_the_command_line(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("params,val\n" + "\n".join(f"{n},{4 * n**-0.1}" for n in (1e3, 1e4, 1e5, 1e6)))
    result = CliRunner().invoke(app, [str(path), "--columns", "N=params,loss=val", "--bootstrap", "100"])
    assert result.exit_code == 0, result.output
    assert "β = 0.1 [" in result.output
    assert (tmp_path / "mine-law" / "report.html").exists()


@pytest.mark.parametrize(
    ("text", "columns", "words"),
    [
        ("n,l\n1,2\n", {"N": "size", "loss": "l"}, "no column 'size'; there are n, l"),
        ("n,l\n1,2\n3,x\n", {"N": "n", "loss": "l"}, "row 3, column l: 'x'"),
        ("n,l\n1,-2\n", {"N": "n", "loss": "l"}, "row 2, column l: -2"),
        ("n,l\n", {"N": "n", "loss": "l"}, "no row"),
        ("n,l\n1,2\n", {"loss": "l"}, "--columns needs"),
    ],
)
def test_a_bad_csv_names_row_and_column(tmp_path, text, columns, words):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(PointsError, match=re.escape(words)):
        read_csv(path, columns)


def test_real_runs_are_fitted(tmp_path):
    source = real_data("scaling/epoch_chinchilla_svg_extracted_data.csv")
    header = source.read_text().splitlines()[0].split(",")
    size, loss = (next(h for h in header if word in h.lower()) for word in ("model size", "loss"))
    arguments = [
        str(source),
        "--columns",
        f"N={size},loss={loss}",
        "--out",
        str(tmp_path),
        "--bootstrap",
        "100",
    ]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "law.json").read_text())["intervals"]["beta"][0] > 0


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
