"""Laws recover what made the points, and say how little a few points know."""

import subprocess
import sys

import numpy as np
import pytest

from chemscale.laws import FitError, fit_power_law
from chemscale.laws.axis.fit import fit_form, floor_significance

SIZES = np.geomspace(1e4, 1e8, 7)


def noisy(y, seed, sigma=0.01):
    return y * np.exp(sigma * np.random.default_rng(seed).normal(size=len(y)))


def test_noise_free_points_give_their_power_law():
    fit = fit_power_law(SIZES, 3.0 * SIZES**-0.17, bootstrap=10)
    assert fit.values == pytest.approx({"alpha": 3.0, "beta": 0.17}, rel=1e-9)
    assert fit.held_out_error == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("alpha", "beta", "floor"), [(30, 0.4, 1.0), (5, 0.17, 0.5), (2000, 0.7, 0.9)])
def test_noise_free_points_give_their_law_with_a_floor(alpha, beta, floor):
    fit = fit_power_law(SIZES, floor + alpha * SIZES**-beta, offset=True, bootstrap=10)
    assert fit.values == pytest.approx({"alpha": alpha, "beta": beta, "floor": floor}, rel=1e-5)
    assert fit.converged


@pytest.mark.parametrize("offset", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_interval_of_the_exponent_holds_the_truth_as_often_as_its_level(offset):
    truth = (0.8 if offset else 0.0) + 20 * SIZES**-0.25
    hits = 0
    for seed in range(100):
        low, high = fit_power_law(SIZES, noisy(truth, seed), offset=offset, bootstrap=10).intervals["beta"]
        hits += (low is None or low <= 0.25) and (high is None or high >= 0.25)
    assert 88 <= hits <= 99


def test_a_bend_is_noticed_in_a_straight_fit():
    fit = fit_power_law(SIZES[:6], 1.0 + 30 * SIZES[:6] ** -0.4, bootstrap=10)
    bent = fit_power_law(SIZES, 1.0 + 30 * SIZES**-0.4, offset=True, bootstrap=10)
    assert fit.objective > 100 * bent.objective
    assert abs(fit.held_out_error) > abs(bent.held_out_error)


def test_a_floor_that_the_points_do_not_show_is_called_so():
    fit = fit_power_law(SIZES, noisy(3.0 * SIZES**-0.17, 1), offset=True, bootstrap=200)
    assert any("do not show a floor" in note for note in fit.notes)


def test_few_points_have_wide_intervals_and_a_note():
    few = fit_power_law(SIZES[:3], noisy(3.0 * SIZES[:3] ** -0.17, 0), bootstrap=50)
    assert any("1 degree of freedom" in note for note in few.notes)
    many = fit_power_law(SIZES, noisy(3.0 * SIZES**-0.17, 0), bootstrap=50)
    width = lambda fit: fit.intervals["beta"][1] - fit.intervals["beta"][0]  # noqa: E731
    assert width(few) > 3 * width(many)


@pytest.mark.parametrize(("n", "offset", "words"), [(2, False, "two points"), (4, True, "three parameters")])
def test_too_few_sizes_are_refused_in_words(n, offset, words):
    with pytest.raises(FitError, match=words):
        fit_power_law(SIZES[:n], 3.0 * SIZES[:n] ** -0.1, offset=offset)


def test_seeds_of_one_size_do_not_count_as_sizes():
    with pytest.raises(FitError, match="2 distinct sizes"):
        fit_power_law(np.repeat([1e4, 1e5], 5), np.ones(10))


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_losses_that_have_no_logarithm_are_refused(bad):
    with pytest.raises(FitError, match="positive and finite"):
        fit_power_law(SIZES, np.r_[np.ones(6), bad])


def test_the_band_holds_the_law_and_widens_outside_the_points():
    fit = fit_power_law(SIZES, noisy(3.0 * SIZES**-0.17, 0), bootstrap=200)
    low, high = fit.band(np.array([1e6, 1e12]))
    assert (low < fit.predict([1e6, 1e12])).all()
    assert (fit.predict([1e6, 1e12]) < high).all()
    assert high[1] / low[1] > high[0] / low[0]


def test_a_floor_is_supported_where_there_is_one_and_only_there():
    for truth, expected in ((1.0 + 30 * SIZES**-0.4, True), (3.0 * SIZES**-0.17, False)):
        y = noisy(truth, 0, sigma=0.002)
        power, offset = (fit_power_law(SIZES, y, offset=o, bootstrap=10) for o in (False, True))
        assert (floor_significance(power, offset) < 0.05) is expected
        assert any("bend" in note for note in power.notes) is expected


def test_the_profile_of_a_floor_fit_reaches_the_f_threshold_on_both_sides():
    x = np.array([24576, 55296, 98304, 221184, 393216])
    y = np.array([1.3598, 1.2400, 1.1859, 1.1341, 1.0994])
    low, high = fit_power_law(x, y, offset=True, bootstrap=10).intervals["beta"]
    # The sum of squares with β held at 0.2, 0.4, 0.6 and 0.9 lies outside, inside, inside and outside.
    assert 0.2 < low < 0.4
    assert 0.6 < high < 0.9


def seeded(sizes, seeds, seed, of_size=0.0, of_seed=0.01):
    """A sweep of β = 0.25 whose sizes and seeds scatter."""
    random = np.random.default_rng(seed)
    x = np.repeat(np.geomspace(1e4, 1e8, sizes), seeds)
    scatter = np.repeat(of_size * random.normal(size=sizes), seeds) + of_seed * random.normal(size=len(x))
    return x, 20 * x**-0.25 * np.exp(scatter)


def test_the_scatter_of_seeds_is_reported_with_its_interval():
    fit = fit_power_law(*seeded(6, 4, 0), bootstrap=50)
    assert fit.seeds.low < 0.01 < fit.seeds.high
    assert fit.seeds.freedom == 18
    assert any("Seeds of one size differ by" in note for note in fit.notes)
    assert fit_power_law(SIZES, noisy(3.0 * SIZES**-0.17, 0), bootstrap=50).seeds is None


def test_a_fit_reports_whether_seeds_or_whole_sizes_were_drawn():
    like_seeds = fit_power_law(*seeded(7, 3, 0), bootstrap=50)
    like_sizes = fit_power_law(*seeded(7, 3, 0, of_size=0.02, of_seed=0.002), bootstrap=50)
    alone = fit_power_law(SIZES, noisy(3.0 * SIZES**-0.17, 0), bootstrap=50)
    assert (like_seeds.resampling, like_sizes.resampling, alone.resampling) == ("seeds", "sizes", "residuals")
    assert like_sizes.scatter.lack_of_fit < 0.01 < like_seeds.scatter.lack_of_fit
    assert like_sizes.to_dict()["resampling"] == "sizes"
    assert any("sizes miss the law by more than seeds explain" in note for note in like_sizes.notes)


@pytest.mark.parametrize(("of_size", "expected"), [(0.0, "seeds"), (0.02, "sizes")])
def test_intervals_over_seeds_hold_the_truth_as_often_as_their_level(of_size, expected):
    hits, alphas, drawn = 0, 0, 0
    for seed in range(100):
        x, y = seeded(7, 3, seed, of_size, 0.01 if of_size == 0 else 0.003)
        fit = fit_power_law(x, y, bootstrap=100, seed=seed)
        (low, high), (lowest, highest) = fit.intervals["beta"], fit.intervals["alpha"]
        hits += low <= 0.25 <= high
        alphas += lowest <= 20 <= highest
        drawn += fit.resampling == expected
    assert 88 <= hits <= 99
    assert 85 <= alphas <= 99
    assert drawn >= 65


def test_seeds_of_scattered_sizes_taken_one_by_one_promise_too_much():
    x, y = seeded(7, 3, 0, of_size=0.02, of_seed=0.002)
    width = {}
    for resampling in ("residuals", "sizes"):
        low, high = fit_power_law(x, y, bootstrap=300, resampling=resampling).intervals["beta"]
        width[resampling] = high - low
    assert width["sizes"] > 1.5 * width["residuals"]


def test_seeds_cannot_be_drawn_where_there_are_none():
    with pytest.raises(FitError, match="every size has one point"):
        fit_power_law(SIZES, 3.0 * SIZES**-0.17, resampling="seeds")
    with pytest.raises(FitError, match="'pairs' is not known"):
        fit_power_law(SIZES, 3.0 * SIZES**-0.17, resampling="pairs")


def test_laws_need_no_torch():
    code = (
        "import sys, chemscale.laws, chemscale.laws.reports.axis_report as _;"
        "assert not {'torch', 'hydra'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("form", ["power", "offset"])
def test_equal_losses_are_refused(form):
    with pytest.raises(FitError, match="All 7 losses are equal"):
        fit_form(SIZES, np.full(7, 1.3) * (1 + 1e-15 * np.arange(7)), form)


@pytest.mark.parametrize(("x", "y", "words"), [(1e300, 1.0, "size of"), (1.0, 1e300, "loss of")])
def test_sizes_and_losses_that_no_run_has_are_refused(x, y, words):
    with pytest.raises(FitError, match=words):
        fit_power_law(SIZES * np.r_[np.ones(6), x], 3.0 * SIZES**-0.1 * np.r_[np.ones(6), y])


def test_a_law_whose_coefficient_no_number_holds_is_refused():
    x = np.geomspace(1e50, 1.001e50, 7)
    with pytest.raises(FitError, match="coefficient that no number holds"):
        fit_power_law(x, 3.0 * (x / 1e50) ** -20.0)
    with pytest.raises(FitError, match="coefficient that no number holds"):  # α = 0
        fit_power_law(SIZES, np.r_[np.ones(3), np.full(4, 1e58)], offset=True)


@pytest.mark.parametrize("noise", [0.0, 1e-14, 1e-11])
def test_the_interval_of_a_nearly_exact_law_holds_its_exponent(noise):
    for seed in range(5):
        fit = fit_power_law(SIZES, noisy(3.0 * SIZES**-0.17, seed, sigma=noise), bootstrap=10)
        low, high = fit.intervals["beta"]
        assert low <= fit.values["beta"] <= high
