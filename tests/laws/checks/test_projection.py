"""Variable projection: the same optimum by another way, and its status in words."""

import numpy as np
import pytest

from chemscale.laws import FitError
from chemscale.laws.checks.projection import CrossCheck, Projection, cross_check, project
from chemscale.laws.joint.fit import fit_surface
from chemscale.laws.joint.surfaces import Additive, Kaplan, Tied
from tests.helpers.laws import TRUTH, grid, sweep


@pytest.mark.parametrize("delta", [1e-3, float("inf")])
@pytest.mark.parametrize("residual", ["log", "loss"])
def test_a_surface_without_noise_is_recovered_to_1e_6(delta, residual):
    inputs = grid()
    loss = Additive().value(np.array(TRUTH["additive"]), *inputs.T)
    found = project(inputs, loss, delta=delta, residual=residual)
    np.testing.assert_allclose(list(found.values.values()), TRUTH["additive"], rtol=1e-6)
    assert found.status == "CONVERGED"


def test_one_exponent_for_both_is_recovered():
    inputs = grid()
    loss = Tied().value(np.array(TRUTH["tied"]), *inputs.T)
    found = project(inputs, loss, tied=True)
    np.testing.assert_allclose(list(found.values.values()), TRUTH["tied"], rtol=1e-6)
    assert list(found.values) == ["E", "A", "B", "eta"]


@pytest.mark.parametrize("delta", [1e-3, float("inf")])
@pytest.mark.parametrize("surface", [Additive(), Tied()], ids=lambda s: s.name)
def test_it_agrees_with_the_descent_on_noisy_runs(surface, delta):
    fit = fit_surface(
        surface, *sweep(surface, sizes=6), delta=delta, starts=surface.starts()[::31], bootstrap=20
    )
    check = cross_check(fit)
    assert check.agrees
    assert check.words.startswith("Variable projection agrees")
    for name, value in check.projection.values.items():
        assert value == pytest.approx(fit.values[name], rel=1e-2)


def test_the_gradient_is_the_envelopes():
    from chemscale.laws.checks.projection import _Problem

    inputs, loss = sweep()
    for delta, logs in ((1e-3, True), (np.inf, True), (np.inf, False)):
        problem = _Problem(np.log(inputs), loss, delta, False, logs)
        point = np.log([0.3, 0.35])
        slope = problem.solve(point)[1]
        for k in range(2):
            step = np.eye(2)[k] * 1e-4
            numerical = (problem.solve(point + step)[0] - problem.solve(point - step)[0]) / 2e-4
            assert slope[k] == pytest.approx(numerical, rel=2e-2)


def test_a_coefficient_of_zero_is_a_bound_that_was_hit():
    inputs = grid()
    loss = 3.0 + 400 * inputs[:, 0] ** -0.3 + 1e-4 * np.log(inputs[:, 1])  # data make it no better
    found = project(inputs, loss)
    assert found.status == "BOUND_HIT"
    assert "B = 0" in found.detail


def test_an_exponent_outside_its_range_is_a_bound_that_was_hit():
    inputs = grid()
    loss = Additive().value(np.array(TRUTH["additive"]), *inputs.T)
    found = project(inputs, loss, bounds=(0.01, 0.2))
    assert found.status == "BOUND_HIT"
    assert "exponent" in found.detail


def test_a_better_optimum_than_the_fits_is_said():
    found = Projection("additive", {}, 1.0, "CONVERGED", "", 1)
    assert not CrossCheck(found, 1.1).agrees
    assert "better optimum" in CrossCheck(found, 1.1).words
    assert CrossCheck(found, 0.9).agrees
    assert "ended above" in CrossCheck(found, 0.9).words


def test_forms_that_are_not_linear_inside_have_no_check():
    fit = fit_surface(Kaplan(), *sweep(Kaplan()), starts=Kaplan().starts()[::31], bootstrap=10)
    assert cross_check(fit) is None


def test_what_cannot_be_projected_is_refused_in_words():
    inputs, loss = sweep()
    with pytest.raises(FitError, match="choose log or loss"):
        project(inputs, loss, residual="square")
    with pytest.raises(FitError, match="3 runs cannot tell 5"):
        project(inputs[:3], loss[:3])
    with pytest.raises(FitError, match="positive and finite"):
        project(inputs, -loss)
