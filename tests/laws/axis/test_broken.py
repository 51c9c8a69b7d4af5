"""Broken laws are recovered where they can be, refused where they cannot, and carry a learning curve on."""

import time

import numpy as np
import pytest

from chemscale.laws.axis.broken import extrapolate_curve, solve
from chemscale.laws.axis.fit import MIN_SIZES, FitError, fit_form, fit_forms, supported
from chemscale.laws.axis.forms import FORMS

ONCE = {
    "steeper": [0.5, 30, 0.1, 0.3, 1e5, 0.5],
    "without a floor": [0.0, 5, 0.02, 0.25, 3e6, 0.8],
    "flatter, sharp": [1.2, 100, 0.4, -0.3, 2e5, 0.2],
}
TWICE = {
    "there and back": [0.5, 30, 0.05, 0.3, 1e4, 0.5, -0.2, 1e7, 0.4],
    "ever steeper": [0.1, 5, 0.02, 0.25, 3e4, 0.8, 0.2, 1e7, 0.5],
}
SIZES = np.geomspace(1e3, 1e8, 20)
MORE_SIZES = np.geomspace(1e2, 1e9, 30)


def noisy(y, seed, sigma):
    return y * np.exp(sigma * np.random.default_rng(seed).normal(size=len(y)))


def learning_curve(n, sigma, seed=0):
    seen = np.linspace(1e5, 2e7, n)
    return seen, noisy(1.2 + 60 * seen**-0.3, seed, sigma)


@pytest.mark.parametrize(
    ("name", "theta", "x"),
    [("broken1", theta, SIZES) for theta in ONCE.values()]
    + [("broken2", theta, MORE_SIZES) for theta in TWICE.values()],
)
def test_noise_free_points_give_their_broken_law(name, theta, x):
    form, theta = FORMS[name], np.array(theta)
    y = form.value(x, theta)
    found, _, converged = solve(form, x, y)
    assert converged
    assert form.value(x, found) == pytest.approx(y, rel=1e-6)
    assert found == pytest.approx(theta, rel=1e-6, abs=1e-6)


def test_the_form_is_the_one_of_the_paper():
    a, b, c0, c1, d1, f1, c2, d2, f2 = TWICE["there and back"]
    product = (1 + (SIZES / d1) ** (1 / f1)) ** (-c1 * f1) * (1 + (SIZES / d2) ** (1 / f2)) ** (-c2 * f2)
    theta = np.array(TWICE["there and back"])
    assert FORMS["broken2"].value(SIZES, theta) == pytest.approx(a + b * SIZES**-c0 * product, rel=1e-12)


@pytest.mark.parametrize(
    ("name", "theta"),
    [
        ("power", [3.0, 0.17]),
        ("offset", [30.0, 0.4, 1.0]),
        ("broken1", ONCE["steeper"]),
        ("broken1", ONCE["flatter, sharp"]),
        ("broken2", TWICE["there and back"]),
    ],
)
def test_gradients_are_those_of_finite_differences(name, theta):
    form, theta = FORMS[name], np.array(theta)
    gradient = form.log_gradient(SIZES, theta)
    for number, value in enumerate(theta):
        up, down = theta.copy(), theta.copy()
        up[number], down[number] = value * (1 + 1e-6), value * (1 - 1e-6)
        difference = np.log(form.value(SIZES, up)) - np.log(form.value(SIZES, down))
        assert gradient[:, number] == pytest.approx(
            difference / (2e-6 * value), rel=1e-5, abs=1e-7 / abs(value)
        )


@pytest.mark.parametrize(("name", "count"), [("broken1", "six"), ("broken2", "nine")])
def test_a_broken_law_of_too_few_sizes_is_refused_in_words(name, count):
    few = np.geomspace(1e4, 1e8, MIN_SIZES[name] - 1)
    with pytest.raises(FitError, match=rf"{MIN_SIZES[name]} needed \(its {count} parameters"):
        fit_form(few, 3.0 * few**-0.1, name)


def test_forms_are_offered_by_name_and_the_default_stays_plain():
    y = noisy(3.0 * SIZES**-0.17, 0, 0.01)
    names = lambda fits: [fit.form.name for fit in fits]  # noqa: E731
    assert names(fit_forms(SIZES, y, bootstrap=20)[0]) == ["power", "offset"]
    every, refused = fit_forms(SIZES[:9], y[:9], forms=tuple(FORMS), bootstrap=20)
    assert names(every) == ["power", "offset", "broken1"]
    assert len(refused) == 1
    assert "9 distinct sizes" in refused[0]
    with pytest.raises(FitError, match="no form 'bnsl'"):
        fit_forms(SIZES, y, forms=("bnsl",))


@pytest.mark.parametrize(
    ("truth", "expected"),
    [
        (lambda x: 3.0 * x**-0.17, "power"),
        (lambda x: 0.8 + 20 * x**-0.25, "offset"),
        (lambda x: FORMS["broken1"].value(x, np.array(ONCE["steeper"])), "broken1"),
        (lambda x: FORMS["broken2"].value(x, np.array(TWICE["there and back"])), "broken2"),
    ],
)
def test_the_plainest_law_that_the_points_do_not_contradict_is_supported(truth, expected):
    fits, _ = fit_forms(MORE_SIZES, noisy(truth(MORE_SIZES), 3, 0.004), forms=tuple(FORMS), bootstrap=20)
    assert supported(fits).form.name == expected


