"""Joint laws of size and data: their gradients, the optimum, and what cannot be fitted."""

import json

import numpy as np
import pytest

from chemscale.laws import FitError
from chemscale.laws.allocation.known import KnownLaw
from chemscale.laws.checks.holdout import extrapolation
from chemscale.laws.checks.sensitivity import sensitivity
from chemscale.laws.joint.fit import fit_surface
from chemscale.laws.joint.huber import fit_huber, huber
from chemscale.laws.joint.surfaces import Additive, Kaplan, Tied
from tests.helpers.laws import TRUTH, grid, sweep

SURFACES = [Additive(), Tied(), Kaplan()]


@pytest.mark.parametrize("surface", SURFACES, ids=lambda s: s.name)
def test_derivatives_are_those_of_the_loss(surface):
    phi = surface.internal(np.array([TRUTH[surface.name]]))
    z = np.log(grid(4))
    jacobian = surface.log_loss(phi, z)[1]
    for k in range(phi.shape[1]):
        step = np.zeros_like(phi)
        step[:, k] = 1e-6
        numerical = (surface.log_loss(phi + step, z)[0] - surface.log_loss(phi - step, z)[0]) / 2e-6
        np.testing.assert_allclose(jacobian[:, k], numerical, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("surface", SURFACES, ids=lambda s: s.name)
def test_reported_and_internal_parameters_are_one_law_wherever_the_origin_lies(surface):
    theta = np.array([TRUTH[surface.name]])
    phi, z, by = surface.internal(theta), np.log(grid(3)), np.array([3.0, -2.0])
    np.testing.assert_allclose(surface.reported(phi), theta, rtol=1e-10)
    moved = surface.log_loss(surface.recentre(phi, by), z + by)[0]
    np.testing.assert_allclose(moved, surface.log_loss(phi, z)[0], rtol=1e-12)


@pytest.mark.parametrize("surface", SURFACES, ids=lambda s: s.name)
def test_a_surface_without_noise_is_recovered(surface):
    inputs, theta = grid(), np.array(TRUTH[surface.name])
    fit = fit_surface(
        surface, inputs, surface.value(theta, *inputs.T), starts=surface.starts()[::50], bootstrap=20
    )
    np.testing.assert_allclose(fit.theta, theta, rtol=1e-5)
    assert fit.objective < 1e-14
    np.testing.assert_allclose(fit.residuals, 0, atol=1e-6)


def test_the_objective_never_rises_from_any_start():
    surface, inputs = Additive(), grid(4)
    y = np.log(surface.value(np.array(TRUTH["additive"]), *inputs.T))
    y = y + np.random.default_rng(0).normal(0, 0.01, y.shape)
    z = np.log(inputs)
    centre = z.mean(0)
    starts = surface.recentre(surface.starts()[::100], -centre)
    before = huber(surface.log_loss(starts, z - centre)[0] - y, 1e-3).sum(1)
    reached = [fit_huber(surface, starts, z - centre, y, steps=k).objective for k in (3, 10, 40)]
    assert (reached[0] <= before).all()
    assert (reached[1] <= reached[0]).all()
    assert (reached[2] <= reached[1]).all()


def test_an_exponent_that_the_runs_do_not_show_has_an_interval_around_zero():
    surface, inputs, random = Additive(), grid(5), np.random.default_rng(0)
    loss = surface.value(np.array([1.5, 0.1, 410.7, 0.01, 0.28]), *inputs.T)
    noisy = loss * np.exp(random.normal(0, 0.01, loss.shape))
    for resample in ("noise", "runs"):
        fit = fit_surface(
            surface, inputs, noisy, starts=surface.starts()[::40], bootstrap=200, resample=resample
        )
        low, high = fit.intervals["alpha"]
        assert low < 0 < high
        low, high = fit.intervals["A"]
        assert 0 <= low < high


def test_what_cannot_be_distinguished_is_refused_in_words():
    surface, inputs = Additive(), grid(5)
    loss = surface.value(np.array(TRUTH["additive"]), *inputs.T)
    n = np.geomspace(1e6, 1e9, 9)
    with pytest.raises(FitError, match="grow together"):
        fit_surface(surface, np.stack([n, 20 * n], 1), loss[:9])
    with pytest.raises(FitError, match="6 runs for 5 parameters, at least 7"):
        fit_surface(surface, inputs[:6], loss[:6])
    with pytest.raises(FitError, match="tokens takes 1 values"):
        fit_surface(surface, np.stack([inputs[:, 0], np.full(25, 1e9)], 1), loss)
    with pytest.raises(FitError, match="positive and finite"):
        fit_surface(surface, -inputs, loss)


@pytest.mark.parametrize("surface", SURFACES, ids=lambda s: s.name)
def test_a_parameter_that_is_held_stays_and_the_others_find_their_best(surface):
    inputs, loss = sweep(surface)
    starts = surface.starts()[::31]
    free = fit_surface(surface, inputs, loss, starts=starts, bootstrap=20)
    for name in surface.parameters:
        at_best = fit_surface(
            surface, inputs, loss, starts=starts, bootstrap=20, fixed={name: free.values[name]}
        )
        assert at_best.objective == pytest.approx(free.objective, rel=1e-4)
        assert at_best.values[name] == pytest.approx(free.values[name])
        assert at_best.intervals[name] == pytest.approx((free.values[name],) * 2)
        assert any(name in note and "held" in note for note in at_best.notes)
        away = fit_surface(
            surface, inputs, loss, starts=starts, bootstrap=20, fixed={name: 1.05 * free.values[name]}
        )
        assert away.objective > free.objective


def test_what_cannot_be_held_is_refused_in_words():
    inputs, loss = sweep()
    with pytest.raises(FitError, match="no parameter 'gamma': it has E, A, B, alpha, beta"):
        fit_surface(Additive(), inputs, loss, fixed={"gamma": 1.0})
    with pytest.raises(FitError, match="E cannot be held at -1"):
        fit_surface(Additive(), inputs, loss, fixed={"E": -1.0})


def test_runs_that_differ_only_in_an_input_whose_parameters_are_held_are_enough():
    surface = Additive()
    n = np.geomspace(1e6, 1e9, 7)
    inputs = np.stack([n, np.full(7, 1e9)], 1)
    loss = surface.value(np.array(TRUTH["additive"]), *inputs.T)
    fit = fit_surface(surface, inputs, loss, fixed={"B": 410.7, "beta": 0.28}, bootstrap=20)
    assert fit.values["alpha"] == pytest.approx(0.34, rel=1e-5)


def seeds_of_one_deviation(shared: float, own: float, seeds: int = 4):
    inputs, loss = sweep(noise=shared)
    times = np.repeat(np.arange(len(loss)), seeds)
    noise = np.random.default_rng(1).normal(0, own, len(times))
    return inputs[times], loss[times] * np.exp(noise), times


@pytest.mark.parametrize("resample", ["noise", "runs"])
def test_seeds_of_one_configuration_are_not_as_many_witnesses_as_runs(resample):
    inputs, loss, groups = seeds_of_one_deviation(shared=0.01, own=0.002)
    options = {"starts": Additive().starts()[::40], "bootstrap": 300, "resample": resample}
    alone = fit_surface(Additive(), inputs, loss, **options)
    grouped = fit_surface(Additive(), inputs, loss, groups=[f"c{g}" for g in groups], **options)
    assert grouped.values == alone.values
    assert "configurations" in grouped.draws.method
    assert "configurations" not in alone.draws.method
    width = [np.diff(fit.intervals["alpha"])[0] for fit in (alone, grouped)]
    assert 1.4 < width[1] / width[0] < 3.5  # √4 if a configuration's deviation were all


def test_groups_of_one_run_each_are_no_groups_and_too_few_names_are_refused():
    inputs, loss = sweep()
    options = {"starts": Additive().starts()[::100], "bootstrap": 50}
    plain = fit_surface(Additive(), inputs, loss, **options)
    single = fit_surface(Additive(), inputs, loss, groups=np.arange(len(loss)), **options)
    assert plain.intervals == single.intervals
    with pytest.raises(FitError, match="groups names 3 configurations for 25 runs"):
        fit_surface(Additive(), inputs, loss, groups=[1, 2, 3])


def test_a_law_can_be_written_as_strict_json():
    fit = fit_surface(
        Additive(), *sweep(), starts=Additive().starts()[::100], bootstrap=50, delta=float("inf")
    )
    law = json.loads(json.dumps(fit.to_dict(), allow_nan=False))
    assert law["delta"] is None
    assert law["parameters"] == pytest.approx(fit.values)


def test_the_interval_of_a_new_run_is_wider_than_that_of_the_law():
    fit = fit_surface(Additive(), *sweep(), starts=Additive().starts()[::100], bootstrap=100)
    law, run = fit.band(*fit.inputs.T), fit.run_band(*fit.inputs.T)
    assert (run[0] < law[0]).all()
    assert (run[1] > law[1]).all()
    inside = (run[0] < fit.loss) & (fit.loss < run[1])
    assert inside.mean() > 0.85


def test_sensitivity_shows_what_the_outliers_did():
    inputs, loss = sweep(sizes=6)
    loss[[3, 17]] *= [1.3, 1.2]
    fit = fit_surface(Additive(), inputs, loss, starts=Additive().starts()[::50], bootstrap=50)
    rows = sensitivity(
        fit, bootstrap=50, starts=20, left_out=(0, 2), sets={"without the first": [0]}, deltas=(1e-3, np.inf)
    )
    labels = [row.label for row in rows]
    assert labels == [
        "δ = 0.001",
        "least squares",
        "all runs",
        "without the 2 worst runs",
        "without the first",
    ]
    assert [row.points for row in rows] == [36, 36, 36, 34, 35]
    assert set(rows[3].left_out) == {3, 17}
    assert rows[0].objective == pytest.approx(fit.objective, rel=1e-6)
    assert rows[3].objective < 0.6 * rows[2].objective
    for row in rows:
        assert all(low < row.values[name] < high for name, (low, high) in row.intervals.items())
        json.dumps(row.to_dict(), allow_nan=False)


def test_sensitivity_reports_when_too_few_runs_remain():
    inputs, loss = sweep()
    keep = np.arange(0, 25, 3)
    fit = fit_surface(Additive(), inputs[keep], loss[keep], starts=Additive().starts()[::50], bootstrap=50)
    last = sensitivity(fit, bootstrap=20, starts=10, left_out=(5,), deltas=())[-1]
    assert last.fit is None
    assert last.values == {}
    assert "4 runs for 5 parameters" in last.reason


def test_the_largest_runs_are_held_out_and_predicted_with_an_interval():
    inputs, loss = sweep()
    found, why = extrapolation(
        Additive(), inputs, loss, hold=3, bootstrap=200, starts=Additive().starts()[::40]
    )
    assert why == ""
    assert len(found.fit.loss) == 22
    product = inputs[:, 0] * inputs[:, 1]
    assert [run.place for run in found.runs] == sorted(range(25), key=lambda i: -product[i])[:3]
    assert found.factor > 1
    for run in found.runs:
        assert run.error == pytest.approx(run.predicted / loss[run.place] - 1)
        assert run.interval[0] < run.predicted < run.interval[1]
    assert found.mean_error < 0.05
    assert "22 smaller runs" in found.words
    json.dumps(found.to_dict(), allow_nan=False)


def test_all_seeds_of_the_largest_configuration_are_held_out_together_by_compute_if_given():
    inputs, loss, groups = seeds_of_one_deviation(0.01, 0.002, seeds=2)
    compute = np.where(groups == 7, 1e30, 1.0)
    found, _ = extrapolation(
        Additive(),
        inputs,
        loss,
        compute=compute,
        groups=groups,
        bootstrap=20,
        starts=Additive().starts()[::90],
    )
    assert [groups[run.place] for run in found.runs] == [7, 7]


def test_too_little_to_hold_out_is_said_in_words():
    inputs, loss = sweep()
    found, why = extrapolation(Additive(), inputs[::4], loss[::4])
    assert found is None
    assert "6 runs for 5 parameters" in why
    found, why = extrapolation(Additive(), inputs, loss, hold=25)
    assert found is None
    assert "choose from 1 to 24" in why


@pytest.mark.slow
@pytest.mark.parametrize("delta", [1e-3, float("inf")])
def test_intervals_cover_the_truth_as_often_as_their_level(delta):
    surface, inputs, random = Additive(), grid(5), np.random.default_rng(0)
    truth = np.array(TRUTH["additive"])
    log = np.log(surface.value(truth, *inputs.T))
    start, far = surface.internal(truth[None]), np.array([[1e10, 3e11]])
    expected = np.array([0.34, 0.28, np.log(1.69), np.log(surface.value(truth, *far.T)[0]), 0.28 / 0.62])

    def targets(phi):
        loss = surface.log_loss(phi, np.log(far))[0]
        return np.stack([phi[:, 3], phi[:, 4], phi[:, 2], loss[:, 0], phi[:, 4] / (phi[:, 3] + phi[:, 4])], 1)

    covered = np.zeros(5)
    for repetition in range(200):
        loss = np.exp(log + random.normal(0, 0.01, log.shape))
        fit = fit_surface(surface, inputs, loss, delta=delta, starts=start, bootstrap=400, seed=repetition)
        low, high = fit.interval(targets)
        covered += (low <= expected) & (expected <= high)
    share = covered / 200
    assert share.min() >= 0.91, share
    assert share.max() <= 0.985, share


@pytest.mark.slow
@pytest.mark.parametrize(("delta", "repetitions", "draws"), [(1e-3, 250, 300), (float("inf"), 250, 300)])
def test_intervals_of_kaplan_s_form_cover_the_truth_as_often_as_their_level(delta, repetitions, draws):
    surface, inputs, random = Kaplan(), grid(5), np.random.default_rng(1)
    truth = np.array(TRUTH["kaplan"])
    log, start = np.log(surface.value(truth, *inputs.T)), surface.internal(truth[None])
    covered = np.zeros(4)
    for repetition in range(repetitions):
        loss = np.exp(log + random.normal(0, 0.01, log.shape))
        fit = fit_surface(
            surface, inputs, loss, delta=delta, starts=start, bootstrap=draws, seed=10000 + repetition
        )
        low, high = fit.interval(lambda phi: phi)
        covered += (low <= start[0]) & (start[0] <= high)
    share = covered / repetitions
    assert share.min() >= 0.91, share
    assert share.max() <= 0.985, share


@pytest.mark.slow
def test_intervals_of_grouped_seeds_cover_the_truth_as_often_as_their_level():
    surface, inputs, random = Additive(), grid(5), np.random.default_rng(5)
    truth, groups = np.array(TRUTH["additive"]), np.repeat(np.arange(25), 3)
    log, start = np.log(surface.value(truth, *inputs.T)), surface.internal(truth[None])
    covered, blind = np.zeros(5), np.zeros(5)
    for repetition in range(200):
        y = (log + random.normal(0, 0.008, 25))[groups] + random.normal(0, 0.005, 75)
        for names, count in ((groups, covered), (None, blind)):
            fit = fit_surface(
                surface, inputs[groups], np.exp(y), delta=float("inf"), starts=start, groups=names,
                bootstrap=300, resample="noise", seed=repetition,
            )  # fmt: skip
            low, high = fit.interval(lambda phi: phi)
            count += (low <= start[0]) & (start[0] <= high)
    assert (covered / 200).min() >= 0.91, covered / 200
    assert (covered / 200).max() <= 0.985, covered / 200
    assert (blind / 200).max() < 0.85, blind / 200  # seeds taken as runs promise too much


def test_equal_losses_and_sizes_that_no_run_has_are_refused():
    inputs, loss = sweep()
    with pytest.raises(FitError, match="All 25 losses are equal"):
        fit_surface(Additive(), inputs, np.full(25, 2.0))
    for bad in (1e290, 1e-200):
        with pytest.raises(FitError, match="outside 1e-30 to 1e\\+60"):
            fit_surface(Additive(), inputs * np.r_[np.ones(24), bad][:, None], loss)


def test_a_last_descent_that_did_not_converge_is_reported(monkeypatch):
    def stopped(surface, phi, z, y, delta, fixed):
        return phi, 1.0, "NOT CONVERGED: stopped"

    monkeypatch.setattr("chemscale.laws.joint.search.polish", stopped)
    fit = fit_surface(Additive(), *sweep(), starts=Additive().starts()[::100], bootstrap=20)
    assert not fit.converged
    assert any("did not converge (NOT CONVERGED: stopped)" in note for note in fit.notes)


def test_what_a_design_knows_of_a_fit_counts_the_free_parameters():
    fit = fit_surface(
        Additive(), *sweep(), starts=Additive().starts()[::100], bootstrap=20, fixed={"E": 1.69}
    )
    known = KnownLaw.of_fit(fit)
    assert known.freedom == 25 - 4
    assert known.noise == pytest.approx(fit.noise)
