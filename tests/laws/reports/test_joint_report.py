"""The report of a joint law, and what the report of one axis says of its regime."""

import json
import math
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from chemscale.analysis.fit import fit_csv, fit_runs
from chemscale.analysis.records_to_points import points_of
from chemscale.common.files import write_json
from chemscale.laws.allocation.design import loss_of_budget
from chemscale.laws.checks.profiles import Profile
from chemscale.laws.data.configurations import configurations
from chemscale.laws.data.points import LawPoint, PointsError
from chemscale.laws.joint.repeats import Repeats
from chemscale.laws.joint.surfaces import Additive
from chemscale.laws.reports.check_figures import profile_figure
from chemscale.laws.reports.plotting import close
from chemscale.laws.reports.texts import formula_html, span_text
from chemscale.planning.law_file import read_law
from chemscale.records import Compute, Loss, Parameters, RunRecord, State

TRUTH = {"E": 1.2, "A": 30.0, "B": 200.0, "alpha": 0.4, "beta": 0.38}
WIDTHS = (16, 24, 40, 64, 96)
TOKENS = (250_000, 500_000, 1_000_000, 2_000_000)
FIGURES = {
    "loss_vs_parameters", "loss_vs_tokens", "loss_vs_flops", "isoflop", "surface", "residuals", "profiles",
    "learning_curves",
}  # fmt: skip


