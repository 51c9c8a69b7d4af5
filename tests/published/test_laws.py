"""Published fits of joint laws, reproduced from their data: Besiroglu, Hoffmann, Gadre, Muennighoff."""

import csv
import json

import numpy as np
import pytest

from chemscale.laws.checks.likelihood import greatest_likelihood, log_likelihood
from chemscale.laws.checks.profiles import profile
from chemscale.laws.checks.projection import cross_check, project
from chemscale.laws.checks.sensitivity import sensitivity
from chemscale.laws.joint.fit import SurfaceFit, fit_surface
from chemscale.laws.joint.huber import huber
from chemscale.laws.joint.repeats import Repeats
from chemscale.laws.joint.surfaces import Additive, Tied
from tests.helpers.paths import real_data

pytestmark = pytest.mark.published


@pytest.fixture(scope="module")
def reference() -> dict:
    return json.loads(real_data("scaling/scaling_reference_values.json").read_text())


def rows_of(name: str) -> list[dict[str, str]]:
    with open(real_data(f"scaling/{name}"), newline="") as file:
        return list(csv.DictReader(file))


def column(rows: list[dict[str, str]], name: str) -> np.ndarray:
    return np.array([float(row[name]) for row in rows])


# --- Hoffmann et al.'s runs, as Besiroglu et al. read them from the figure ---


@pytest.fixture(scope="module")
def all_runs() -> tuple[np.ndarray, np.ndarray]:
    """245 runs: (N, D) and loss."""
    rows = rows_of("epoch_chinchilla_svg_extracted_data.csv")
    n, flops, loss = (column(rows, name) for name in ("Model Size", "Training FLOP", "loss"))
    return np.stack([n, flops / 6 / n], 1), loss


@pytest.fixture(scope="module")
def kept_runs(all_runs) -> tuple[np.ndarray, np.ndarray]:
    """The 240 that they keep: without the five highest losses."""
    inputs, loss = all_runs
    kept = loss < np.sort(loss)[-5]
    return inputs[kept], loss[kept]


@pytest.fixture(scope="module")
def epoch(kept_runs) -> SurfaceFit:
    return fit_surface(Additive(), *kept_runs)


def test_the_chinchilla_points_have_the_optimum_and_the_intervals_of_their_replication(epoch, reference):
    published = reference["epoch_chinchilla"]
    assert epoch.objective <= 0.00101827402
    assert epoch.reached > 0.3
    assert epoch.status.startswith("CONVERGED")
    for name, value in epoch.values.items():
        assert value == pytest.approx(published["our_optimum_240"][name], rel=1e-3)
        assert epoch.intervals[name] == pytest.approx(
            published["published_bootstrap_4000_95ci"][name], rel=0.05
        )


def test_the_published_points_lie_above_the_optimum(epoch, reference):
    published = reference["epoch_chinchilla"]
    tex = published["hoffmann_tex_log_params"]
    hoffmann = [*(np.exp(tex[k]) for k in ("logE", "logA", "logB")), tex["alpha"], tex["beta"]]
    headline = [published["published_headline"][name] for name in Additive.parameters]
    for theta, objective in (
        (headline, published["published_headline"]["objective_at_this_point"]),
        (hoffmann, tex["objective_at_this_point"]),
    ):
        residual = np.log(epoch.loss) - np.log(Additive().value(np.array(theta), *epoch.inputs.T))
        assert huber(residual, 1e-3).sum() == pytest.approx(objective, rel=2e-4)
        assert objective > epoch.objective


def test_variable_projection_finds_the_same_optimum_of_the_chinchilla_points(epoch):
    check = cross_check(epoch)
    assert check.projection.status == "CONVERGED"
    assert check.projection.objective == pytest.approx(epoch.objective, rel=1e-8)
    for name, value in check.projection.values.items():
        assert value == pytest.approx(epoch.values[name], rel=1e-4)


