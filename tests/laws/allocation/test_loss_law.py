"""The loss at optima has a floor, and few budgets leave it open."""

import numpy as np
import pytest

from chemscale.laws import Additive, FitError
from chemscale.laws.allocation.isoflop import allocate_isoflop
from chemscale.laws.allocation.loss_law import OptimalLoss

THETA = np.array([0.9, 20.0, 300.0, 0.35, 0.4])


def falling(flops, floor=1.2, k=40.0, gamma=0.19):
    return floor + k * np.asarray(flops) ** -gamma


def optimum(budget):
    _, a, b, alpha, beta = THETA
    n = (alpha * a / (beta * b)) ** (1 / (alpha + beta)) * (budget / 6) ** (beta / (alpha + beta))
    return n, float(Additive().value(THETA, n, budget / 6 / n))


def isoflops(seed, budgets, noise, width, sizes):
    n = np.concatenate([optimum(c)[0] * np.geomspace(1 / width, width, sizes) for c in budgets])
    c = np.repeat(budgets, sizes)
    loss = Additive().value(THETA, n, c / 6 / n)
    return n, c / 6 / n, c, loss * np.exp(np.random.default_rng(seed).normal(0, noise, len(n)))


@pytest.mark.parametrize("floor", [0.0, 0.3, 1.2])
def test_the_law_of_exact_optima_is_found_with_its_floor(floor):
    c = np.geomspace(1e12, 1e16, 6)
    law = OptimalLoss.of(c, falling(c, floor), np.full(6, 1e-6), 10)
    assert law.predict(1e17) == pytest.approx(float(falling(1e17, floor)), rel=1e-5)
    low, high = law.interval(1e17)
    assert low <= law.predict(1e17) <= high
    assert high / low - 1 < 1e-3


def test_three_budgets_leave_all_between_the_power_law_and_a_loss_that_falls_no_more():
    c = np.geomspace(1e13, 1e15, 3)
    loss = falling(c)
    power = np.exp(np.polyval(np.polyfit(np.log(c), np.log(loss), 1), np.log(1e17)))
    wide, narrow = (OptimalLoss.of(c, loss, np.full(3, std), 6).interval(1e17) for std in (0.05, 1e-5))
    assert wide[0] < power < falling(1e17) < wide[1]
    assert wide[1] < loss[0] * 1.2  # a loss of compute does not rise: no interval is without an end
    assert narrow[0] < falling(1e17) < narrow[1]
    assert narrow[1] / narrow[0] < 1.01


def test_losses_that_scatter_more_than_their_noise_widen_the_interval():
    c = np.geomspace(1e12, 1e16, 7)
    loss = falling(c) * np.exp(0.01 * np.array([1, -1, 1, -1, 1, -1, 1]))
    law = OptimalLoss.of(c, loss, np.full(7, 1e-3), 20)
    assert law.widened > 1
    assert np.ptp(law.interval(1e17)) > 5 * np.ptp(
        OptimalLoss.of(c, falling(c), np.full(7, 1e-3), 20).interval(1e17)
    )


def test_what_has_no_law_of_compute_is_said_in_words():
    c = np.geomspace(1e12, 1e14, 4)
    with pytest.raises(FitError, match="at least 3 budgets"):
        OptimalLoss.of(c[:2], falling(c[:2]), np.full(2, 1e-3), 5)
    with pytest.raises(FitError, match="does not fall"):
        OptimalLoss.of(c, 2.0 * c**0.01, np.full(4, 1e-4), 5)


def test_few_budgets_get_the_floor_and_their_notes_say_how_little_they_tell():
    budgets = np.geomspace(1e13, 1e15, 4)
    allocation = allocate_isoflop(*isoflops(0, budgets, 0.002, 4.0, 7))
    best, exact = allocation.at(1e16), optimum(1e16)
    assert best.loss_interval[0] < exact[1] < best.loss_interval[1]
    assert best.loss == pytest.approx(exact[1], rel=0.01)  # a power law is 3 to 5 per cent below
    assert any("4 budgets hardly tell E" in note for note in allocation.notes)


def test_the_interval_of_a_wide_grid_holds_the_bias_of_its_parabolas():
    budgets = np.geomspace(1e13, 1e16, 4)
    allocation = allocate_isoflop(*isoflops(0, budgets, 1e-6, 16.0, 7))
    for budget in (1e16, 1e17):
        best = allocation.at(budget)
        n, loss = optimum(budget)
        assert best.n_interval[0] <= n * 1.001
        assert best.n_interval[1] >= n * 0.999
        assert abs(best.n / n - 1) > 0.01
        assert best.loss_interval[0] <= loss * 1.0001
    assert any("biased where α ≠ β" in note for note in allocation.notes)


@pytest.mark.slow
@pytest.mark.parametrize(("budgets", "width", "noise"), [(3, 4.0, 0.002), (4, 8.0, 0.002), (4, 4.0, 0.01)])
def test_intervals_of_few_budgets_hold_the_truth_as_often_as_their_level(budgets, width, noise):
    c, inside = 1e13 * 10 ** (0.75 * np.arange(budgets)), []
    for seed in range(120):
        allocation = allocate_isoflop(*isoflops(seed, c, noise, width, 6), seed=seed)
        for budget in (c[-1], 10 * c[-1]):
            best, (n, loss) = allocation.at(budget), optimum(budget)
            inside.append(
                (
                    best.n_interval[0] < n < best.n_interval[1],
                    best.loss_interval[0] < loss < best.loss_interval[1],
                )
            )
    assert (np.mean(inside, 0) > 0.91).all(), np.mean(inside, 0)