@pytest.mark.slow
def test_a_break_is_rarely_supported_where_there_is_none():
    x = np.geomspace(1e4, 1e8, 12)
    wrong = 0
    for seed in range(40):
        fits, _ = fit_forms(x, noisy(0.8 + 20 * x**-0.25, seed, 0.005), forms=tuple(FORMS), bootstrap=2)
        wrong += supported(fits).form.name.startswith("broken")
    assert wrong <= 6


def test_every_parameter_of_a_broken_law_has_an_interval_that_holds_it():
    y = noisy(FORMS["broken1"].value(SIZES, np.array(ONCE["steeper"])), 0, 0.003)
    fit = fit_form(SIZES, y, "broken1", bootstrap=300)
    assert fit.converged
    for name, truth in zip(fit.form.parameters, ONCE["steeper"], strict=True):
        low, high = fit.intervals[name]
        assert low < truth < high, name
    assert abs(fit.held_out_error) < 0.02
    low, high = fit.band(np.array([1e5, 1e8]))
    assert (low < fit.predict([1e5, 1e8])).all()
    assert (high > fit.predict([1e5, 1e8])).all()


@pytest.mark.slow
def test_intervals_of_a_broken_law_hold_the_truth_as_often_as_their_level():
    theta = np.array(ONCE["steeper"])
    hits, band = np.zeros(len(theta)), 0
    for seed in range(100):
        y = noisy(FORMS["broken1"].value(SIZES, theta), seed, 0.005)
        fit = fit_form(SIZES, y, "broken1", bootstrap=200, seed=seed)
        for number, (low, high) in enumerate(fit.intervals.values()):
            hits[number] += (low is None or low <= theta[number]) and (high is None or theta[number] <= high)
        low, high = fit.band(np.array([1e9]))
        band += low[0] <= FORMS["broken1"].value(np.array([1e9]), theta)[0] <= high[0]
    assert (hits >= 87).all()
    assert 87 <= band < 100


def test_a_break_that_the_points_do_not_show_is_called_so():
    fit = fit_form(SIZES, noisy(3.0 * SIZES**-0.17, 1, 0.01), "broken1", bootstrap=200)
    assert any("break 1 is not shown" in note for note in fit.notes)
    assert any(None in pair for pair in fit.intervals.values())


# --- learning curves ---


@pytest.mark.parametrize("form", ["offset", "broken1"])
def test_a_noise_free_learning_curve_is_carried_on_to_its_end(form):
    seen, loss = learning_curve(100, 0.0)
    found = extrapolate_curve(seen, loss, 1e8, form)
    assert found.value == pytest.approx(1.2 + 60 * 1e8**-0.3, rel=1e-4)
    assert (found.form, found.status) == (form, "ok")


def test_a_noisy_curve_of_hundreds_of_points_is_carried_on_fast_and_well():
    seen, loss = learning_curve(300, 0.01)
    extrapolate_curve(seen, loss, 1e8)
    start = time.process_time()
    found = extrapolate_curve(seen, loss, 1e8)
    assert time.process_time() - start < 0.3
    assert found.value == pytest.approx(1.2 + 60 * 1e8**-0.3, rel=0.05)


@pytest.mark.parametrize("n", [1, 2, 4, 7])
def test_short_curves_fall_back_to_what_they_can_bear_with_the_reason(n):
    seen, loss = learning_curve(20, 0.0)
    found = extrapolate_curve(seen[:n], loss[:n], 1e8)
    assert found.form == {1: "last", 2: "last", 4: "power", 7: "offset"}[n]
    assert f"broken1: {n} distinct sizes, 8 needed" in found.status


def test_a_curve_that_rises_at_its_end_foretells_no_blow_up():
    seen, loss = learning_curve(40, 0.0)
    rising = loss + 2e-13 * np.maximum(seen - 1e7, 0) ** 1.7
    assert rising[-1] > rising.min()
    found = extrapolate_curve(seen, rising, 1e10)
    assert 0 < found.value <= rising[-10:].max()
    assert "broken1: foretells a rise" in found.status
    assert found.form == "offset"


def test_no_noisy_curve_raises():
    for seed in range(40):
        random = np.random.default_rng(seed)
        n = int(random.integers(1, 60))
        loss = np.exp(np.sort(random.normal(size=n))[::-1] + 0.3 * random.normal(size=n))
        if n > 5:
            loss[random.integers(n)] = np.nan
        found = extrapolate_curve(np.arange(1, n + 1) * 64, loss, 1e5)
        assert 0 < found.value <= np.nanmax(loss)


def test_a_flat_curve_stays_flat():
    found = extrapolate_curve(np.arange(1, 31), np.full(30, 2.5), 1000)
    assert found.value == pytest.approx(2.5)


def test_a_curve_without_points_and_an_unknown_form_are_refused():
    with pytest.raises(FitError, match="no point"):
        extrapolate_curve([1, 2], [np.nan, -1], 10)
    with pytest.raises(FitError, match="broken2"):
        extrapolate_curve([1, 2], [1, 1], 10, "broken2")
