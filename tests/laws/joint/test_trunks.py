"""Runs of one trunk share noise, and a joint law's intervals hold that."""

import numpy as np
import pytest

from chemscale.laws import FitError
from chemscale.laws.joint.fit import fit_surface
from chemscale.laws.joint.shared_noise import components
from chemscale.laws.joint.surfaces import Additive

SURFACE = Additive()
THETA = np.array([0.9, 20.0, 300.0, 0.35, 0.4])
START = SURFACE.internal(THETA[None])


def ladder(sizes=5, horizons=4, seeds=1):
    """Inputs, and which trunk each run is of: one N and seed."""
    n, d = np.geomspace(1e5, 1e8, sizes), np.geomspace(1e6, 1e9, horizons)
    rows = [(a, b, (i, s)) for s in range(seeds) for i, a in enumerate(n) for b in d]
    trunks = np.unique([1000 * i + s for _, _, (i, s) in rows], return_inverse=True)[1]
    return np.array([(a, b) for a, b, _ in rows]), trunks


def noisy(inputs, trunks, own, shared, seed):
    random = np.random.default_rng(seed)
    deviation = random.normal(0, own, len(trunks)) + random.normal(0, shared, trunks.max() + 1)[trunks]
    return SURFACE.value(THETA, *inputs.T) * np.exp(deviation)


def test_trunks_of_one_run_each_are_no_trunks():
    inputs, trunks = ladder()
    loss = noisy(inputs, trunks, 0.005, 0.0, 0)
    alone = fit_surface(SURFACE, inputs, loss, starts=START, trunks=range(20), bootstrap=60)
    without = fit_surface(SURFACE, inputs, loss, starts=START, bootstrap=60)
    assert alone.trunks is None
    assert alone.intervals == without.intervals
    with pytest.raises(FitError, match="for 20 runs"):
        fit_surface(SURFACE, inputs, loss, trunks=["a", "b"])


def test_a_shared_deviation_moves_no_parameter_and_widens_the_intervals_along_n():
    inputs, trunks = ladder()
    loss = noisy(inputs, trunks, 0.002, 0.01, 1)
    told = fit_surface(SURFACE, inputs, loss, starts=START, trunks=trunks, bootstrap=200)
    untold = fit_surface(SURFACE, inputs, loss, starts=START, bootstrap=200)
    assert told.values == untold.values
    assert told.draws.method == "noise of trunks"
    width = [np.diff(fit.intervals["alpha"])[0] for fit in (told, untold)]
    assert width[0] > 1.5 * width[1]


def test_many_trunks_are_resampled_whole():
    inputs, trunks = ladder(sizes=5, horizons=3, seeds=21)
    loss = noisy(inputs, trunks, 0.002, 0.01, 2)
    fit = fit_surface(SURFACE, inputs, loss, starts=START, trunks=trunks, bootstrap=30)
    assert trunks.max() + 1 >= 100
    assert fit.draws.method == "trunks"


def test_variances_are_found_where_there_are_many_groups_and_left_open_where_there_are_few():
    random = np.random.default_rng(3)
    for groups, share in ((200, 0.6), (5, 30.0)):
        trunks = np.repeat(np.arange(groups), 4)
        residual = random.normal(0, 0.01, groups * 4) + random.normal(0, 0.02, groups)[trunks]
        found = components(np.ones((1, len(trunks))), residual, [trunks], 4000, random)
        low, high = np.percentile(found.shared_draws[:, 0], [2.5, 97.5])
        assert low < 0.02**2 < high
        assert (high - low) / 0.02**2 < share
        if groups == 200:
            assert found.own == pytest.approx(0.01**2, rel=0.15)
            assert found.shared[0] == pytest.approx(0.02**2, rel=0.35)
        else:
            assert high > 0.02**2 * 3


def test_seeds_and_trunks_stand_beside_each_other():
    inputs, trunks = ladder(seeds=3)
    loss = noisy(inputs, trunks, 0.003, 0.01, 4)
    groups = np.unique(inputs, axis=0, return_inverse=True)[1]
    fit = fit_surface(SURFACE, inputs, loss, starts=START, groups=groups, trunks=trunks, bootstrap=60)
    assert fit.draws.method == "noise of trunks and configurations"
    assert np.isfinite(list(fit.intervals.values())).all()


@pytest.mark.slow
def test_intervals_of_runs_of_one_trunk_cover_the_truth_and_without_it_they_do_not():
    inputs, trunks = ladder()
    expected = START[0]
    covered, blind = np.zeros(5), np.zeros(5)
    for seed in range(200):
        loss = noisy(inputs, trunks, 0.003, 0.004, seed)
        for names, count in ((trunks, covered), (None, blind)):
            fit = fit_surface(SURFACE, inputs, loss, starts=START, trunks=names, bootstrap=200, seed=seed)
            low, high = fit.interval(lambda phi: phi)
            count += (low <= expected) & (expected <= high)
    assert (covered / 200).min() > 0.915, covered / 200
    assert (blind / 200).min() < 0.85, blind / 200
