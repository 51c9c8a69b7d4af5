"""The next points: what they are expected to tell, and that they tell it."""

import itertools

import numpy as np
import pytest

from chemscale.laws import Additive, FitError, fit_surface
from chemscale.laws.allocation.design import (
    allocation_exponent,
    choose_points,
    exponents,
    loss_at,
    loss_of_budget,
)
from chemscale.laws.allocation.known import KnownLaw
from chemscale.laws.joint.huber import fit_huber

SURFACE = Additive()
TRUTH = np.array([0.9, 60.0, 300.0, 0.34, 0.4])
NOISE = 0.005
OLD = np.array([[n, d] for n in (1e5, 4e5, 1.6e6, 6.4e6) for d in (1e7, 4e7, 1.6e8)])
CANDIDATES = np.array([[n, d] for n in np.geomspace(5e4, 5e8, 17) for d in np.geomspace(5e6, 2e10, 13)])
COST = 6 * CANDIDATES.prod(1)
BUDGET = 3e16
FAR = np.array([[1e9, 2e10]])
GOALS = {
    "loss": loss_at(SURFACE, FAR),
    "best": loss_of_budget(SURFACE, 1e20),
    "exponents": exponents(SURFACE),
    "a": allocation_exponent(SURFACE),
}


def known() -> KnownLaw:
    loss = SURFACE.value(TRUTH, *OLD.T) * np.exp(np.random.default_rng(1).normal(0, NOISE, len(OLD)))
    law = KnownLaw.of_runs(SURFACE, TRUTH, OLD, loss)
    return KnownLaw(SURFACE, law.phi, law.covariance * (NOISE / law.noise) ** 2, NOISE, law.freedom)


def refitted(inputs: np.ndarray, goal, count: int = 300) -> np.ndarray:
    """(count, m) the goal after refits to simulated runs at these inputs."""
    phi = SURFACE.internal(TRUTH[None])
    z = np.log(inputs)
    centre = z.mean(0)
    inner = SURFACE.recentre(phi, -centre)
    y = SURFACE.log_loss(inner, z - centre)[0]
    y = y + np.random.default_rng(0).normal(0, NOISE, (count, len(z)))
    found = fit_huber(SURFACE, np.repeat(inner, count, 0), z - centre, y, delta=np.inf)
    return goal.target(SURFACE.recentre(found.phi, centre))


def width(inputs: np.ndarray, goal) -> float:
    """Spread of the refitted goal: half the middle 68 %, for several the square root of their area."""
    values = refitted(inputs, goal)
    values = values[np.isfinite(values).all(1)]
    if goal.volume:
        return float(np.linalg.det(np.cov(values.T)) ** 0.25)
    low, high = np.percentile(values[:, 0], [16, 84])
    return float(high - low) / 2


def random_points(seed: int, points: int) -> np.ndarray:
    """Candidates at random, at most so many, the last of which uses up the budget."""
    random, chosen, left = np.random.default_rng(seed), [], BUDGET
    while len(chosen) < points - 1:
        chosen.append(int(random.choice(np.flatnonzero(left / 2 >= COST))))
        left -= COST[chosen[-1]]
    chosen.append(int(np.argmax(np.where(left >= COST, COST, 0))))
    assert COST[chosen].sum() > 0.9 * BUDGET
    return CANDIDATES[chosen]


@pytest.mark.parametrize("name", GOALS)
def test_chosen_points_narrow_the_goal_as_predicted_and_more_than_random_ones_of_the_same_flops(name):
    goal = GOALS[name]
    design = choose_points(known(), CANDIDATES, COST, goal, budget=BUDGET, points=6)
    assert design.flops.sum() <= BUDGET * (1 + 1e-6)
    assert len(design.chosen) <= 6
    chosen = width(np.vstack([OLD, design.inputs]), goal)
    assert chosen < 0.7 * width(OLD, goal)
    others = [width(np.vstack([OLD, random_points(seed, 6)]), goal) for seed in range(12)]
    assert chosen < 0.8 * np.median(others)
    assert chosen <= 1.05 * min(others)
    if not goal.volume:
        predicted = design.after.spread(goal.target)[1][0]
        assert chosen == pytest.approx(predicted, rel=0.25)


def test_intervals_are_given_before_and_after():
    design = choose_points(known(), CANDIDATES, COST, GOALS["best"], budget=BUDGET, points=4)
    [(label, value, before, after)] = design.intervals()
    assert "1e+20 FLOP" in label
    assert before[0] < after[0] < value < after[1] < before[1]
    two = choose_points(known(), CANDIDATES, COST, GOALS["exponents"], budget=BUDGET, points=4).intervals()
    assert [row[0] for row in two] == ["alpha", "beta"]
    assert [row[1] for row in two] == pytest.approx([0.34, 0.4])


@pytest.mark.parametrize("name", GOALS)
def test_more_budget_and_more_points_never_tell_less(name):
    goal = GOALS[name]

    def left(budget, points):
        design = choose_points(known(), CANDIDATES, COST, goal, budget=budget, points=points)
        return np.prod(design.after.spread(goal.target)[1])

    widths = [left(1e15, 3), left(1e16, 3), left(1e16, 6), left(1e17, 6)]
    assert all(b <= a * 1.02 for a, b in itertools.pairwise(widths))