def test_five_runs_of_245_move_the_law(all_runs, epoch, reference):
    inputs, loss = all_runs
    fit = fit_surface(Additive(), inputs, loss, bootstrap=200)
    published = reference["epoch_chinchilla"]["our_optimum_245_no_exclusion"]
    assert fit.objective == pytest.approx(published["objective"], rel=1e-6)
    for name, value in fit.values.items():
        assert value == pytest.approx(published[name], rel=1e-3)
    highest = np.flatnonzero(loss >= np.sort(loss)[-5])
    rows = sensitivity(fit, bootstrap=100, sets={"without the five highest losses": highest})
    by_rule, by_residual = rows[-1], rows[-2]
    assert by_rule.points == by_residual.points == 240
    for name, value in by_rule.values.items():
        assert value == pytest.approx(epoch.values[name], rel=1e-4)
    beta = [row.values["beta"] for row in rows if row.label == "all runs" or "worst" in row.label]
    assert len(beta) == 6
    assert beta[0] - min(beta) > 0.075  # .453 with all runs, .371 without the worst four


def test_the_threshold_of_huber_moves_the_exponents(epoch):
    expected = {
        1e-4: (0.3474, 0.3654),
        1e-3: (0.3473, 0.3672),
        1e-2: (0.3544, 0.3815),
        np.inf: (0.3603, 0.4059),
    }
    for row in sensitivity(epoch, left_out=(), bootstrap=100):
        assert (row.values["alpha"], row.values["beta"]) == pytest.approx(expected[row.delta], abs=2e-4)


def test_log_likelihoods_of_published_parameters_are_those_of_besiroglu(kept_runs, epoch, reference):
    inputs, loss = kept_runs
    published = reference["epoch_chinchilla"]["published_loglik_240"]
    tex = reference["epoch_chinchilla"]["hoffmann_tex_log_params"]
    hoffmann = [*(np.exp(tex[k]) for k in ("logE", "logA", "logB")), tex["alpha"], tex["beta"]]

    def at(theta) -> float:
        return log_likelihood(np.log(loss) - np.log(Additive().value(np.array(theta), *inputs.T))).value

    assert at([1.69, 406.4, 410.7, 0.34, 0.28]) == pytest.approx(published["hoffmann_rounded"], abs=0.006)
    assert at(hoffmann) == pytest.approx(published["hoffmann_tex"], abs=0.006)
    best = greatest_likelihood(Additive(), inputs, loss, epoch.theta)
    assert best.value == pytest.approx(published["epoch_fit"], abs=0.006)
    headline = reference["epoch_chinchilla"]["published_headline"]
    for name, value in zip(Additive.parameters, best.theta, strict=True):
        assert value == pytest.approx(headline[name], rel=1e-4)
    assert 2 * (best.value - at(hoffmann)) == pytest.approx(84.0, abs=0.05)


def test_a_surface_without_noise_is_recovered_to_1e_6_by_both_ways(reference):
    truth = np.array([reference["synthetic_noise_free"][name] for name in Additive.parameters])
    n, d = np.meshgrid(np.geomspace(1e6, 1e10, 7), np.geomspace(1e8, 1e12, 7))
    inputs = np.stack([n.ravel(), d.ravel()], 1)
    loss = Additive().value(truth, *inputs.T)
    fit = fit_surface(Additive(), inputs, loss, bootstrap=10)
    np.testing.assert_allclose(fit.theta, truth, rtol=1e-6)
    found = project(inputs, loss)
    assert found.status == "CONVERGED"
    np.testing.assert_allclose(list(found.values.values()), truth, rtol=1e-6)


# --- Gadre et al. ---


SMALL = ("d=96_l=8_h=4", "d=512_l=8_h=4", "d=576_l=24_h=8", "d=1024_l=24_h=8")


