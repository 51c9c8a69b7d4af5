"""Profiles: the others are refitted at every value, and the interval covers as often as it says."""

import json

import numpy as np
import pytest

from chemscale.laws import FitError
from chemscale.laws.checks import profiles
from chemscale.laws.checks.likelihood import greatest_likelihood, log_likelihood
from chemscale.laws.checks.profiles import noise_scale, profile
from chemscale.laws.joint.fit import fit_surface
from chemscale.laws.joint.huber import fit_huber
from chemscale.laws.joint.surfaces import Additive, Kaplan
from tests.helpers.laws import TRUTH, grid, sweep

STARTS = Additive().starts()[::40]


@pytest.mark.parametrize("delta", [1e-3, float("inf")])
def test_the_profile_of_a_parameter_is_the_fit_with_it_held(delta):
    inputs, loss = sweep()
    fit = fit_surface(Additive(), inputs, loss, starts=STARTS, bootstrap=30, delta=delta)
    for name in ("alpha", "A", "E"):
        best = fit.values[name]
        shown = profile(fit, name, values=[0.9 * best, best, 1.1 * best])
        for value, objective in zip(shown.values, shown.objective, strict=True):
            held = fit_surface(
                Additive(), inputs, loss, starts=STARTS, bootstrap=1, fixed={name: value}, delta=delta
            )
            assert objective == pytest.approx(held.objective, rel=1e-4)
        assert shown.objective[1] == pytest.approx(fit.objective, rel=1e-6)


def test_it_rises_from_the_fit_to_both_sides_and_the_interval_ends_at_the_threshold():
    fit = fit_surface(Additive(), *sweep(sizes=7), starts=STARTS, bootstrap=30)
    shown = profile(fit, "beta")
    assert len(shown.values) == 41
    assert (np.diff(shown.values) > 0).all()
    lowest = shown.objective.argmin()
    assert (np.diff(shown.objective[: lowest + 1]) < 1e-9).all()
    assert (np.diff(shown.objective[lowest:]) > -1e-9).all()
    assert shown.values[0] < shown.interval[0] < shown.best < shown.interval[1] < shown.values[-1]
    at_ends = profile(fit, "beta", values=shown.interval).objective
    np.testing.assert_allclose(at_ends, shown.threshold, rtol=1e-2)
    assert shown.bounded_low
    assert shown.bounded_high
    assert shown.notes == []
    json.dumps(shown.to_dict(), allow_nan=False)


def test_an_interval_that_ends_near_costs_no_descents_far_out(monkeypatch):
    fit = fit_surface(Additive(), *sweep(sizes=7), starts=STARTS, bootstrap=30)
    starts = []
    monkeypatch.setattr(profiles, "fit_huber", lambda *a, **k: starts.append(a[1]) or fit_huber(*a, **k))
    shown = profile(fit, "alpha")
    place = fit.surface.coordinates.index("alpha")
    tried = np.concatenate([each[:, place] for each in starts])
    low, high = shown.interval
    assert np.ptp(tried) < 4 * (high - low)


def test_a_parameter_that_the_runs_do_not_show_is_not_bounded():
    inputs = grid(5)
    loss = Additive().value(np.array([1e-6, 406.4, 410.7, 0.34, 0.28]), *inputs.T)
    noisy = loss * np.exp(np.random.default_rng(0).normal(0, 0.01, loss.shape))
    shown = profile(fit_surface(Additive(), inputs, noisy, starts=STARTS, bootstrap=50), "E", points=15)
    assert not shown.bounded_low
    assert shown.interval[0] == 0.0
    assert any("do not bound E from below" in note for note in shown.notes)


def test_an_exponent_of_kaplan_s_form_and_its_scale_have_profiles():
    fit = fit_surface(Kaplan(), *sweep(Kaplan(), noise=0.003), starts=Kaplan().starts()[::31], bootstrap=50)
    for name in fit.free:
        low, high = profile(fit, name, points=21).interval
        assert low < fit.values[name] < high


def test_the_scale_of_least_squares_is_the_variance_and_hubers_tends_to_laplaces():
    r = np.random.default_rng(0).normal(0, 0.01, 4000)
    assert noise_scale(r, 0, np.inf) == pytest.approx(1e-4, rel=0.05)
    assert noise_scale(r, 0, 1.0) == pytest.approx(1e-4, rel=0.05)
    # Far below the noise: δ²/(2δ·p(0)) with the normal density p(0).
    assert noise_scale(r, 0, 1e-5) == pytest.approx(1e-5 * np.sqrt(2 * np.pi) * 0.01 / 2, rel=0.1)


def test_only_fitted_parameters_have_profiles():
    fit = fit_surface(Additive(), *sweep(), starts=STARTS, bootstrap=10, fixed={"E": 1.69})
    with pytest.raises(FitError, match="E has no profile: fitted are A, B, alpha, beta"):
        profile(fit, "E")


def test_the_likelihood_of_a_wide_threshold_is_the_normal_one():
    r = np.random.default_rng(0).normal(0, 0.02, 300)
    found = log_likelihood(r, delta=50.0)
    assert found.sigma == pytest.approx(np.sqrt(np.mean(r**2)), rel=1e-6)
    normal = -150 * (np.log(2 * np.pi * np.mean(r**2)) + 1)
    assert found.value == pytest.approx(normal, rel=1e-9)


def test_the_greatest_likelihood_is_no_less_than_that_of_the_huber_fit():
    inputs, loss = sweep(sizes=6)
    fit = fit_surface(Additive(), inputs, loss, starts=STARTS, bootstrap=10)
    best = greatest_likelihood(Additive(), inputs, loss, fit.theta)
    assert best.value >= log_likelihood(fit.residuals).value
    again = np.log(loss) - np.log(Additive().value(best.theta, *inputs.T))
    assert log_likelihood(again).value == pytest.approx(best.value, rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("delta", [1e-3, float("inf")])
def test_profile_intervals_cover_the_truth_as_often_as_their_level(delta):
    surface, inputs, random = Additive(), grid(5), np.random.default_rng(0)
    truth = np.array(TRUTH["additive"])
    log, start = np.log(surface.value(truth, *inputs.T)), surface.internal(truth[None])
    covered = 0
    for repetition in range(150):
        loss = np.exp(log + random.normal(0, 0.01, log.shape))
        fit = fit_surface(surface, inputs, loss, delta=delta, starts=start, bootstrap=2, seed=repetition)
        low, high = profile(fit, "alpha", points=15).interval
        covered += low <= 0.34 <= high
    assert 0.90 <= covered / 150 <= 0.99
