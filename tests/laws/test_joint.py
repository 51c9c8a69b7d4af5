"""Joint laws of size and data: their gradients, the optimum, and what cannot be fitted."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from chemscale.laws import FitError
from chemscale.laws.descent import descend, huber
from chemscale.laws.joint import fit_surface
from chemscale.laws.surfaces import Additive, Kaplan

SCALING = Path(__file__).resolve().parents[3] / "shared" / "data" / "scaling"
TRUTH = {"additive": [1.69, 406.4, 410.7, 0.34, 0.28], "kaplan": [8.8e13, 5.4e13, 0.076, 0.095]}
SURFACES = [Additive(), Kaplan()]


def grid(sizes: int = 6) -> np.ndarray:
    n, d = np.meshgrid(np.geomspace(1e6, 1e9, sizes), np.geomspace(1e8, 3e10, sizes))
    return np.stack([n.ravel(), d.ravel()], 1)


@pytest.mark.parametrize("surface", SURFACES, ids=lambda s: s.name)
def test_derivatives_are_those_of_the_loss(surface):
    phi = surface.internal(np.array([TRUTH[surface.name]]))
    z = np.log(grid(4))
    jacobian = surface.log_loss(phi, z)[1]
    for k in range(phi.shape[1]):
        step = np.zeros_like(phi)
        step[:, k] = 1e-6
        numerical = (surface.log_loss(phi + step, z)[0] - surface.log_loss(phi - step, z)[0]) / 2e-6
        np.testing.assert_allclose(jacobian[:, k], numerical, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("surface", SURFACES, ids=lambda s: s.name)
def test_reported_and_internal_parameters_are_one_law_wherever_the_origin_lies(surface):
    theta = np.array([TRUTH[surface.name]])
    phi, z, by = surface.internal(theta), np.log(grid(3)), np.array([3.0, -2.0])
    np.testing.assert_allclose(surface.reported(phi), theta, rtol=1e-10)
    moved = surface.log_loss(surface.recentre(phi, by), z + by)[0]
    np.testing.assert_allclose(moved, surface.log_loss(phi, z)[0], rtol=1e-12)


@pytest.mark.parametrize("surface", SURFACES, ids=lambda s: s.name)
def test_a_surface_without_noise_is_recovered(surface):
    inputs, theta = grid(), np.array(TRUTH[surface.name])
    fit = fit_surface(
        surface, inputs, surface.value(theta, *inputs.T), starts=surface.starts()[::50], bootstrap=20
    )
    np.testing.assert_allclose(fit.theta, theta, rtol=1e-5)
    assert fit.objective < 1e-14
    np.testing.assert_allclose(fit.residuals, 0, atol=1e-6)


def test_the_objective_never_rises_from_any_start():
    surface, inputs = Additive(), grid(4)
    y = np.log(surface.value(np.array(TRUTH["additive"]), *inputs.T))
    y = y + np.random.default_rng(0).normal(0, 0.01, y.shape)
    z = np.log(inputs)
    centre = z.mean(0)
    starts = surface.recentre(surface.starts()[::100], -centre)
    before = huber(surface.log_loss(starts, z - centre)[0] - y, 1e-3).sum(1)
    reached = [descend(surface, starts, z - centre, y, steps=k).objective for k in (3, 10, 40)]
    assert (reached[0] <= before).all()
    assert (reached[1] <= reached[0]).all()
    assert (reached[2] <= reached[1]).all()


def test_an_exponent_that_the_runs_do_not_show_has_an_interval_around_zero():
    surface, inputs, random = Additive(), grid(5), np.random.default_rng(0)
    loss = surface.value(np.array([1.5, 0.1, 410.7, 0.01, 0.28]), *inputs.T)
    noisy = loss * np.exp(random.normal(0, 0.01, loss.shape))
    for resample in ("noise", "runs"):
        fit = fit_surface(
            surface, inputs, noisy, starts=surface.starts()[::40], bootstrap=200, resample=resample
        )
        low, high = fit.intervals["alpha"]
        assert low < 0 < high
        low, high = fit.intervals["A"]
        assert 0 <= low < high


def test_what_cannot_be_told_apart_is_refused_in_words():
    surface, inputs = Additive(), grid(5)
    loss = surface.value(np.array(TRUTH["additive"]), *inputs.T)
    n = np.geomspace(1e6, 1e9, 9)
    with pytest.raises(FitError, match="grow together"):
        fit_surface(surface, np.stack([n, 20 * n], 1), loss[:9])
    with pytest.raises(FitError, match="6 runs for 5 parameters, at least 7"):
        fit_surface(surface, inputs[:6], loss[:6])
    with pytest.raises(FitError, match="tokens takes 1 values"):
        fit_surface(surface, np.stack([inputs[:, 0], np.full(25, 1e9)], 1), loss)
    with pytest.raises(FitError, match="positive and finite"):
        fit_surface(surface, -inputs, loss)


@pytest.mark.slow
@pytest.mark.parametrize("delta", [1e-3, float("inf")])
def test_intervals_cover_the_truth_as_often_as_they_say(delta):
    surface, inputs, random = Additive(), grid(5), np.random.default_rng(0)
    truth = np.array(TRUTH["additive"])
    log = np.log(surface.value(truth, *inputs.T))
    start, far = surface.internal(truth[None]), np.array([[1e10, 3e11]])
    expected = np.array([0.34, 0.28, np.log(1.69), np.log(surface.value(truth, *far.T)[0]), 0.28 / 0.62])

    def targets(phi):
        loss = surface.log_loss(phi, np.log(far))[0]
        return np.stack([phi[:, 3], phi[:, 4], phi[:, 2], loss[:, 0], phi[:, 4] / (phi[:, 3] + phi[:, 4])], 1)

    covered = np.zeros(5)
    for repetition in range(400):
        loss = np.exp(log + random.normal(0, 0.01, log.shape))
        fit = fit_surface(surface, inputs, loss, delta=delta, starts=start, bootstrap=400, seed=repetition)
        low, high = fit.interval(targets)
        covered += (low <= expected) & (expected <= high)
    share = covered / 400
    assert share.min() >= 0.93, share
    assert share.max() <= 0.97, share


@pytest.fixture(scope="module")
def chinchilla():
    """The 240 runs of Hoffmann et al. that Besiroglu et al. read from the figure and keep."""
    path = SCALING / "epoch_chinchilla_svg_extracted_data.csv"
    if not path.exists():
        pytest.skip(f"{path} is absent")
    rows = list(csv.DictReader(path.open()))
    n, flops, loss = (np.array([float(r[k]) for r in rows]) for k in ("Model Size", "Training FLOP", "loss"))
    kept = loss < np.sort(loss)[-5]
    return np.stack([n, flops / 6 / n], 1)[kept], loss[kept]


@pytest.mark.published
def test_the_chinchilla_points_have_the_optimum_and_the_intervals_of_their_replication(chinchilla):
    reference = json.loads((SCALING / "scaling_reference_values.json").read_text())["epoch_chinchilla"]
    fit = fit_surface(Additive(), *chinchilla)
    assert fit.objective <= 0.00101827402
    assert fit.reached > 0.3
    for name, value in fit.values.items():
        assert value == pytest.approx(reference["our_optimum_240"][name], rel=1e-3)
        assert fit.intervals[name] == pytest.approx(
            reference["published_bootstrap_4000_95ci"][name], rel=0.05
        )
