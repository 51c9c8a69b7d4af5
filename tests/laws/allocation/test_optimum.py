"""The best size and amount of data for a budget: three approaches against surfaces of known optimum."""

import numpy as np
import pytest

from chemscale.laws import Additive, FitError, Kaplan, fit_surface
from chemscale.laws.allocation.compute import SIX_ND, PowerCompute, data_for, fit_compute
from chemscale.laws.allocation.envelope import Curve, allocate_envelope
from chemscale.laws.allocation.isoflop import (
    allocate_isoflop,
    bias_of_isoflop,
    group_budgets,
    isoflop_minima,
    weighted_line,
)
from chemscale.laws.allocation.optimum import allocate_surface

SURFACE = Additive()
TRUTH = np.array([1.69, 406.4, 410.7, 0.34, 0.28])
BUDGETS = np.geomspace(1e18, 1e21, 5)


def counted(n, d):
    """A count with a head and attention, as a language model's is: no power of N and D."""
    return d * (6 * n + 3000 * np.sqrt(n))


def optimum(theta, budget):
    """Hoffmann et al. 2022, Eq. 4, for C = 6ND."""
    _, a, b, alpha, beta = theta
    n = (alpha * a / (beta * b)) ** (1 / (alpha + beta)) * (budget / 6) ** (beta / (alpha + beta))
    return n, budget / 6 / n


def fitted(theta=TRUTH, noise=0.0, seed=0, bootstrap=100):
    n, d = (v.ravel() for v in np.meshgrid(np.geomspace(1e6, 1e9, 5), np.geomspace(1e8, 3e10, 5)))
    loss = SURFACE.value(theta, n, d) * np.exp(np.random.default_rng(seed).normal(0, noise, len(n)))
    starts = SURFACE.starts()[::50]
    return fit_surface(SURFACE, np.stack([n, d], 1), loss, starts=starts, bootstrap=bootstrap, seed=seed)


def isoflops(theta=TRUTH, width=4.0, noise=0.0, seed=0, sizes=9, count=SIX_ND):
    """Runs of equal compute around each true optimum."""
    n = np.concatenate([optimum(theta, c)[0] * np.geomspace(1 / width, width, sizes) for c in BUDGETS])
    c = np.repeat(BUDGETS, sizes)
    d = np.concatenate([data_for(count, b, part) for b, part in zip(BUDGETS, np.split(n, 5), strict=True)])
    loss = SURFACE.value(theta, n, d) * np.exp(np.random.default_rng(seed).normal(0, noise, len(n)))
    return n, d, c, loss


def curves(theta=TRUTH, sizes=12, noise=0.0, seed=0):
    random, out = np.random.default_rng(seed), []
    for n in np.geomspace(1e7, 3e9, sizes):
        d = np.geomspace(n, 200 * n, 80)
        loss = SURFACE.value(theta, n, d) * np.exp(random.normal(0, noise))
        out.append(Curve(n, d, 6 * n * d, loss))
    return out


# --- Approach 3 ---


def test_the_surface_gives_the_analytic_exponents_and_optimum():
    allocation = allocate_surface(fitted())
    assert allocation.exponent_n == pytest.approx(0.28 / 0.62, rel=1e-5)
    assert allocation.exponent_d == pytest.approx(0.34 / 0.62, rel=1e-5)
    best = allocation.at(5.76e23)
    n, d = optimum(TRUTH, 5.76e23)
    assert best.n == pytest.approx(n, rel=1e-4)
    assert best.d == pytest.approx(d, rel=1e-4)
    assert best.loss == pytest.approx(float(SURFACE.value(TRUTH, n, d)), rel=1e-6)
    assert allocation.coefficient_n * 5.76e23**allocation.exponent_n == pytest.approx(n, rel=1e-4)


def test_a_count_given_as_a_function_finds_the_same_optimum_as_the_closed_form():
    fit = fitted(noise=0.003)
    closed = allocate_surface(fit)
    numerical = allocate_surface(fit, lambda n, d: 6 * n * d)
    assert numerical.exponent_n == pytest.approx(closed.exponent_n, rel=1e-6)
    assert numerical.intervals["exponent_n"] == pytest.approx(closed.intervals["exponent_n"], rel=1e-4)
    assert numerical.at(1e21).n == pytest.approx(closed.at(1e21).n, rel=1e-6)
    assert numerical.at(1e21).d_interval == pytest.approx(closed.at(1e21).d_interval, rel=1e-4)