@pytest.mark.parametrize("data", ["rpj", "c4_original", "rw_original"])
def test_gadre_s_five_runs_give_their_law_and_their_two_predictions(data, reference):
    published = reference["gadre_overtraining"]
    runs = {
        (row["model"], float(row["chinchilla_multiplier"])): [
            float(row[k]) for k in ("N", "D", "loss_c4_val")
        ]
        for row in rows_of("gadre_overtraining_c4val.csv")
        if row["dataset"] == data
    }
    five = np.array([*(runs[name, 1.0] for name in SMALL), runs[SMALL[0], 16.0]])
    found = project(five[:, :2], five[:, 2], tied=True, residual="loss", delta=np.inf)
    a, b, power, floor = published["params_alpha_beta_b_E"][data]
    theirs = {"E": floor, "A": a, "B": b * 6 ** (power / 2), "eta": -power}
    assert found.values == pytest.approx(theirs, rel=1e-4)
    if data != "rpj":
        return
    theta = np.array([found.values[name] for name in Tied.parameters])
    for key, run in (
        ("open_lm_1b_M640", runs["open_lm_1b", 32.0]),
        ("open_lm_7b_M20", runs["open_lm_7b", 1.0]),
    ):
        error = 100 * abs(float(Tied().value(theta, *run[:2])) / run[2] - 1)
        assert error == pytest.approx(published["published_rel_err_percent_rpj"][key], abs=5e-5)


# --- Muennighoff et al. ---


@pytest.fixture(scope="module")
def muennighoff() -> tuple[np.ndarray, np.ndarray]:
    rows = rows_of("muennighoff_data_constrained_fit182.csv")
    return np.stack([column(rows, name) for name in ("params", "tokens", "unique_tokens")], 1), column(
        rows, "loss"
    )


@pytest.fixture(scope="module")
def base(reference) -> dict[str, float]:
    fixed = reference["muennighoff_data_constrained"]["fixed"]
    logs = {name: np.exp(fixed[f"log{name}"]) for name in "EAB"}
    return {**logs, "alpha": fixed["alpha"], "beta": fixed["beta"]}


@pytest.fixture(scope="module")
def repeats(muennighoff, base) -> SurfaceFit:
    return fit_surface(Repeats(), *muennighoff, fixed=base)


def test_muennighoff_s_point_has_their_objective_and_is_an_optimum_among_better_ones(
    muennighoff, base, repeats, reference
):
    published = reference["muennighoff_data_constrained"]["published"]
    inputs, loss = muennighoff
    theirs = Repeats().internal(np.array([[*base.values(), published["R_D_star"], published["R_N_star"]]]))
    residual = np.log(loss) - Repeats().log_loss(theirs, np.log(inputs))[0][0]
    assert huber(residual, 1e-3).sum() == pytest.approx(0.015825935258016142, rel=1e-9)
    square = 1 - np.sum((loss - np.exp(np.log(loss) - residual)) ** 2) / np.sum((loss - loss.mean()) ** 2)
    assert square == pytest.approx(published["r2"], abs=1e-3)
    near = fit_surface(Repeats(), inputs, loss, fixed=base, starts=theirs, bootstrap=2)
    assert near.values["R_D_star"] == pytest.approx(published["R_D_star"], rel=2e-3)
    assert repeats.objective < 0.0158047
    assert repeats.values["R_D_star"] > 60


def test_the_valley_of_repeats_is_flat_and_open_above(repeats, reference):
    expected = reference["muennighoff_data_constrained"]["our_profile_over_R_D_star"]
    values = [float(value) for value in expected]
    shown = profile(repeats, "R_D_star", values=values)
    np.testing.assert_allclose(shown.objective, list(expected.values()), rtol=2e-6)
    assert not shown.bounded_high
    assert shown.bounded_low
    low, high = repeats.intervals["R_D_star"]
    assert 4 < low < 10
    assert high == np.inf
    assert any("not bounded from above" in note for note in repeats.notes)
