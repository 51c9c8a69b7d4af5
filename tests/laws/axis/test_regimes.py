"""Points that another axis limits are found by a stated test, and a straight law is left alone."""

import numpy as np
import pytest

from chemscale.laws.axis.fit import FitError, fit_power_law
from chemscale.laws.axis.regimes import limited_by_other, straight_regime
from chemscale.laws.data.points import LawPoint, LawPoints, PointsError

E, A, ALPHA, B, BETA = 0.2, 60.0, 0.34, 300.0, 0.36


def noisy(y, seed, sigma=0.005):
    return y * np.exp(sigma * np.random.default_rng(seed).normal(size=len(y)))


def surface(n, d):
    return E + A * n**-ALPHA + B * d**-BETA


def crossover(d):
    """The N at which the model's term equals everything else."""
    return (A / (E + B * d**-BETA)) ** (1 / ALPHA)


def sweep(sizes, seeds=1):
    return np.repeat(np.geomspace(1e4, 1e8, sizes), seeds)


def table(sizes=9, data=(1e8, 3e10), seeds=1, seed=0):
    points = []
    for d in data:
        n = sweep(sizes, seeds)
        for size, loss in zip(n, noisy(surface(n, d), seed), strict=True):
            # Runs of one slice differ by a batch or two.
            jittered = d * (1 + 0.01 * (len(points) % 2))
            points.append(
                LawPoint(f"p{len(points)}", {"parameters": size, "tokens": jittered}, {"loss": loss})
            )
    return LawPoints(tuple(points), "simulated")


@pytest.mark.parametrize(("sizes", "seeds"), [(7, 1), (10, 1), (7, 3)])
def test_points_beyond_the_crossover_are_left_out_in_most_sweeps(sizes, seeds):
    x, d = sweep(sizes, seeds), 1e9
    beyond = x > crossover(d)
    assert 0 < beyond.sum() <= len(x) - 4 * seeds
    clean = 0
    for seed in range(60):
        clean += not straight_regime(x, noisy(surface(x, d), seed)).keep[beyond].any()
    assert clean >= 48


@pytest.mark.parametrize("sizes", [5, 7, pytest.param(12, marks=pytest.mark.slow)])
@pytest.mark.parametrize("seeds", [1, 3])
def test_a_pure_power_law_loses_points_in_few_sweeps(sizes, seeds):
    x = sweep(sizes, seeds)
    wrong = sum(not straight_regime(x, noisy(3 * x**-0.17, s)).keep.all() for s in range(200))
    assert wrong <= 20


def test_sizes_that_scatter_by_more_than_their_seeds_do_not_pass_for_bends():
    x, wrong = sweep(8, 3), 0
    for seed in range(200):
        of_size = np.repeat(noisy(np.ones(8), 1000 + seed), 3)
        wrong += not straight_regime(x, noisy(3 * x**-0.17 * of_size, seed, 0.002)).keep.all()
    assert wrong <= 24


def test_the_exponent_without_the_limited_points_is_nearer_to_the_truth():
    x = sweep(10)
    y = noisy(surface(x, 1e9), 0)
    keep = straight_regime(x, y).keep
    every, kept = (fit_power_law(x[m], y[m], bootstrap=10).values["beta"] for m in (keep | True, keep))
    assert abs(kept - ALPHA) < 0.6 * abs(every - ALPHA)


def test_the_flat_end_leaves_whichever_it_is():
    x = sweep(10)
    flattens = straight_regime(x, noisy(1.0 + 400 * x**-0.5, 0))
    steepens = straight_regime(x, noisy(10 * (x + 1e6) ** -0.3, 0))
    assert flattens.keep[0]
    assert not flattens.keep[-1]
    assert steepens.keep[-1]
    assert not steepens.keep[0]


def test_the_test_its_noise_and_its_outcome_are_stated():
    x = sweep(10)
    regime = straight_regime(x, noisy(1.0 + 400 * x**-0.5, 0), axis="parameters", other="tokens")
    assert "F test, 5 %" in regime.test
    assert "cubic through all sizes (6 degrees of freedom)" in regime.test
    assert "limited by tokens or a floor" in regime.reasons[-1]
    assert regime.reasons[0] == ""
    assert [bool(reason) for reason in regime.reasons] == (~regime.keep).tolist()
    seeded = straight_regime(np.repeat(x, 3), noisy(np.repeat(3 * x**-0.2, 3), 5))
    assert "seeds of one size (20 degrees of freedom)" in seeded.test
    assert "nothing is left out" in seeded.statement


def test_a_window_that_still_bends_is_called_so():
    x = sweep(9)
    regime = straight_regime(x, 1.0 + 3 * x**-0.2)
    assert regime.straight is False
    assert regime.keep.sum() == 4
    assert "Even 4 of 9 sizes" in regime.statement


@pytest.mark.parametrize("sizes", [1, 2, 4])
def test_too_few_sizes_leave_nothing_out_and_give_the_reason(sizes):
    x = sweep(sizes, 5)
    regime = straight_regime(x, 1.0 + 400 * x**-0.5)
    assert regime.keep.all()
    assert regime.straight is None
    assert "too few to tell" in regime.statement


def test_points_come_back_in_the_order_in_which_they_were_given():
    x = sweep(9)
    y = noisy(1.0 + 400 * x**-0.5, 0)
    order = np.random.default_rng(0).permutation(len(x))
    assert (straight_regime(x[order], y[order]).keep == straight_regime(x, y).keep[order]).all()


def test_losses_that_have_no_logarithm_are_refused():
    with pytest.raises(FitError, match="positive and finite"):
        straight_regime(sweep(5), np.array([1, 1, 0, 1, 1]))


def test_a_grid_is_tested_slice_by_slice():
    points = table()
    limited = limited_by_other(points, "parameters", "tokens", "loss")
    assert [round(s.other / 1e7) for s in limited.slices] == pytest.approx([10, 3015], rel=0.02)
    assert len(limited.notes) == 2
    for piece in limited.slices:
        for member, kept in zip(piece.members, piece.regime.keep, strict=True):
            point = limited.points.points[member]
            assert point.used == kept
            if points.points[member].sizes["parameters"] > crossover(piece.other):
                assert "limited by tokens" in point.reason
    assert limited.excluded == sum(not p.used for p in limited.points.points) > 0
    assert all(p.used for p in points.points)


def test_more_data_moves_the_limit_to_larger_models():
    limited = limited_by_other(table(sizes=14, data=(1e6, 1e11)), "parameters", "tokens", "loss")
    few, many = (s.regime.keep.sum() for s in limited.slices)
    assert few <= many


def test_points_that_are_not_used_stay_as_they_are():
    first, *rest = table().points
    failed = LawPoint(first.label, first.sizes, first.losses, used=False, reason="failed")
    limited = limited_by_other(LawPoints((failed, *rest), ""), "parameters", "tokens", "loss")
    assert limited.points.points[0] == failed
    assert all(0 not in s.members for s in limited.slices)


def test_a_table_without_both_sizes_is_refused():
    with pytest.raises(PointsError, match="flops"):
        limited_by_other(table(), "parameters", "flops", "loss")