@pytest.mark.parametrize("flops", [counted, PowerCompute(20.0, 0.9, 1.05)], ids=["function", "power"])
def test_no_other_size_of_the_same_counted_compute_has_a_lower_loss(flops):
    allocation = allocate_surface(fitted(), flops)
    best = allocation.at(1e18)
    assert flops(best.n, best.d) == pytest.approx(1e18, rel=1e-6)
    others = best.n * np.array([0.5, 0.9, 0.99, 1.01, 1.1, 2.0])
    assert (SURFACE.value(TRUTH, others, data_for(flops, 1e18, others)) > best.loss).all()


def test_a_count_that_is_no_power_notes_where_its_exponents_hold():
    near, far = (allocate_surface(fitted(), counted, at=c) for c in (1e14, 1e26))
    assert any("local slopes at C = 1e+14" in note for note in near.notes)
    assert far.exponent_n == pytest.approx(0.28 / 0.62, abs=1e-3)
    assert abs(near.exponent_n - 0.28 / 0.62) > 0.01


def test_counted_flops_become_a_power_of_size_and_data_with_the_misfit():
    n, d = np.geomspace(1e5, 1e8, 6), np.array([1e8, 1e9, 2e8, 1e9, 5e8, 1e10])
    exact = fit_compute(n, d, 7.0 * n**0.9 * d)
    assert (exact.k, exact.p, exact.q) == pytest.approx((7.0, 0.9, 1.0), rel=1e-8)
    rough = fit_compute(n, d, counted(n, d))
    assert 0.8 < rough.p < 1
    assert rough.misfit == pytest.approx(np.max(np.abs(rough(n, d) / counted(n, d) - 1)))
    with pytest.raises(FitError, match="grow together"):
        fit_compute(n, 20 * n, 120 * n * n)


def test_laws_without_an_optimum_are_refused_in_words():
    falling = fitted(np.array([1.5, 0.1, 410.7, -0.01, 0.28]))
    with pytest.raises(FitError, match="no optimum"):
        allocate_surface(falling)
    n, d = fitted().inputs.T
    loss = Kaplan().value(np.array([8.8e13, 5.4e13, 0.076, 0.095]), n, d)
    other = fit_surface(Kaplan(), fitted().inputs, loss, starts=Kaplan().starts()[::50], bootstrap=5)
    with pytest.raises(FitError, match="form additive"):
        allocate_surface(other)
    with pytest.raises(FitError, match="positive"):
        allocate_surface(fitted()).at(-1)


# --- Approach 2 ---


def test_isoflop_minima_give_nearly_the_exponent():
    allocation = allocate_isoflop(*isoflops(noise=1e-9))
    assert allocation.exponent_n == pytest.approx(0.28 / 0.62, abs=0.003)
    assert allocation.exponent_d == pytest.approx(0.34 / 0.62, abs=0.003)
    best = allocation.at(BUDGETS[-1])
    assert 6 * best.n * best.d == pytest.approx(BUDGETS[-1], rel=0.02)
    assert any("×4" in note for note in allocation.notes)
    assert any("biased where α ≠ β" in note for note in allocation.notes)


@pytest.mark.parametrize(
    ("alpha", "beta", "percent"),
    [(0.34, 0.28, 5.8), (0.18, 0.35, -14.7), (0.35, 0.18, 17.3), (0.3, 0.3, 0.0)],
)
def test_the_bias_of_parabolas_on_wide_grids_is_measured(alpha, beta, percent):
    theta = np.array([1.69, 406.4, 410.7, alpha, beta])
    wide = bias_of_isoflop(SURFACE, theta, BUDGETS, 16.0)
    assert 100 * wide == pytest.approx(percent, abs=0.1)
    assert abs(bias_of_isoflop(SURFACE, theta, BUDGETS, 2.0)) <= abs(wide) / 10 + 1e-9
    assert abs(bias_of_isoflop(SURFACE, theta, BUDGETS, 16.0, method="akima")) <= abs(wide) / 3 + 1e-9


def test_budgets_are_found_by_their_flops_and_sizes_that_miss_the_minimum_are_left_out():
    assert group_budgets(np.array([1e18, 3e18, 1.05e18, 2.9e18])).tolist() == [0, 1, 0, 1]
    n, d, c, loss = isoflops()
    beside = (c == BUDGETS[0]) & (n < optimum(TRUTH, BUDGETS[0])[0] * 0.9)
    keep = (c > BUDGETS[0]) | beside
    allocation = allocate_isoflop(n[keep], d[keep], c[keep], loss[keep])
    assert any("no minimum inside" in note for note in allocation.notes)
    few = c <= BUDGETS[1]
    with pytest.raises(FitError, match="at least 3 different"):
        allocate_isoflop(n[few], d[few], c[few], loss[few])


