"""Quantiles and chances are those of scipy.stats, to the bit and at the ends."""

import itertools

import numpy as np
import pytest
import scipy.stats

from chemscale.laws import stats

FREEDOM = np.array([0.5, 1, 2, 3, 7, 40, 236, 9995, 0, -1, np.inf, np.nan])
COUNTED = FREEDOM[~np.isinf(FREEDOM)]
CHANCES = np.array([0, 1e-12, 0.025, 0.05, 0.5, 0.95, 0.975, 1 - 1e-9, 1, np.nan])
VALUES = np.array([-np.inf, -30, -1.5, -0.0, 0, 1e-9, 0.3, 2, 4.7, 250, 1e9, np.inf, np.nan])
GRIDS = {
    ("t", "ppf"): (CHANCES, FREEDOM),
    ("t", "cdf"): (VALUES, FREEDOM),
    ("t", "sf"): (VALUES, FREEDOM),
    ("f", "ppf"): (CHANCES, COUNTED, COUNTED),
    ("f", "sf"): (VALUES, COUNTED, COUNTED),
    ("chi2", "ppf"): (CHANCES, FREEDOM),
    ("norm", "ppf"): (CHANCES,),
    ("norm", "cdf"): (VALUES,),
    ("norm", "sf"): (VALUES,),
}


@pytest.mark.parametrize(("name", "kind"), GRIDS)
def test_every_function_gives_the_bits_that_scipy_stats_gives(name, kind):
    grid = np.array(list(itertools.product(*GRIDS[name, kind]))).T
    ours = getattr(getattr(stats, name), kind)(*grid)
    theirs = getattr(getattr(scipy.stats, name), kind)(*grid)
    same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    assert same.all(), grid.T[~same]