def write_run(
    root: Path, width: int, tokens: int, loss: float, inherited: float = 0.0, seed: int = 0
) -> RunRecord:
    size = 96 * width**2
    run = RunRecord(
        identity=f"w{width}d{tokens}s{seed}",
        sweep="joint",
        family="chemgpt",
        name=f"chemgpt-w{width}-d{tokens}",
        config={},
        versions={"numpy": "2"},
        git_revision=None,
        data_hash="datahash",
        seed=seed,
        parameters=Parameters(size + 200 * width, size + 30 * width, size + 20 * width, size),
        state=State.DONE,
        final=Loss(9, {"nats_per_token": loss, "nats_per_molecule": 38 * loss}),
    )
    flops = 6.0 * tokens * (size + 600 * width)
    run.data.tokens, run.data.unique_tokens = tokens, 8_000_000
    run.compute = Compute(flops=flops, flops_6nd=6.0 * size * tokens, inherited_flops=inherited * flops)
    run.save(root / run.identity)
    rows = [
        {
            "kind": "validation", "step": s, "tokens": tokens * s // 5, "flops": flops * s / 5,
            "nats_per_token": loss * (1 + 0.2 * (5 - s)),
        }
        for s in range(1, 6)
    ]  # fmt: skip
    (root / run.identity / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return run


def write_ladder(root: Path, noise: float = 0.003) -> list[RunRecord]:
    """Every width at every horizon; each but the shortest inherits four fifths of the one before."""
    random, theta = np.random.default_rng(3), np.array(list(TRUTH.values()))
    runs = []
    for width in WIDTHS:
        for number, tokens in enumerate(TOKENS):
            loss = float(Additive().value(theta, 96.0 * width**2, float(tokens)))
            noisy = loss * float(np.exp(random.normal(0, noise)))
            runs.append(write_run(root, width, tokens, noisy, 0.4 if number else 0.0))
    return runs


@pytest.fixture(scope="module")
def joint(tmp_path_factory):
    """(directory of the report, outcome, records)"""
    root = tmp_path_factory.mktemp("runs") / "chemgpt_joint"
    records = write_ladder(root)
    outcome = fit_runs(root, command="the command", bootstrap=200)
    return root / "law", outcome, records


def strict(path: Path) -> dict:
    def refuse(text: str) -> None:
        raise AssertionError(f"{text} is no JSON")

    return json.loads(path.read_text(), parse_constant=refuse)


def test_a_sweep_of_sizes_and_horizons_gives_the_joint_law_by_itself(joint):
    law = strict(joint[0] / "law.json")
    assert {"form", "parameters", "intervals", "objective", "data", "command", "schema_version"} <= set(law)
    assert (law["form"], law["kind"], law["command"]) == ("additive", "surface", "the command")
    for name, value in TRUTH.items():
        low, high = law["intervals"][name]
        assert low < law["parameters"][name] < high
        assert law["parameters"][name] == pytest.approx(value, rel=0.5), name
    low, high = law["intervals"]["beta"]
    assert low < TRUTH["beta"] < high
    assert [fit["form"] for fit in law["fits"]] == ["additive", "kaplan"]
    assert len(law["data"]["points"]) == 20
    assert law["data"]["points"][0]["unique_tokens"] == law["data"]["points"][0]["tokens"]


def test_law_json_holds_what_a_plan_needs_to_go_on(joint):
    law = strict(joint[0] / "law.json")
    known, surface = law["known"], Additive()
    phi, covariance = np.array(known["phi"]), np.array(known["covariance"])
    values = dict(zip(surface.parameters, surface.reported(phi[None])[0], strict=True))
    assert values == pytest.approx(law["parameters"])
    assert covariance.shape == (5, 5)
    assert (np.linalg.eigvalsh(covariance) > 0).all()
    assert known["freedom"] == 15
    assert 0.001 < known["noise"] < 0.006
    flops, point = law["flops"], law["data"]["points"][7]
    counted = flops["k"] * point["parameters"] ** flops["p"] * point["tokens"] ** flops["q"]
    assert counted == pytest.approx(point["flops"], rel=1.01 * flops["misfit"])


def test_no_parameter_is_printed_without_its_interval(joint):
    text = "\n".join(joint[1].lines)
    for name in ("E", "A", "B", "α", "β", "N_c", "D_c", "α_N", "α_D"):
        assert re.search(rf"(?<![\w_]){name} = \S+ \[\S+, \S+\]", text), name
    assert not re.search(r"[αβ] = [\d.]+(?! \[)[,;]", text)
    assert re.search(
        r"Along D alone at N = 885k: β = \S+ \(of a straight line; 4 sizes bear no interval", text
    )
    assert re.search(r"Along N alone at D = \S+: β = \S+ \[\S+, \S+\]", text)
    assert re.search(r"a = 0\.\d+ \[0\.\d+, 0\.\d+\]; at \S+ FLOP", text)


def test_a_ladder_reports_how_much_it_saved_against_separate_runs(joint):
    _, outcome, records = joint
    separate = sum(r.compute.flops for r in records)
    spent = separate - sum(r.compute.inherited_flops for r in records)
    first = outcome.lines[0]
    assert "15 of 20 runs began from the stable phase of a shorter one" in first
    assert f"spent {spent:.3g} FLOP where separate runs spend {separate:.3g}" in first
    assert f"saved {1 - spent / separate:.0%}" in first
    assert first in (joint[0] / "report.html").read_text()


def test_the_page_stands_alone_with_every_figure_and_table(joint):
    page = (joint[0] / "report.html").read_text()
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert "<script" not in page
    assert page.count("data:image/svg+xml;base64,") == len(FIGURES)
    files = {path.name for path in joint[0].iterdir()}
    assert {f"{name}.{kind}" for name in FIGURES for kind in ("png", "svg")} <= files
    for words in (
        "Held-out runs", "Compute-optimal allocation", "How far choices move the law", "least squares",
        "without the 5 worst runs", "What is counted as N", "non-embedding", "Variable projection agrees",
        "converged", "times 6ND", "What these runs do not tell", "chemgpt-w96-d2000000", "the command",
    ):  # fmt: skip
        assert words in page, words


def test_approaches_stand_side_by_side_up_to_ten_times_the_largest_run(joint):
    law = strict(joint[0] / "law.json")
    largest = max(p["flops"] for p in law["data"]["points"])
    counted, six_nd = (a for a in law["allocation"] if a["approach"].startswith("3"))
    assert six_nd["compute"] == "C = 6ND"
    assert [o["flops"] for o in counted["optima"]] == pytest.approx([largest / 10, largest, 10 * largest])
    for optimum in counted["optima"]:
        for name in ("n", "d", "loss"):
            low, high = optimum[f"{name}_interval"]
            assert low < optimum[name] < high
    # Approaches that these runs do not allow say why.
    assert any(note.startswith("Approach 1") for note in law["notes"])


def test_every_check_of_the_law_is_kept_for_machines(joint):
    law = strict(joint[0] / "law.json")
    assert {row["label"] for row in law["sensitivity"]} >= {"δ = 0.0001", "least squares", "all runs"}
    assert [p["name"] for p in law["profiles"]] == ["E", "A", "B", "alpha", "beta"]
    assert list(law["conventions"]) == ["parameters", "blocks", "non_embedding", "all"]
    assert [len(each["runs"]) for each in law["held_out"]] == [1, 4]
    assert law["checks"][0]["agrees"]
    assert set(law["held_out_by_form"]) == {"additive", "kaplan"}
    assert [s["axis"] for s in law["slices"]] == ["parameters"] * len(TOKENS) + ["tokens"] * len(WIDTHS)
    along_tokens = [s["fit"]["parameters"]["beta"] for s in law["slices"] if s["axis"] == "tokens"]
    assert all(0.1 < beta < TRUTH["beta"] for beta in along_tokens)
    assert along_tokens == sorted(along_tokens)


def test_sizes_and_data_that_grow_together_give_a_law_of_one_axis_and_the_reason(tmp_path):
    for width in (*WIDTHS, 48, 56, 80):
        write_run(tmp_path, width, 5 * 96 * width**2, 5 * width**-0.2)
    outcome = fit_runs(tmp_path, bootstrap=100)
    assert outcome.law["axis"] == "parameters"
    note = next(line for line in outcome.lines if line.startswith("N and D both vary"))
    assert "parameters and tokens grow together" in note
    with pytest.raises(PointsError, match="not fitted"):
        fit_runs(tmp_path, forms=("additive",), bootstrap=100)


def test_sizes_off_the_straight_line_stay_in_the_law_and_are_shown(tmp_path):
    random = np.random.default_rng(0)
    for width in (16, 24, 32, 48, 64, 96, 128, 192, 256):
        size = 96 * width**2
        straight = 5 * min(size, 1e6) ** -0.12
        loss = straight * max(1.0, size / 1e6) ** -0.01 * float(np.exp(random.normal(0, 1e-3)))
        write_run(tmp_path, width, 1_000_000, loss)
    outcome = fit_runs(tmp_path, bootstrap=100)
    law = outcome.law
    assert law["form"] in ("offset", "broken1")
    assert {fit["points"] for fit in law["fits"]} == {9}
    assert [each["times"] for each in law["predictions"]] == [1, 2, 10]
    power = next(fit for fit in law["fits"] if fit["form"] == "power")
    assert power["standing"] == "rejected by the points"
    assert power["intervals"]["beta"] == [None, None]
    assert max(law["regime"]["outside"]) == 96 * 256**2
    assert "F test" in law["regime"]["test"]
    page = outcome.report.read_text()
    assert law["why"] in page
    assert "at 10 times" in page
    assert any(fit["form"] == "broken1" for fit in law["fits"])


def test_numbers_of_a_page_and_of_json_are_readable(tmp_path):
    assert span_text(0.5, (None, np.inf)) == "0.5 [−∞, ∞]"
    assert span_text(np.inf, (3.0, np.inf)) == "∞ [3, ∞]"
    write_json(tmp_path / "law.json", {"a": [np.nan, 1.0, (np.inf,)]})
    assert strict(tmp_path / "law.json") == {"a": [None, 1.0, [None]]}
    assert formula_html("A·N^(−α) < x_c") == "A·N<sup>−α</sup> &lt; x<sub>c</sub>"
    assert formula_html("[D_c]^α_D") == "[D<sub>c</sub>]<sup>α<sub>D</sub></sup>"


@pytest.mark.slow
def test_runs_that_repeat_their_data_get_the_law_of_repeats_and_its_base_law_allocates(tmp_path):
    law, theta = Repeats(), np.array([*TRUTH.values(), 6.0, 5.0])
    random, lines = np.random.default_rng(1), ["n,d,u,l"]
    for n in (1e5, 3e5, 1e6, 3e6):
        for d in (1e6, 4e6, 1.6e7, 6.4e7):
            for share in (1, 4, 16):
                loss = float(law.value(theta, n, d, d / share)) * np.exp(random.normal(0, 1e-3))
                lines.append(f"{n},{d},{d / share},{loss}")
    path = tmp_path / "repeats.csv"
    path.write_text("\n".join(lines))
    outcome = fit_csv(path, "N=n,D=d,U=u,loss=l", bootstrap=100)
    found = outcome.law
    assert found["form"] == "repeats"
    low, high = found["intervals"]["R_D_star"]
    assert low < 6 < high < 12
    assert len(found["known"]["phi"]) == 7
    base = next(a for a in found["allocation"] if a["approach"].startswith("3"))
    assert base["exponent_n"] == pytest.approx(0.38 / 0.78, abs=0.05)
    assert any("how often they repeat their data" in note for note in found["notes"])
    assert "Lines are for data that are seen once" in outcome.report.read_text()


def test_a_parameter_without_an_upper_end_is_drawn_and_is_null_in_json(tmp_path):
    at = np.geomspace(2, 2000, 15)
    flat = Profile(
        "R_N_star", at, 1 + 1 / at, math.inf, 1.0, 1.2, (5.0, math.inf), True, False, at_infinity=1.0
    )
    close(profile_figure([flat]))
    write_json(tmp_path / "law.json", {"profiles": [flat.to_dict()]})
    assert strict(tmp_path / "law.json")["profiles"][0]["interval"] == [5.0, None]


def test_seeds_of_one_configuration_are_distinguished_from_configurations():
    def point(n: float, d: float, seed: int) -> LawPoint:
        return LawPoint("", {"parameters": n, "tokens": d}, {}, seed)

    points = [point(10, 1000, 0), point(20, 1000, 0), point(10, 1004, 1), point(10, 2000, 0)]
    numbers = configurations(points, "tokens")
    assert numbers[0] == numbers[2]
    assert len(set(numbers)) == 3
    assert configurations([points[0], points[1]], "tokens") is None


@pytest.mark.slow
def test_a_browser_shows_the_joint_page_on_a_phone_and_prints_it(joint, tmp_path):
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed")
    probe = """<script>
    const wrong = [];
    addEventListener('error', event => wrong.push(event.message || 'resource'), true);
    addEventListener('load', () => { document.title = JSON.stringify({
      page: document.documentElement.scrollWidth, window: innerWidth, wrong,
      images: [...document.images].map(i => [i.naturalWidth, i.clientWidth]),
      letters: Math.min(...[...document.querySelectorAll('p, td, figcaption')]
        .map(e => parseFloat(getComputedStyle(e).fontSize))) }) })
    </script>"""
    framed = tmp_path / "probe.html"
    text = (joint[0] / "report.html").read_text()
    framed.write_text(text.replace("<title>", probe + "<title>", 1))
    # A window of chromium is at least 500 pixels wide: a frame is as narrow as a phone.
    phone = tmp_path / "phone.html"
    phone.write_text(
        f'<iframe src="{framed.name}" width="390" height="800"></iframe><script>onload = () => '
        "setTimeout(() => { document.title = frames[0].document.title }, 500)</script>"
    )
    flags = [
        "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
        "--allow-file-access-from-files", "--enable-logging=stderr",
        f"--user-data-dir={tmp_path / 'profile'}",
    ]  # fmt: skip
    shown = subprocess.run(
        [chromium, *flags, "--virtual-time-budget=5000", "--dump-dom", phone.as_uri()],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    found = json.loads(re.search(r"<title>(\{.*\})</title>", shown.stdout)[1])
    assert "CONSOLE" not in shown.stderr
    assert found["wrong"] == []
    assert found["page"] <= found["window"] == 390
    assert len(found["images"]) == len(FIGURES)
    assert all(natural > 100 and 300 < width <= 390 for natural, width in found["images"])
    assert found["letters"] >= 12
    printed = tmp_path / "page.pdf"
    subprocess.run(
        [chromium, *flags, f"--print-to-pdf={printed}", (joint[0] / "report.html").as_uri()],
        capture_output=True, check=True, timeout=120,
    )  # fmt: skip
    content = printed.read_bytes()
    assert content.startswith(b"%PDF")
    assert 3 <= len(re.findall(rb"/Type\s*/Page\b", content)) <= 12


def test_runs_of_one_trunk_are_not_called_independent(joint):
    assert any("runs of one trunk share" in line for line in joint[1].lines[:3])
    assert "runs of one trunk share" in (joint[0] / "report.html").read_text()


def test_runs_of_one_trunk_name_it_and_the_law_a_deviation_of_each(joint, tmp_path):
    assert strict(joint[0] / "law.json")["fits"][0]["bootstrap"] == "noise of trunks"
    found = [(tmp_path / r.identity, r) for r in joint[2]]
    trunks = [point.trunk for point in points_of(found, "nats_per_token")]
    sizes = [r.parameters.matrices for r in joint[2]]
    assert all(trunks)
    assert len(set(trunks)) == len(set(sizes)) == len(set(zip(trunks, sizes, strict=True)))
    alone = [(tmp_path / r.identity, replace(r, compute=Compute(flops=1.0))) for r in joint[2]]
    assert {point.trunk for point in points_of(alone, "nats_per_token")} == {""}


def test_the_band_of_the_loss_is_one_on_the_console_in_the_file_on_the_page_and_in_a_plan(tmp_path):
    n, d = (v.ravel() for v in np.meshgrid(np.geomspace(1e5, 1e8, 5), np.geomspace(1e6, 1e9, 4)))
    loss = 0.9 + 20 * n**-0.35 + 300 * d**-0.4
    loss *= np.exp(np.random.default_rng(1).normal(0, 0.005, len(n)))
    rows = [f"{a},{b},{c}" for a, b, c in zip(n, d, loss, strict=True)]
    (tmp_path / "runs.csv").write_text("\n".join(["n,d,l", *rows]))
    outcome = fit_csv(tmp_path / "runs.csv", "N=n,D=d,loss=l", bootstrap=200)
    law = strict(tmp_path / "runs-law" / "law.json")
    assert law["form_check"]["holds"]
    bands = law["form_check"]["bands"]["10"]
    assert bands["with_drift"] > 1.3 * bands["form"]
    best = next(a for a in law["allocation"] if a["approach"].startswith("3"))["optima"][-1]
    low, high = best["loss_interval"]
    shown = span_text(best["loss"], (low, high))
    assert any(line.startswith("Approach 3") and shown in line for line in outcome.lines)
    page = (tmp_path / "runs-law" / "report.html").read_text()
    assert shown in page
    known = read_law(tmp_path / "runs-law").law
    target = loss_of_budget(known.surface, best["flops"]).target
    np.testing.assert_allclose(np.exp(known.interval(target)).ravel(), [low, high], rtol=1e-6)
    assert any(f"known to ±{bands['with_drift']:.1%}" in line for line in outcome.lines)
    assert f"known to ±{bands['with_drift']:.1%}" in page


@pytest.mark.slow
def test_a_form_that_the_runs_speak_against_gets_no_interval_beyond_them(tmp_path):
    n, d = (v.ravel() for v in np.meshgrid(np.geomspace(1e5, 1e8, 7), np.geomspace(1e6, 1e9, 6)))
    loss = 0.4 + 20 * n**-0.3 * (1 + (n / 1e7) ** 2) ** 0.15 + 300 * d**-0.4
    loss *= np.exp(np.random.default_rng(0).normal(0, 0.003, len(n)))
    rows = [f"{a},{b},{c}" for a, b, c in zip(n, d, loss, strict=True)]
    (tmp_path / "bent.csv").write_text("\n".join(["n,d,l", *rows]))
    outcome = fit_csv(tmp_path / "bent.csv", "N=n,D=d,loss=l", bootstrap=100)
    assert any(
        "The form does not hold on these runs: residuals bend along N" in line for line in outcome.lines
    )
    (third,) = (line for line in outcome.lines if line.startswith("Approach 3"))
    assert "(no interval; may be off by ±" in third
    law = strict(tmp_path / "bent-law" / "law.json")
    assert law["form_check"]["holds"] is False
    assert law["form_check"]["may_be_off"]["10"] > law["form_check"]["may_be_off"]["1"] > 0.005
    best = next(a for a in law["allocation"] if a["approach"].startswith("3"))["optima"][-1]
    assert best["loss_interval"] is None
    assert best["may_be_off"] > 0.005
    page = (tmp_path / "bent-law" / "report.html").read_text()
    assert "No interval is given beyond the runs" in page


def test_equal_losses_of_sizes_and_horizons_give_words_and_no_law(tmp_path):
    rows = [f"{96 * w**2},{d},2.5" for w in WIDTHS for d in TOKENS]
    (tmp_path / "flat.csv").write_text("\n".join(["n,d,l", *rows]))
    outcome = fit_csv(tmp_path / "flat.csv", "N=n,D=d,loss=l", bootstrap=100)
    assert outcome.law["parameters"] is None
    assert " ".join(outcome.lines).count("losses are equal") == 1
    with pytest.raises(PointsError, match="All 20 losses are equal"):
        fit_csv(tmp_path / "flat.csv", "N=n,D=d,loss=l", forms=("additive",))


def test_a_report_that_fails_leaves_the_older_one_whole(tmp_path, monkeypatch):
    for width in WIDTHS:
        write_run(tmp_path / "runs", width, 1_000_000, 5 * width**-0.2)
    fit_runs(tmp_path / "runs", bootstrap=100)
    law = tmp_path / "runs" / "law"
    before = {path.name: path.read_bytes() for path in law.iterdir()}

    def fail(*_, **__):
        raise RuntimeError("no page")

    monkeypatch.setattr("chemscale.laws.reports.axis_report.render", fail)
    write_run(tmp_path / "runs", 128, 1_000_000, 1.7)
    for out in (law, tmp_path / "new"):
        with pytest.raises(RuntimeError, match="no page"):
            fit_runs(tmp_path / "runs", bootstrap=100, out=out)
    assert {path.name: path.read_bytes() for path in law.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
