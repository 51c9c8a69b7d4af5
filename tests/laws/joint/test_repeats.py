"""The data-constrained law: what a repeat is worth, and when runs cannot tell."""

import json

import numpy as np
import pytest

from chemscale.laws import FitError
from chemscale.laws.checks.profiles import profile
from chemscale.laws.joint.fit import fit_surface
from chemscale.laws.joint.repeats import Repeats
from chemscale.laws.joint.surfaces import Additive

SURFACE = Repeats()
TRUTH = np.array([1.69, 406.4, 410.7, 0.34, 0.28, 15.0, 5.0])
BASE = dict(zip(SURFACE.parameters[:5], TRUTH[:5], strict=True))


def sweep(noise: float = 0.0, seed: int = 0, truth: np.ndarray = TRUTH) -> tuple[np.ndarray, np.ndarray]:
    n, d, epochs = np.meshgrid(np.geomspace(3e7, 3e9, 4), np.geomspace(1e9, 1e11, 4), [1, 8, 40, 200])
    inputs = np.stack([n.ravel(), d.ravel(), d.ravel() / epochs.ravel()], 1)
    loss = SURFACE.value(truth, *inputs.T)
    return inputs, loss * np.exp(np.random.default_rng(seed).normal(0, noise, loss.shape))


@pytest.mark.parametrize("stars", [(15.0, 5.0), (np.inf, np.inf), (1e9, 0.01)])
def test_derivatives_are_those_of_the_loss(stars):
    phi = SURFACE.internal(np.array([[*TRUTH[:5], *stars]]))
    z = np.log(sweep()[0])
    jacobian = SURFACE.log_loss(phi, z)[1]
    for k in range(7):
        step = np.zeros_like(phi)
        step[:, k] = 1e-7
        numerical = (SURFACE.log_loss(phi + step, z)[0] - SURFACE.log_loss(phi - step, z)[0]) / 2e-7
        np.testing.assert_allclose(jacobian[:, k], numerical, rtol=1e-4, atol=1e-6)


def test_the_effective_tokens_and_parameters_are_those_of_the_paper():
    e, a, b, alpha, beta, r_d, r_n = TRUTH
    n, d, u = 2e9, 2e11, 4e9
    g = (alpha * a / (beta * b)) ** (1 / (alpha + beta))
    compute = (u * g) ** ((alpha + beta) / alpha)  # C/6 whose optimal D is U
    u_n = compute ** (beta / (alpha + beta)) * g
    repeats, excess = d / u - 1, n / u_n - 1
    assert excess > 0
    d_eff = u + u * r_d * (1 - np.exp(-repeats / r_d))
    n_eff = u_n + u_n * r_n * (1 - np.exp(-excess / r_n))
    expected = e + a * n_eff**-alpha + b * d_eff**-beta
    assert SURFACE.value(TRUTH, n, d, u) == pytest.approx(expected, rel=1e-12)


def test_a_single_epoch_is_the_additive_law_and_infinite_worth_is_it_for_every_epoch():
    inputs, _ = sweep()
    additive = Additive().value(TRUTH[:5], *inputs[:, :2].T)
    never = SURFACE.value(np.array([*TRUTH[:5], np.inf, np.inf]), *inputs.T)
    np.testing.assert_allclose(never, additive, rtol=1e-12)
    small = inputs[:, 0] < 1e8
    once = SURFACE.value(TRUTH, *inputs[small, :2].T, inputs[small, 1])
    np.testing.assert_allclose(once, additive[small], rtol=1e-12)
    np.testing.assert_allclose(
        SURFACE.value(TRUTH, *inputs[small, :2].T, 10 * inputs[small, 1]), once, rtol=1e-12
    )


def test_every_repeat_helps_less_than_the_one_before():
    epochs = np.array([1, 2, 4, 8, 16, 64, 1024.0])
    u = 1e9
    losses = SURFACE.value(TRUTH, 1e7, u * epochs, u)
    gains = -np.diff(losses)
    assert (gains > 0).all()
    fresh = -np.diff(SURFACE.value(TRUTH, 1e7, u * epochs, u * epochs))
    assert (gains < fresh).all()