def test_an_uncertain_minimum_weighs_little():
    x = np.geomspace(1, 1e4, 5)
    y = x**0.5 * np.array([1, 1, 1, 1, 10.0])
    assert weighted_line(x, y, np.array([0.1, 0.1, 0.1, 0.1, 50])).slope == pytest.approx(0.5, abs=1e-4)
    assert weighted_line(x, y, np.full(5, 0.1)).slope > 0.6
    assert weighted_line(x, y, np.array([0.1, 0.1, 0.1, 0.1, np.nan])).freedom == 2


def test_intervals_of_isoflops_cover_the_truth():
    """α = β, where the parabola has no bias."""
    theta = np.array([1.69, 406.4, 410.7, 0.3, 0.3])
    inside = []
    for seed in range(200):
        minima = isoflop_minima(*isoflops(theta, 4.0, noise=0.003, seed=seed), draws=200, seed=seed)
        line = weighted_line(minima.flops, minima.n, minima.n_std)
        (a_low, a_high), (_, (low, high)) = line.slope_interval, line.at(1e22)
        inside.append((a_low < 0.5 < a_high, low < optimum(theta, 1e22)[0] < high))
    assert (np.mean(inside, 0) >= 0.92).all()
    assert np.mean(inside) < 1


# --- Approach 1 ---


def test_the_envelope_of_curves_gives_about_the_exponent():
    allocation = allocate_envelope(curves(), bootstrap=200)
    assert allocation.exponent_n == pytest.approx(0.28 / 0.62, abs=0.05)
    low, high = allocation.intervals["exponent_n"]
    assert low < 0.28 / 0.62 < high
    best = allocation.at(1e20)
    n, d = optimum(TRUTH, 1e20)
    assert best.n == pytest.approx(n, rel=0.25)
    assert best.d == pytest.approx(d, rel=0.25)
    assert best.loss == pytest.approx(float(SURFACE.value(TRUTH, n, d)), rel=0.01)


def test_curves_that_cannot_tell_are_refused_in_words():
    with pytest.raises(FitError, match="4 sizes, at least 5"):
        allocate_envelope(curves(sizes=4))
    apart = [Curve(c.n, c.d, c.flops * 1e6**k, c.loss) for k, c in enumerate(curves(sizes=5))]
    with pytest.raises(FitError, match="overlap"):
        allocate_envelope(apart)
    backwards = curves()
    backwards[0].flops[3] = backwards[0].flops[2]
    with pytest.raises(FitError, match="must grow"):
        allocate_envelope(backwards)


# --- together ---


def test_the_approaches_stand_side_by_side_with_counted_flops_and_6nd():
    fit = fitted(noise=0.002)
    allocations = [
        allocate_envelope(curves(noise=0.002), bootstrap=100),
        allocate_isoflop(*isoflops(noise=0.002)),
        allocate_surface(fit),
        allocate_surface(fit, counted),
    ]
    assert [each.approach[0] for each in allocations] == ["1", "2", "3", "3"]
    assert [each.compute for each in allocations] == ["counted", "counted", "C = 6ND", "counted"]
    for each in allocations:
        best = each.at(1e20)
        assert best.n_interval[0] <= best.n <= best.n_interval[1]
        assert each.intervals["exponent_n"][0] <= each.exponent_n <= each.intervals["exponent_n"][1]


@pytest.mark.slow
def test_intervals_of_the_surface_cover_the_truth():
    inside = []
    for seed in range(100):
        allocation = allocate_surface(fitted(noise=0.003, seed=seed, bootstrap=300))
        a, best = allocation.intervals["exponent_n"], allocation.at(1e22)
        n, _ = optimum(TRUTH, 1e22)
        exact = float(SURFACE.value(TRUTH, n, 1e22 / 6 / n))
        inside.append(
            (
                a[0] < 0.28 / 0.62 < a[1],
                best.n_interval[0] < n < best.n_interval[1],
                best.loss_interval[0] < exact < best.loss_interval[1],
            )
        )
    assert (np.mean(inside, 0) >= 0.9).all()
