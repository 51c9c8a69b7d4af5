"""Warm refits, tables of many runs and batches of descents end where every start on every run would."""

import numpy as np
import pytest

from chemscale.laws.joint import huber
from chemscale.laws.joint.fit import fit_surface, warm_starts
from chemscale.laws.joint.huber import fit_huber
from chemscale.laws.joint.search import MANY, SOME, descend_warm, some_of
from chemscale.laws.joint.surfaces import Additive, Kaplan, Tied
from tests.helpers.laws import TRUTH, sweep

SURFACE = Additive()


def centred(surface, inputs):
    z = np.log(inputs)
    centre = surface.centre(z)
    return z - centre, surface.recentre(surface.starts(), -centre)


@pytest.mark.parametrize("surface", [Additive(), Kaplan(), Tied()], ids=lambda s: s.name)
def test_a_descent_does_not_depend_on_which_others_share_its_batch(surface, monkeypatch):
    inputs, loss = sweep()
    z, starts = centred(surface, inputs)
    starts = starts[::29]
    together = fit_huber(surface, starts, z, np.log(loss))
    monkeypatch.setattr(huber, "NUMBERS_AT_ONCE", 7 * z.shape[0] * starts.shape[1])
    apart = fit_huber(surface, starts, z, np.log(loss))
    np.testing.assert_array_equal(together.phi, apart.phi)
    np.testing.assert_array_equal(together.objective, apart.objective)
    np.testing.assert_array_equal(together.converged, apart.converged)


def test_a_singular_step_is_solved_alone():
    random = np.random.default_rng(0)
    matrices = random.standard_normal((5, 3, 3))
    vectors = random.standard_normal((5, 3, 1))
    matrices[2] = 0.0
    solved = huber._solve(matrices, vectors)
    for place in (0, 1, 3, 4):
        np.testing.assert_array_equal(solved[place], np.linalg.solve(matrices[place], vectors[place]))
    np.testing.assert_array_equal(solved[2], np.zeros((3, 1)))


@pytest.mark.parametrize("delta", [1e-4, 1e-3, float("inf")])
@pytest.mark.parametrize("seed", range(3))
def test_a_warm_refit_is_the_one_from_the_grid(seed, delta):
    inputs, loss = sweep(noise=0.01, seed=seed)
    grid = SURFACE.starts()[np.random.default_rng(1).permutation(4500)[:400]]
    law = fit_surface(SURFACE, inputs, loss, starts=grid, bootstrap=20)
    fewer = inputs[:-3], loss[:-3]
    options = {"starts": grid, "delta": delta, "bootstrap": 2}
    warm = fit_surface(SURFACE, *fewer, warm=warm_starts(law), **options)
    cold = fit_surface(SURFACE, *fewer, **options)
    assert warm.objective <= cold.objective * (1 + 1e-6)
    assert warm.starts <= cold.starts + 5
    np.testing.assert_allclose(warm.values["alpha"], cold.values["alpha"], rtol=1e-3)


def test_a_refit_that_began_in_a_worse_optimum_takes_the_whole_grid():
    inputs, loss = sweep()
    grid = SURFACE.starts()[::7]
    nowhere = np.array([[25.0, 25.0, 1.0, 2.0, 2.0]])
    refit = fit_surface(SURFACE, inputs, loss, starts=grid, warm=nowhere, bootstrap=2)
    cold = fit_surface(SURFACE, inputs, loss, starts=grid, bootstrap=2)
    assert refit.starts == len(grid) + 1
    assert refit.objective == pytest.approx(cold.objective, rel=1e-9)


def test_a_refit_that_no_start_of_the_grid_confirms_takes_the_whole_grid(monkeypatch):
    taken = []

    def alone(sample, starts):
        taken.append(len(starts))
        objective = np.full(len(starts), 2.0)
        objective[0] = 1.0
        return huber.Descents(starts, objective, np.ones(len(starts), bool))

    monkeypatch.setattr("chemscale.laws.joint.search.descend", alone)
    descend_warm(None, np.zeros((1, 5)), SURFACE.starts())
    assert taken == [41, 4501]


def test_many_runs_have_the_optimum_of_every_start_on_all_of_them():
    random = np.random.default_rng(3)
    inputs = np.exp(random.uniform(np.log([1e7, 1e9]), np.log([1e10, 1e12]), (MANY + 200, 2)))
    loss = SURFACE.value(np.array(TRUTH["additive"]), *inputs.T) * np.exp(
        0.01 * random.standard_normal(len(inputs))
    )
    grid = SURFACE.starts()[random.permutation(4500)[:60]]
    fit = fit_surface(SURFACE, inputs, loss, starts=grid, bootstrap=2)
    z, _ = centred(SURFACE, inputs)
    every = fit_huber(
        SURFACE, SURFACE.recentre(grid, -np.log(inputs).mean(0)), z, np.log(loss)
    ).objective  # fmt: skip
    assert fit.objective <= every.min() * (1 + 1e-6)
    assert fit.starts == 60
    assert fit.reached == pytest.approx(np.mean(every <= 1.01 * fit.objective), abs=0.15)
    chosen = some_of(z)
    assert SOME <= len(chosen) <= SOME + 4
    assert set(z.argmax(0)) | set(z.argmin(0)) <= set(chosen)
