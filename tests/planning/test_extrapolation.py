"""How far beyond a law's runs a plan goes: what it keeps to, what it says, and what it refuses."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from chemscale.laws import Additive, fit_surface
from chemscale.laws.allocation.design import loss_at, loss_of_budget
from chemscale.plan import app
from chemscale.planning.candidates import Family
from chemscale.planning.law_file import read_law
from chemscale.planning.measured import FormVerdict, HeldOutTest, Measured
from tests.helpers.plans import TRUTH, write_law

FAMILY = Family(layers=2, heads=4, vocab=40)
MODEL = ["--layers", "2", "--heads", "4", "--set", "batch.tokens=512"]
SMALL = [*MODEL, "--budget", "1e13"]
GUESS = ["--law", "E=0.9,A=20,B=300,alpha=0.35,beta=0.4"]
SPANS = {"N": (1e5, 1e6), "D": (1e7, 1e8), "C": (6e12, 6e14)}


def run(*arguments: object):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def printed(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output + repr(result.exception)
    return result.output


def refused(*arguments: object) -> str:
    result = run(*arguments)
    assert isinstance(result.exception, ValueError), result.output
    return str(result.exception)


def held_out(*factors: float, error: float = 0.004) -> list[dict]:
    """Part ``held_out`` of a law.json."""
    runs = [{"error": error, "inside": True}, {"error": -2 * error, "inside": False}]
    return [{"factor": factor, "fitted": 12, "mean_error": 1.5 * error, "runs": runs} for factor in factors]


def scaled(path: Path, **factors: float) -> Path:
    """The law.json with runs whose sizes are in other units, by axis."""
    law = json.loads(path.read_text())
    for point in law["data"]["points"]:
        del point["flops"]
        for axis, factor in factors.items():
            point[axis] *= factor
    path.write_text(json.dumps(law))
    return path


def planned(folder: Path) -> list[tuple[float, float]]:
    """N and D of the points of the sweep file."""
    text = (folder / "sweep" / "planned.yaml").read_text()
    pairs = re.findall(r"model.width: (\d+)\n\s+budget.tokens: (\d+)", text)
    return [(FAMILY.counts(int(width))["matrices"], float(tokens)) for width, tokens in pairs]


# --- words ---


def test_factors_beyond_the_runs_are_said_by_axis():
    measured = Measured(SPANS)
    assert measured.words({"N": 4e7, "D": 1e7 / 3}) == "40× the largest N, 3× below the least D"
    assert measured.words({"N": 1e6, "D": 1e8, "C": 6e14}) == "within the runs"
    assert measured.words({"C": 2.4e15}) == "4× the largest C"
    assert measured.factors({"N": 4e7, "D": 2e7}) == {"N": 40.0, "D": 1.0}


def test_what_is_beyond_the_held_out_test_is_untested():
    tested = Measured(SPANS, (HeldOutTest(2.0, 0.001), HeldOutTest(8.0, 0.004)))
    assert not tested.untested({"C": 8 * 6e14})
    assert tested.untested({"C": 9 * 6e14})
    assert Measured(SPANS).untested({"C": 1.1 * 6e14})


def test_an_error_of_a_form_that_does_not_hold_grows_with_the_factor():
    verdict = FormVerdict(False, ("residuals bend",), {1: 0.01, 2: 0.02, 10: 0.05})
    measured = Measured(SPANS, (), verdict)
    assert measured.off({"C": 1e13}) == pytest.approx(0.01)
    assert measured.off({"C": 10 * 6e14}) == pytest.approx(0.05)
    assert measured.off({"C": 100 * 6e14}) == pytest.approx(0.20)


# --- what a plan says ---


def test_every_predicted_loss_stands_beside_its_factor_of_extrapolation(tmp_path):
    law = write_law(tmp_path / "law.json", FAMILY, held_out=held_out(2.0, 4.0))
    output = printed(law, *SMALL, "--out", tmp_path / "plans")
    assert "beyond the law's runs" in output
    assert "Runs of the law: N 6.14e+03 to 9.83e+04, D 1e+05 to 1.6e+06" in output
    losses = [line for line in output.splitlines() if "loss 1" in line or "best loss" in line]
    assert losses
    assert all("the largest C" in line for line in losses)
    comments = (tmp_path / "plans" / "sweep" / "planned.yaml").read_text().split("defaults:")[0]
    widths = [line for line in comments.splitlines() if line.startswith("# width")]
    assert len(widths) == len(planned(tmp_path / "plans"))
    assert all("×" in line or "within the runs" in line for line in widths)


def test_points_beyond_the_held_out_test_are_warned_of_with_how_far_it_missed(tmp_path):
    law = write_law(tmp_path / "a.json", FAMILY, held_out=held_out(2.0))
    output = printed(law, *SMALL, "--points", 2)
    assert "missed those of 2× the compute by 0.60% on average, 0.80% at worst; 1 of 2" in output
    assert "points lie beyond the 2× compute up to which the law was tested" in output
    assert "beyond the 2× compute that was tested" in output
    law = write_law(tmp_path / "b.json", FAMILY, held_out=held_out(20.0))
    assert "lie beyond" not in printed(law, *SMALL, "--points", 2)


def test_a_law_without_a_held_out_test_is_said_to_have_none(tmp_path):
    output = printed(write_law(tmp_path / "law.json", FAMILY), *SMALL)
    assert "holds no test by held-out runs" in output
    assert "never tested" in output
    assert "Nothing in this law.json says whether the form holds" in output
    assert "keeps no draws of its bootstrap" in output


def test_a_guess_is_said_to_have_no_runs_behind_it():
    output = printed(*GUESS, *SMALL)
    assert "A guess has no runs" in output
    assert "the largest" not in output


def test_no_interval_stands_where_the_form_does_not_hold(tmp_path):
    check = {
        "holds": False, "signs": ["residuals bend along N (chance < 0.001)"],
        "may_be_off": {"1": 0.01, "2": 0.02, "10": 0.06},
    }  # fmt: skip
    output = printed(write_law(tmp_path / "law.json", FAMILY, form_check=check), *SMALL)
    assert "The form does not hold on these runs: residuals bend along N" in output
    rows = [line for line in output.splitlines() if "× 2 │" in line]
    assert rows
    assert all("may be off by ±" in row for row in rows)
    for words in ("best loss", "One run with all of it"):
        line = next(line for line in output.splitlines() if line.startswith(words))
        assert "(no interval)" in line
        assert "may be off by ±" in line
    assert "nothing is promised" in output
    assert "narrower" not in output


def test_a_law_of_an_older_chemscale_is_said_to_take_its_form_as_true(tmp_path):
    check = {"holds": True, "signs": [], "hidden_bends": {"1": 0.01, "10": 0.03}, "may_be_off": {}}
    output = printed(write_law(tmp_path / "law.json", FAMILY, form_check=check), *SMALL)
    assert "intervals take the form as true" in output


def test_runs_without_a_loss_and_those_left_out_are_counted_by_reason(tmp_path):
    law = json.loads(write_law(tmp_path / "law.json", FAMILY).read_text())
    points = law["data"]["points"]
    points[3] |= {"label": "row 5", "nats_per_token": None}
    points[4] |= {"label": "row 6", "nats_per_token": float("nan")}
    points[5] |= {"label": "row 7", "used": False, "reason": "diverged"}
    (tmp_path / "law.json").write_text(json.dumps(law))
    output = printed(tmp_path / "law.json", *SMALL)
    assert (
        "12 runs; left out: 3 of 15: 2 no number in nats_per_token (rows 5, 6); 1 diverged (row 7)" in output
    )


# --- what a plan keeps to ---


def test_points_keep_near_the_runs_unless_asked_otherwise(tmp_path):
    law = write_law(tmp_path / "law.json", FAMILY)
    arguments = [law, *MODEL, "--budget", "1e14", "--points", 20]
    printed(*arguments, "--out", tmp_path / "near")
    near = np.array(planned(tmp_path / "near"))
    assert (near[:, 0] <= 10 * FAMILY.counts(64)["matrices"]).all()
    assert (near[:, 0] >= FAMILY.counts(16)["matrices"] / 3.2).all()
    assert ((near[:, 1] <= 1.6e7) & (near[:, 1] >= 1e5 / 3.2)).all()
    printed(*arguments, "--reach", 1000, "--out", tmp_path / "far")
    far = np.array(planned(tmp_path / "far"))
    assert (far.prod(1) > 1.5 * near.prod(1).max()).any()


def test_a_configuration_is_planned_at_most_twice_and_the_plan_says_so(tmp_path):
    law = write_law(tmp_path / "law.json", FAMILY)
    for goal in ("loss", "exponent", "allocation"):
        output = printed(law, *SMALL, "--goal", goal, "--points", 9, "--out", tmp_path / goal)
        points = planned(tmp_path / goal)
        assert max(points.count(each) for each in points) <= 2
        assert len(set(points)) >= 4
        assert ("At most 2 points" in output) == (len(set(points)) < len(points))


def test_what_is_left_of_a_budget_is_said(tmp_path):
    law = write_law(tmp_path / "law.json", FAMILY)
    assert "of the budget is left over" in printed(law, *MODEL, "--budget", "2e13", "--points", 1)
    assert "left over" not in printed(law, *MODEL, "--budget", "5e12")


# --- what is refused ---


def test_runs_in_other_units_are_asked_after(tmp_path):
    law = scaled(write_law(tmp_path / "a.json", FAMILY), parameters=1e-6, tokens=1e-9)
    for budget in ("1e9", "1e13", "1e17"):
        words = refused(law, *MODEL, "--budget", budget)
        assert "the law's runs have N of 0.00614 to 0.0983; are these in millions or billions?" in words
    law = scaled(write_law(tmp_path / "b.json", FAMILY), tokens=1e-9)
    assert "D of 0.0001 to 0.0016; are these in millions or billions?" in refused(law, *SMALL)
    law = scaled(write_law(tmp_path / "c.json", FAMILY), parameters=1e-3)
    assert "Are N of the law's runs in millions" in refused(law, *SMALL)


def test_compute_in_another_unit_than_size_and_data_is_refused(tmp_path):
    law = json.loads(write_law(tmp_path / "law.json", FAMILY).read_text())
    for point in law["data"]["points"]:
        point["flops"] /= 1e12
    (tmp_path / "law.json").write_text(json.dumps(law))
    assert "N, D or C is in another unit" in refused(tmp_path / "law.json", *SMALL)


def test_a_budget_that_no_plan_can_spend_is_refused_with_both_ends(tmp_path):
    law = write_law(tmp_path / "law.json", FAMILY)
    most = max(p["flops"] for p in json.loads(law.read_text())["data"]["points"])
    for budget in (1e60, 4e7 * most):
        words = refused(law, *MODEL, "--budget", budget)
        low, high = map(float, re.search(r"between (\S+) FLOP and (\S+) FLOP", words).groups())
        assert "aise the budget" not in words
        assert "times the law's largest run" in words
        for spent in (1.01 * low, high):
            assert "narrower" in printed(law, *MODEL, "--budget", spent)
    words = refused(law, *MODEL, "--budget", 1.0)
    assert re.search(r"between (\S+) FLOP and (\S+) FLOP: raise the budget", words)
    assert "Give 6 points between" in refused(*GUESS, *MODEL, "--budget", "1e60")
    assert "GPU-hours)" in refused(law, *MODEL, "--gpu", "h100", "--gpu-hours", 100)


def test_laws_of_one_axis_and_of_families_are_refused_in_words(tmp_path):
    for change, words in (
        ({"kind": "axis", "axis": "parameters", "form": "offset"}, "a law of parameters alone (form offset)"),
        ({"kind": "axis", "axis": "tokens", "form": None}, "a law of tokens alone (form not named)"),
        ({"kind": "ladder", "axis": "parameters"}, "for each of several families"),
    ):
        law = write_law(tmp_path / "law.json", FAMILY, **change)
        found = refused(law, *SMALL)
        assert words in found
        assert "--form additive" in found


# --- intervals ---


def test_intervals_of_a_plan_are_those_of_the_law(tmp_path):
    random = np.random.default_rng(3)
    inputs = np.array([[n, d] for n in np.geomspace(1e5, 1e7, 4) for d in np.geomspace(1e7, 1e9, 3)])
    loss = Additive().value(TRUTH, *inputs.T) * np.exp(random.normal(0, 0.005, len(inputs)))
    fit = fit_surface(Additive(), inputs, loss, starts=Additive().internal(TRUTH[None]), bootstrap=400)
    known = {
        "surface": "additive", "phi": fit.phi.tolist(), "covariance": fit.covariance.tolist(),
        "noise": fit.noise, "freedom": len(loss) - 5, "draws": fit.draws.to_dict(),
        "drift": fit.drift.to_dict(),
    }  # fmt: skip
    kept = fit.to_dict()
    points = [
        {"parameters": n, "tokens": d, "loss": float(y), "used": True}
        for (n, d), y in zip(inputs, loss, strict=True)
    ]
    law = {
        "form": "additive", "parameters": kept["parameters"], "intervals": kept["intervals"],
        "known": known, "data": {"points": points},
    }  # fmt: skip
    path = tmp_path / "law.json"
    path.write_text(json.dumps(law))
    source = read_law(path)
    goals = (loss_of_budget(Additive(), 1e18), loss_at(Additive(), np.array([[3e7, 4e9], [1e6, 1e8]])))
    for goal in goals:
        np.testing.assert_allclose(source.law.interval(goal.target), fit.interval(goal.target), rtol=1e-5)
    assert source.intervals == {key: tuple(ends) for key, ends in kept["intervals"].items()}
    del law["known"]["draws"]
    path.write_text(json.dumps(law))
    rough = read_law(path)
    assert rough.law.stretch > 1.0
    for goal in goals:
        own, theirs = (np.ptp(one.interval(goal.target), axis=0) for one in (fit, rough.law))
        assert (theirs > 0.9 * own).all()
    del law["known"]["drift"]
    path.write_text(json.dumps(law))
    older = read_law(path)
    for goal in goals:
        own, theirs = (np.ptp(one.interval(goal.target), axis=0) for one in (fit, older.law))
        assert (theirs < own).all()