def test_a_shift_of_every_input_is_the_same_law():
    phi, z, by = SURFACE.internal(TRUTH[None]), np.log(sweep()[0]), np.array([3.0, -2.0, -2.0])
    np.testing.assert_allclose(
        SURFACE.log_loss(SURFACE.recentre(phi, by), z + by)[0], SURFACE.log_loss(phi, z)[0], rtol=1e-10
    )
    np.testing.assert_allclose(SURFACE.reported(phi)[0], TRUTH)


def test_a_surface_without_noise_is_recovered():
    inputs, loss = sweep()
    fit = fit_surface(SURFACE, inputs, loss, starts=SURFACE.starts()[::40], bootstrap=20)
    np.testing.assert_allclose(fit.theta, TRUTH, rtol=1e-5)
    held = fit_surface(SURFACE, inputs, loss, fixed=BASE, bootstrap=20)
    np.testing.assert_allclose(held.theta, TRUTH, rtol=1e-5)
    assert held.free == ("R_D_star", "R_N_star")


def test_worth_that_the_runs_do_not_bound_is_reported_without_an_upper_end():
    truth = np.array([*TRUTH[:5], np.inf, 5.0])
    inputs, loss = sweep(0.01, truth=truth)
    fit = fit_surface(SURFACE, inputs, loss, fixed=BASE, bootstrap=200)
    low, high = fit.intervals["R_D_star"]
    assert low > 50
    assert high == np.inf
    assert any("R_D_star is not bounded from above" in note for note in fit.notes)
    shown = profile(fit, "R_D_star", points=15)
    assert not shown.bounded_high
    assert shown.bounded_low
    assert shown.interval[1] == np.inf
    assert shown.at_infinity < shown.threshold
    assert np.isfinite(shown.values).all()
    law = json.loads(json.dumps(fit.to_dict(), allow_nan=False))
    assert law["intervals"]["R_D_star"][1] is None


def test_worth_that_the_runs_show_is_bounded_on_both_sides():
    inputs, loss = sweep(0.01)
    fit = fit_surface(SURFACE, inputs, loss, fixed=BASE, bootstrap=200)
    for low, high in (fit.intervals["R_D_star"], profile(fit, "R_D_star", points=21).interval):
        assert 5 < low < 15 < high < 60


def test_models_below_the_optimum_for_their_data_show_nothing_of_excess_parameters():
    inputs, _ = sweep()
    inputs = inputs[inputs[:, 0] < 5e8]
    inputs = inputs[inputs[:, 2] > 2e8]
    inputs[:, 0] /= 1e3
    loss = SURFACE.value(TRUTH, *inputs.T)
    noisy = loss * np.exp(np.random.default_rng(0).normal(0, 0.003, loss.shape))
    fit = fit_surface(SURFACE, inputs, noisy, fixed=BASE, bootstrap=100)
    assert fit.unidentified == ("R_N_star",)
    assert fit.intervals["R_N_star"] == (0.0, np.inf)
    assert any("No run depends on R_N_star" in note for note in fit.notes)


def test_runs_of_one_epoch_are_refused_in_words():
    inputs, loss = sweep()
    inputs[:, 2] = inputs[:, 1]
    with pytest.raises(FitError, match="no run sees its data more than once"):
        fit_surface(SURFACE, inputs, loss)


@pytest.mark.slow
def test_intervals_cover_the_truth_as_often_as_their_level():
    inputs, _ = sweep()
    log, random = np.log(SURFACE.value(TRUTH, *inputs.T)), np.random.default_rng(0)
    start = SURFACE.internal(TRUTH[None])
    covered = np.zeros(7)
    for repetition in range(200):
        loss = np.exp(log + random.normal(0, 0.01, log.shape))
        fit = fit_surface(
            SURFACE, inputs, loss, delta=float("inf"), starts=start, bootstrap=300, seed=repetition
        )
        low, high = fit.interval(lambda phi: phi)
        covered += (low <= start[0]) & (start[0] <= high)
    share = covered / 200
    assert share.min() >= 0.91, share
    assert share.max() <= 0.985, share