@pytest.mark.parametrize("name", GOALS)
def test_a_configuration_is_chosen_no_more_often_than_allowed(name):
    free, limited = (
        choose_points(known(), CANDIDATES, COST, GOALS[name], budget=BUDGET, points=6, repeats=repeats)
        for repeats in (None, 2)
    )
    assert max(limited.chosen.count(each) for each in limited.chosen) <= 2
    assert len(limited.chosen) == len(free.chosen)
    lost = np.prod(limited.after.spread(GOALS[name].target)[1] / free.after.spread(GOALS[name].target)[1])
    assert lost < 1.15


@pytest.mark.slow
@pytest.mark.parametrize("name", ["best", "a"])
def test_the_interval_after_the_planned_runs_is_as_narrow_as_promised(name):
    goal, truth = GOALS[name], GOALS[name].target(SURFACE.internal(TRUTH[None]))[0, 0]
    promised, came, held = [], [], []
    for seed in range(30):
        random = np.random.default_rng(seed)

        def trained(inputs, random=random):
            return SURFACE.value(TRUTH, *inputs.T) * np.exp(random.normal(0, NOISE, len(inputs)))

        def fitted(inputs, loss, seed=seed):
            start = SURFACE.internal(TRUTH[None])
            return fit_surface(SURFACE, inputs, loss, starts=start, bootstrap=200, seed=seed)

        loss = trained(OLD)
        before = fitted(OLD, loss)
        law = KnownLaw.of_fit(before)
        design = choose_points(law, CANDIDATES, COST, goal, budget=BUDGET, points=6, repeats=2)
        after = fitted(np.vstack([OLD, design.inputs]), np.append(loss, trained(design.inputs)))
        (_, _, now, then), *_ = design.intervals()
        promised.append((then[1] - then[0]) / (now[1] - now[0]))
        low, high = after.interval(goal.target)
        came.append(np.ptp(goal.shown(np.array([low[0], high[0]]))) / (now[1] - now[0]))
        held.append(low[0] <= truth <= high[0])
    assert np.median(came) == pytest.approx(np.median(promised), rel=0.3)
    assert np.mean(held) > 0.8


def test_one_point_is_the_best_of_all_that_fit():
    law, goal = known(), GOALS["loss"]
    design = choose_points(law, CANDIDATES, COST, goal, budget=BUDGET, points=1)
    every = [law.after(c[None]).spread(goal.target)[1][0] for c in CANDIDATES[COST <= BUDGET]]
    assert design.after.spread(goal.target)[1][0] == pytest.approx(min(every))


def test_a_fit_and_its_runs_are_the_same_knowledge():
    loss = SURFACE.value(TRUTH, *OLD.T) * np.exp(np.random.default_rng(2).normal(0, NOISE, len(OLD)))
    fit = fit_surface(SURFACE, OLD, loss, starts=SURFACE.starts()[::50], bootstrap=5)
    one, two = KnownLaw.of_fit(fit), KnownLaw.of_runs(SURFACE, fit.theta, OLD, loss)
    assert one.noise == pytest.approx(two.noise, rel=1e-6)
    for goal in GOALS.values():
        np.testing.assert_allclose(one.spread(goal.target)[1], two.spread(goal.target)[1], rtol=1e-4)


def test_a_guess_is_as_uncertain_as_stated_and_runs_narrow_it():
    guess = KnownLaw.of_guess(SURFACE, TRUTH, np.array([1e6, 1e8]), 0.01)
    assert guess.spread(GOALS["exponents"].target)[1] == pytest.approx([0.1, 0.1])
    design = choose_points(guess, CANDIDATES, COST, GOALS["exponents"], budget=BUDGET, points=8)
    assert (design.after.spread(GOALS["exponents"].target)[1] < 0.05).all()
    assert len(np.unique(design.inputs[:, 0])) >= 2


def test_predictions_of_runs_hold_the_runs():
    law = KnownLaw.of_guess(SURFACE, TRUTH, np.array([1e6, 1e8]), 0.01).after(np.repeat(OLD, 3, 0))
    _, low, high = law.run_interval(OLD)
    losses = SURFACE.value(TRUTH, *OLD.T) * np.exp(np.random.default_rng(3).normal(0, 0.01, (400, len(OLD))))
    assert 0.93 < np.mean((low < losses) & (losses < high)) < 0.99


def test_what_cannot_be_planned_is_said_in_words():
    with pytest.raises(FitError, match="the cheapest of 221 costs"):
        choose_points(known(), CANDIDATES, COST, GOALS["loss"], budget=1e6, points=3)
    with pytest.raises(FitError, match="7 or more"):
        KnownLaw.of_runs(SURFACE, TRUTH, OLD[:6], np.ones(6))
    line = np.array([[n, 20 * n] for n in np.geomspace(1e5, 1e8, 9)])
    with pytest.raises(FitError, match="vary N and D apart"):
        KnownLaw.of_runs(SURFACE, np.array([0.9, 60, 300, 0.3, 0.3]), line, np.linspace(2, 1, 9))
