"""The law that is named of one axis, and how often its intervals hold."""

import numpy as np
import pytest

from chemscale.laws.axis.evidence import evidence
from chemscale.laws.axis.fit import fit_form
from chemscale.laws.axis.law import AHEAD, fit_axis
from chemscale.laws.axis.offset_curves import OffsetCurves

X = np.geomspace(1e5, 1e7, 8)


def bent(x, before, after, at=1e6, width=0.3):
    return 20 * (x / 1e5) ** -before * (1 + (x / at) ** (1 / width)) ** (-(after - before) * width)


def noisy(losses, noise, seed):
    return losses * np.exp(noise * np.random.default_rng(seed).standard_normal(losses.shape))


def fractions_held(truth, sizes, noise, sweeps, values):
    """Share of sweeps in which each named parameter, and the loss at each multiple, is held."""
    x = np.geomspace(1e5, 1e7, sizes)
    at = x[-1] * np.array(AHEAD)
    held = []
    for seed in range(sweeps):
        law = fit_axis(x, noisy(truth(x), noise, seed), forms=("power", "offset"))
        low, high = law.band(at)
        row = list((low <= truth(at)) & (truth(at) <= high))
        if values and law.chosen is None:
            continue
        for name, value in values.items():
            low, high = law.chosen.intervals[name]
            row.append((low is None or low <= value) and (high is None or value <= high))
        held.append(row)
    return np.mean(held, axis=0)


@pytest.mark.parametrize("floor", [0.0, 1.0])
@pytest.mark.parametrize("sizes", [5, 8])
@pytest.mark.slow
def test_the_named_law_holds_exponent_floor_and_predictions_as_often_as_its_level(floor, sizes):
    values = {"beta": 0.25, "floor": floor}
    shares = fractions_held(lambda x: floor + 20 * x**-0.25, sizes, 0.005, 200, values)
    assert (shares >= 0.91).all(), shares


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(0.3, 0.1), (0.25, 0.15), (0.2, 0.3)])
def test_a_bend_is_held_at_ten_times_the_largest_size(before, after):
    shares = fractions_held(lambda x: bent(x, before, after), 6, 0.005, 100, {})
    assert (shares >= 0.9).all(), shares


def test_a_floor_is_allowed_for_whether_or_not_the_points_show_one():
    straight = fit_axis(X, noisy(20 * X**-0.25, 0.005, 0), bootstrap=100)
    assert straight.chosen.form.name == "offset"
    assert straight.chosen.intervals["floor"][0] == 0
    assert "neither shown nor ruled out" in straight.why
    assert straight.standing["power"] == "if there is no floor"
    curved = fit_axis(X, noisy(1 + 20 * X**-0.25, 0.005, 0), bootstrap=100)
    assert curved.chosen.form.name == "offset"
    assert curved.standing["power"] == "rejected by the points"
    power = next(fit for fit in curved.fits if fit.form.name == "power")
    assert set(map(tuple, curved.to_dict(power)["intervals"].values())) == {(None, None)}


def test_fewer_than_five_sizes_give_a_power_law_and_its_assumption():
    law = fit_axis(X[::2], 20 * X[::2] ** -0.25)
    assert law.chosen.form.name == "power"
    assert "4 sizes cannot show a floor or a bend" in law.why


def test_losses_that_steepen_have_no_law_of_few_sizes_and_a_broken_one_of_more():
    few = fit_axis(X[1:7], noisy(bent(X[1:7], 0.1, 0.3), 0.003, 0))
    assert few.chosen is None
    assert "falls faster at larger sizes" in few.why
    assert all(each.loss is None and each.low < each.high for each in few.ahead())
    many = fit_axis(X, noisy(bent(X, 0.1, 0.3), 0.003, 0), bootstrap=100)
    assert many.chosen.form.name == "broken1"
    assert not many.holds(next(fit for fit in many.fits if fit.form.name == "offset"))


def test_losses_that_rise_have_no_law():
    law = fit_axis(X, noisy(X**0.1, 0.003, 0), bootstrap=100)
    assert law.chosen is None
    assert "rises with size" in law.why


def test_beyond_the_largest_size_the_loss_may_go_on_falling_in_a_straight_line():
    fit = fit_form(X, noisy(1 + 20 * X**-0.25, 0.001, 0), "offset")
    at = X[-1] * np.array(AHEAD)
    inside, beyond = fit.laws.band(at), fit.band(at)
    assert inside[0][0] == beyond[0][0]
    upper = X[4] <= X
    slope, height = np.polyfit(np.log(X[upper]), np.log(fit.y[upper]), 1)
    assert (beyond[0][1:] < np.exp(height) * at[1:] ** slope).all()
    assert (inside[1] == beyond[1]).all()


def test_a_floor_below_zero_is_how_steepening_shows():
    x = np.geomspace(1e5, 1e7, 6)
    for truth, expected in ((20 - 3 * (x / 1e5) ** 0.3, True), (1 + 20 * x**-0.25, False)):
        fit = fit_form(x, noisy(truth, 0.001, 1), "offset")
        assert (evidence(x, fit.y, fit.objective).steepens < 0.01) is expected


def test_slopes_of_curves_are_those_of_finite_differences():
    curves = OffsetCurves(np.log(X))
    u = np.array([[2.2, 1.8, 1.5], [2.0, 1.5, 1.0001], [2.0, 1.9, 1.2]])
    for place in range(3):
        step = np.zeros(3)
        step[place] = 1e-6
        difference = (curves.log_loss(u + step) - curves.log_loss(u - step)) / 2e-6
        np.testing.assert_allclose(curves.slopes(u)[:, place], difference, atol=1e-7)


@pytest.mark.parametrize("noise", [0.0, 1e-9])
def test_points_free_of_noise_have_their_law_and_no_width(noise):
    law = fit_axis(X[:6], noisy(1 + 20 * X[:6] ** -0.25, noise, 0))
    assert law.chosen.intervals["beta"] == pytest.approx((0.25, 0.25), rel=1e-5)
