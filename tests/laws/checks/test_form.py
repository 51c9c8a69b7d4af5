"""Whether a joint form holds on the runs: what is seen, and how far off the loss may be."""

import json

import numpy as np
import pytest

from chemscale.laws.checks.form import FormCheck, RollOut, check_form
from chemscale.laws.checks.holdout import extrapolation
from chemscale.laws.joint.fit import fit_surface
from chemscale.laws.joint.surfaces import Additive

SURFACE = Additive()
THETA = np.array([0.4, 20.0, 300.0, 0.3, 0.4])
START = SURFACE.internal(THETA[None])


def bent(n, d, turn):
    """The additive law whose exponent of N grows by `turn` above 10⁷."""
    e, a, b, alpha, beta = THETA
    return e + a * n**-alpha * (1 + (n / 1e7) ** 2) ** (-turn / 2) + b * d**-beta


def runs(turn=0.0, noise=0.003, seed=0, seeds=1, sizes=(7, 6), apart=0.0):
    n, d = (
        v.ravel() for v in np.meshgrid(np.geomspace(1e5, 1e8, sizes[0]), np.geomspace(1e6, 1e9, sizes[1]))
    )
    groups = np.tile(np.arange(len(n)), seeds)
    random = np.random.default_rng(seed)
    log = np.log(bent(n, d, turn)) + random.normal(0, apart, len(n))
    loss = np.exp(log[groups] + random.normal(0, noise, len(groups)))
    return np.stack([n, d], 1)[groups], loss, groups if seeds > 1 else None


def checked(*args, **kwargs):
    inputs, loss, groups = runs(*args, **kwargs)
    fit = fit_surface(SURFACE, inputs, loss, starts=START, groups=groups, bootstrap=50)
    held = [
        extrapolation(SURFACE, inputs, loss, hold=h, starts=START, groups=groups, bootstrap=1)[0]
        for h in (1, 8)
    ]
    return fit, check_form(fit, held)


def test_a_form_that_holds_raises_no_alarm_in_most_sweeps():
    quiet = [checked(seed=seed)[1].holds for seed in range(30)]
    assert sum(quiet) >= 26


@pytest.mark.parametrize("turn", [0.4, -0.3])
def test_a_bend_that_no_form_has_is_seen_and_said(turn):
    for seed in range(5):
        fit, check = checked(turn, seed=seed)
        assert not check.holds
        assert "residuals bend along N" in check.words
        assert "No interval is given beyond the runs" in check.words
        for times in (1, 2, 10):
            n, d = 1e8 * np.sqrt(times), 1e9 * np.sqrt(times)
            error = abs(fit.predict(n, d) / bent(n, d, turn) - 1)
            assert error < 1.5 * check.off(times)


def test_what_drifting_exponents_may_be_worth_is_said_where_the_form_seems_to_hold():
    _, check = checked(seed=1)
    assert check.holds
    assert "Nothing in the runs speaks against the form" in check.words
    alone, wide = zip(*check.bands.values(), strict=True)
    assert all(a < b for a, b in zip(alone, wide, strict=True))
    assert wide[0] < wide[1] < wide[2] < 0.1
    _, noisier = checked(seed=1, noise=0.01)
    assert noisier.bands[10][1] > check.bands[10][1]


def test_configurations_that_scatter_more_than_their_seeds_speak_against_the_form():
    _, check = checked(noise=0.002, apart=0.02, seeds=3, seed=2)
    assert check.seeds < 1e-6
    assert "scatter more than their seeds" in check.words
    _, check = checked(noise=0.01, seeds=3, seed=2)
    assert check.seeds > 0.01


def test_runs_of_one_trunk_are_not_taken_for_a_bend():
    inputs, loss, _ = runs(seed=3)
    trunks = np.unique(inputs[:, 0], return_inverse=True)[1]
    loss *= np.exp(0.01 * np.random.default_rng(4).standard_normal(7))[trunks]
    told = fit_surface(SURFACE, inputs, loss, starts=START, trunks=trunks, bootstrap=50)
    untold = fit_surface(SURFACE, inputs, loss, starts=START, bootstrap=50)
    assert check_form(untold).bends["N"] < 0.01
    assert check_form(told).bends == {}


def test_an_error_grows_beyond_the_factor_at_which_it_was_seen():
    rolled = RollOut(factor=3.0, error=-0.01, worst=0.012, chance=0.001)
    check = FormCheck({}, None, (rolled,), ())
    assert check.off(1) == check.off(3) == 0.012
    assert check.off(9) == pytest.approx(4 * 0.012)
    assert FormCheck({"N": 1e-4}, None, (), ()).off(10) is None
    assert "none could be held out" in FormCheck({"N": 1e-4}, None, (), ()).words


def test_the_check_can_be_written_as_strict_json():
    for turn in (0.0, -0.3):
        json.dumps(checked(turn)[1].to_dict(), allow_nan=False)
