"""The verb: from runs or a CSV to a page that stands alone."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from chemscale.analysis.fit import fit_runs
from chemscale.fit import app
from chemscale.laws import PointsError, read_csv
from chemscale.records import Loss, Parameters, RunRecord, State
from tests.helpers.paths import real_data


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
        (
            "n,l\n1,2\n3,x\n4,\n",
            {"N": "n", "loss": "l"},
            "2 no number in l (rows 3, 4); row 3: no number in l ('x')",
        ),
        ("n,l\n1,-2\n", {"N": "n", "loss": "l"}, "row 2: not above 0 in l (-2)"),
        ("n,l\n", {"N": "n", "loss": "l"}, "no row"),
        ("n,l\n1,2\n", {"loss": "l"}, "--columns needs"),
    ],
)
def test_a_bad_csv_names_row_and_column(tmp_path, text, columns, words):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(PointsError, match=re.escape(words)):
        read_csv(path, columns)


def invoke(*arguments: object):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def reason(result) -> str:
    """What a refusal says: ``run_verb`` prints it without a traceback."""
    assert isinstance(result.exception, ValueError), result.output
    return str(result.exception)


def write_csv(path: Path, header: str, rows: list[tuple]) -> Path:
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


SIZES = (1e3, 1e4, 1e5, 1e6)


def test_compute_of_a_csv_is_assumed_only_where_it_is_asked_for_and_noted(tmp_path):
    path = write_csv(tmp_path / "c.csv", "n,d,l", [(n, 20 * n, 4 * n**-0.1) for n in SIZES])
    columns = ("--columns", "N=n,D=d,loss=l", "--axis", "flops", "--bootstrap", 100)
    assert "these points have parameters, tokens" in reason(invoke(path, *columns))
    result = invoke(path, *columns, "--flops-model", "6nd")
    assert result.exit_code == 0, result.output
    assert "β = 0.05 [" in result.output
    assert "C = 6ND is assumed" in result.output
    law = json.loads((tmp_path / "c-law" / "law.json").read_text())
    assert law["data"]["points"][0]["flops"] == 6 * 1e3 * 20e3
    assert "7nd" in reason(invoke(path, *columns, "--flops-model", "7nd"))


def test_runs_of_the_highest_loss_are_left_out_in_a_stated_way(tmp_path):
    rows = [(n, 4 * n**-0.1) for n in SIZES] + [(500, 9.0)]
    path = write_csv(tmp_path / "o.csv", "n,l", rows)
    result = invoke(path, "--columns", "N=n,loss=l", "--exclude-highest", 1, "--bootstrap", 100)
    assert "β = 0.1 [" in result.output
    assert "The run of the highest loss is left out (--exclude-highest 1)." in result.output
    law = json.loads((tmp_path / "o-law" / "law.json").read_text())
    assert [p["reason"] for p in law["data"]["points"] if not p["used"]] == ["the highest loss"]
    assert "only 5 runs" in reason(invoke(path, "--columns", "N=n,loss=l", "--exclude-highest", 5))


WANDB = """"Name","State","Created","model.width","N","validation/nats_per_token"
"a","finished","2026","16","1000","{}"
"b","finished","2026","32","10000","{}"
"c","crashed","2026","48","50000",""
"d","finished","2026","64","100000","{}"
"e","finished","2026","96","400000",""
"f","finished","2026","128","1000000","{}"
""".format(*(4 * n**-0.1 for n in SIZES))


def test_a_table_exported_from_wandb_leaves_crashed_and_empty_runs_out_with_the_reason(tmp_path):
    path = tmp_path / "wandb.csv"
    path.write_text(WANDB)
    result = invoke(path, "--columns", "N=N,loss=validation/nats_per_token", "--bootstrap", 100)
    assert result.exit_code == 0, result.output
    assert "β = 0.1 [" in result.output
    law = json.loads((tmp_path / "wandb-law" / "law.json").read_text())
    reasons = {p["label"]: p["reason"] for p in law["data"]["points"] if not p["used"]}
    assert reasons == {
        "c": "state crashed",
        "e": "no number in validation/nats_per_token (blank)",
    }
    page = (tmp_path / "wandb-law" / "report.html").read_text()
    said = "eft out: 2 of 6: 1 state crashed (row 4); 1 no number in validation/nats_per_token (row 6)"
    assert f"l{said}" in result.output
    assert f"L{said}" in page
    assert law["data"]["left_out"]["reasons"]["state crashed"] == ["row 4"]


@pytest.mark.parametrize("lines", [False, True], ids=["list", "lines"])
def test_runs_exported_from_wandb_as_json_are_read_by_dotted_keys(tmp_path, lines):
    runs = [
        {
            "name": f"run-{n:g}",
            "state": "finished",
            "config": {"model": {"value": {"parameters": n}}, "seed": {"value": k}, "_wandb": {"value": {}}},
            "summary": {"validation": {"nats_per_token": 4 * n**-0.1}, "loss": "NaN"},
        }
        for k, n in enumerate(SIZES)
    ]
    runs.append({"name": "killed", "state": "killed", "config": {}, "summary": json.dumps({"loss": 1})})
    path = tmp_path / ("runs.jsonl" if lines else "runs.json")
    path.write_text("\n".join(map(json.dumps, runs)) if lines else json.dumps(runs))
    columns = "N=model.parameters,loss=summary.validation.nats_per_token,seed=seed"
    result = invoke(path, "--columns", columns, "--bootstrap", 100)
    assert result.exit_code == 0, result.output
    assert "β = 0.1 [" in result.output
    points = json.loads((tmp_path / "runs-law" / "law.json").read_text())["data"]["points"]
    assert [p["seed"] for p in points] == [0, 1, 2, 3, 0]
    assert points[-1]["reason"] == "state killed"
    assert "no column 'model.size'; there are" in reason(invoke(path, "--columns", "N=model.size,loss=loss"))
    assert "none of its 5 runs" in reason(invoke(path, "--columns", "N=model.parameters,loss=summary.loss"))


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.json", "{", "not JSON"),
        ("b.json", "[]", "no run in it"),
        ("c.json", '[{"name": "x", "config": {}}]', "run 1: a run is an object with"),
        ("f.json", '[{"name": "x"}]', "no column 'n'; there are name"),
        ("g.json", "[3]", "run 1: a run is an object of names and values, not 3"),
        ("h.json", '{"n": [1, 2], "l": [3]}', "of different length: n has 2, l has 1"),
        ("d.jsonl", '{"config": 3, "summary": {}}', "its config is not an object"),
        ("e.csv", "Name,State\nx,finished\n", "no column 'n'; there are Name, State"),
    ],
)
def test_an_export_that_cannot_be_read_is_refused_with_the_reason(tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    assert words in reason(invoke(tmp_path / name, "--columns", "N=n,loss=l"))


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


def test_forms_are_listed_with_what_they_assume_and_wrong_ones_are_refused(tmp_path):
    listing = invoke("--forms")
    assert listing.exit_code == 0
    for name in ("power", "offset", "broken1", "broken2", "additive", "repeats", "tied", "kaplan", "auto"):
        assert re.search(rf"^  {name} ", listing.output, re.M), name
    assert "Muennighoff" in listing.output
    path = write_csv(tmp_path / "c.csv", "n,l", [(n, 4 * n**-0.1) for n in SIZES])
    columns = ("--columns", "N=n,loss=l")
    assert "--form cubic: there are auto, power" in reason(invoke(path, *columns, "--form", "cubic"))
    assert "not a mixture" in reason(invoke(path, *columns, "--form", "power,additive"))
    assert "tokens is needed" in reason(invoke(path, *columns, "--form", "additive"))
    assert "leave --axis out" in reason(invoke(path, *columns, "--form", "additive", "--axis", "flops"))


def test_a_form_that_is_asked_for_is_the_only_one(tmp_path):
    path = write_csv(tmp_path / "c.csv", "n,l", [(10**k, 1 + 4 * 10 ** (-0.3 * k)) for k in range(3, 9)])
    result = invoke(path, "--columns", "N=n,loss=l", "--form", "offset", "--bootstrap", 100)
    assert result.exit_code == 0, result.output
    law = json.loads((tmp_path / "c-law" / "law.json").read_text())
    assert [fit["form"] for fit in law["fits"]] == ["offset"]
    assert law["parameters"]["floor"] == pytest.approx(1, rel=1e-4)


def test_real_runs_are_fitted(tmp_path):
    source = real_data("scaling/epoch_chinchilla_svg_extracted_data.csv")
    result = invoke(
        source, "--columns", "N=Model Size,loss=loss", "--out", tmp_path, "--bootstrap", 100,
        "--form", "power,offset",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "law.json").read_text())["intervals"]["beta"][0] > 0


@pytest.mark.slow
def test_real_runs_of_sizes_and_data_give_the_published_joint_law(tmp_path):
    source = real_data("scaling/epoch_chinchilla_svg_extracted_data.csv")
    result = invoke(
        source, "--columns", "N=Model Size,C=Training FLOP,loss=loss", "--flops-model", "6nd",
        "--exclude-highest", 5, "--out", tmp_path,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    law = json.loads((tmp_path / "law.json").read_text())
    assert law["objective"] <= 0.0010182740265
    assert law["parameters"]["alpha"] == pytest.approx(0.34731, rel=1e-3)
    assert law["intervals"]["beta"] == pytest.approx([0.332, 0.415], abs=0.01)
    assert {a["approach"][0] for a in law["allocation"]} == {"2", "3"}


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


@pytest.mark.parametrize(
    ("text", "columns", "words"),
    [
        ("n,l,s\n1,2,nan\n", "N=n,loss=l,seed=s", "row 2, column s: nan is not a seed"),
        ("n,l,s\n1,2,1\n2,2,1.5\n", "N=n,loss=l,seed=s", "row 3, column s: 1.5 is not a seed"),
        ("n,l\n1e300,2\n", "N=n,loss=l", "row 2: not within 1e-30 to 1e+60 in n (1e+300)"),
        ("n,l,l\n1,2,3\n", "N=n,loss=l", "2 columns are called 'l'"),
        ("n,l\n1,2\n", "N=n,loss=l,loss=n", "gives loss twice"),
        ("n,l\n1,2\n", "N=n,loss=l,l", "no column 'l,l'; there are n, l"),
        ("n,l\n1,2\n", "l,N=n", "'l' is not ROLE=NAME"),
        ("n,l\0\n1,2\n", "N=n,loss=l", "not a CSV file"),
        ("Name,State,n,l,s\na,finished,1,2,0.5\n", "N=n,loss=l,seed=s", "row 2, column s: 0.5 is not a seed"),
    ],
)
def test_a_file_that_would_be_misread_is_refused(tmp_path, text, columns, words):
    (tmp_path / "x.csv").write_text(text)
    assert words in reason(invoke(tmp_path / "x.csv", "--columns", columns))


def test_a_column_that_stands_twice_and_is_not_used_does_no_harm(tmp_path):
    path = write_csv(tmp_path / "c.csv", "n,l,x,x", [(n, 4 * n**-0.1, 0, 1) for n in SIZES])
    assert invoke(path, "--columns", "N=n,loss=l", "--bootstrap", 100).exit_code == 0


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
