"""Calibration against known truth: errors are drawn with the deviations that it has to find."""

from __future__ import annotations

import numpy as np
import pytest

from chemscale.structures.uncertainty.calibration import (
    CalibrationError,
    calibrate,
    expected_inside,
    fit_factor,
    inside,
    rank_correlation,
)
from chemscale.structures.uncertainty.observed import Observed


def drawn(count, factor, seed=0, shape=()):
    """Errors of scale `factor` times the stated deviations, which span two decades."""
    random = np.random.default_rng(seed)
    deviations = 10.0 ** random.uniform(-3, -1, (count, *shape))
    return factor * deviations * random.normal(size=deviations.shape), deviations


def committee(members, count, noise=2.0, seed=0):
    """Mean errors and sample deviations of committees whose members err as the truth does, `noise` times."""
    random = np.random.default_rng(seed)
    scale = 10.0 ** random.uniform(-3, -1, count)
    votes = scale[:, None] * random.normal(size=(count, members))
    truth = noise * scale * random.normal(size=count)
    return votes.mean(1) - truth, votes.std(1, ddof=1)


@pytest.mark.parametrize("factor", [0.2, 1.0, 7.0])
def test_the_factor_and_the_fractions_of_gaussian_errors_are_found(factor):
    errors, deviations = drawn(40_000, factor)
    found = calibrate(errors, deviations, np.arange(40_000) < 20_000)
    assert found.factor == pytest.approx(factor, rel=0.02)
    assert found.inside == pytest.approx((0.6827, 0.9545), abs=0.01)
    assert found.nominal == pytest.approx((0.6827, 0.9545), abs=1e-4)
    stated = tuple(expected_inside(k / factor) for k in (1, 2))
    assert found.inside_stated == pytest.approx(stated, abs=0.015)
    assert (found.fitted_on, found.tested_on) == (20_000, 20_000)
    assert found.correlation > 0.5


@pytest.mark.parametrize("members", [2, 3, 5])
def test_a_committee_of_few_is_calibrated_by_students_t(members):
    """The factor is √(1/M + noise²): a Gaussian fit would be far above it for two or three members."""
    errors, deviations = committee(members, 40_000)
    fitted = np.arange(40_000) < 20_000
    found = calibrate(errors, deviations, fitted, freedom=members - 1)
    true = (1 / members + 2.0**2) ** 0.5
    assert found.factor == pytest.approx(true, rel=0.03)
    assert found.inside == pytest.approx(found.nominal, abs=0.012)
    gaussian = calibrate(errors, deviations, fitted)
    if members < 5:
        assert gaussian.factor > 1.5 * true


def test_nominal_fractions_are_those_of_t_and_of_the_normal():
    assert expected_inside(1.0, 1) == pytest.approx(0.5)  # Cauchy
    assert expected_inside(1.0, 4) == pytest.approx(0.6261, abs=1e-4)
    assert expected_inside(2.0) == pytest.approx(0.9545, abs=1e-4)


def test_the_part_that_is_fitted_to_is_not_counted_on():
    errors, deviations = drawn(2000, 1.0)
    errors[1000:] *= 10
    found = calibrate(errors, deviations, np.arange(2000) < 1000)
    assert found.factor == pytest.approx(1, rel=0.1)
    assert found.inside[0] < 0.15


def test_missing_labels_and_lone_atoms_weigh_nothing():
    errors, deviations = drawn(4000, 3.0)
    expected = fit_factor(errors[:3000], deviations[:3000])
    errors[3000:3500] = np.nan
    errors[3500:], deviations[3500:] = 0, 0
    assert fit_factor(errors, deviations) == pytest.approx(expected)
    assert inside(errors, deviations)[0] == pytest.approx(inside(errors[:3000], deviations[:3000])[0])


@pytest.mark.parametrize(
    ("errors", "deviations", "why"),
    [
        ([np.nan, np.nan], [1.0, 1.0], "No frame has a label"),
        ([1.0, 1.0], [0.0, 0.0], "are the same"),
        ([1.0, 1.0], [np.nan, 1.0], "no number"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(errors, deviations, why):
    with pytest.raises(CalibrationError, match=why):
        fit_factor(np.array(errors), np.array(deviations))


def test_a_calibration_needs_labels_in_both_parts():
    errors, deviations = drawn(10, 1.0)
    with pytest.raises(CalibrationError, match="0 to test it on"):
        calibrate(errors, deviations, np.ones(10, bool))


def test_components_of_a_frame_stay_in_one_part():
    """Frames of the first half have small errors: were components dealt out, the factor would show both."""
    found = Observed()
    errors, deviations = drawn(400, 1.0, shape=(5, 3))
    for n in range(400):
        scale = 1.0 if n < 200 else 5.0
        found.add((scale * errors[n, 0, 0], deviations[n, 0, 0]), (scale * errors[n], deviations[n]))
    both = found.calibrations()
    assert both["forces"].factor == pytest.approx(1, rel=0.05)
    assert both["forces"].fitted_on == 200 * 15
    assert both["energy"].inside[0] < 0.35
    line = both["forces"].describe("force component")
    assert "inside 1 and 2 σ of 3,000" in line
    assert "Gaussian 68.3 % and 95.4 %" in line.replace("95.5", "95.4")


def test_rank_correlation_is_of_ranks_and_none_of_a_constant():
    x = np.array([1.0, 2, 3, 4])
    assert rank_correlation(x, np.exp(x)) == pytest.approx(1)
    assert np.isnan(rank_correlation(x, np.ones(4)))
