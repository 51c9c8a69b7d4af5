"""Runs far off a joint law are found by refits that begin where the law ended."""

import numpy as np
import pytest

from chemscale.laws.checks import outliers
from chemscale.laws.joint import search
from chemscale.laws.joint.fit import fit_surface
from chemscale.laws.joint.huber import fit_huber
from chemscale.laws.joint.surfaces import Additive
from tests.helpers.laws import sweep

STARTS = Additive().starts()[::8]


@pytest.fixture(scope="module")
def spoilt():
    """A law of runs two of which diverged, and their places."""
    inputs, loss = sweep(sizes=7)
    wrong = [3, 17]
    loss[wrong] *= [1.4, 1.9]
    return fit_surface(Additive(), inputs, loss, starts=STARTS, bootstrap=100), wrong


def test_runs_that_diverged_are_found_and_the_law_without_them_is_that_of_a_whole_search(spoilt):
    fit, wrong = spoilt
    found, without = outliers.surface_outliers(fit)
    assert sorted(each.place for each in found) == wrong
    keep = ~np.isin(np.arange(len(fit.loss)), wrong)
    whole = fit_surface(Additive(), fit.inputs[keep], fit.loss[keep], starts=STARTS, bootstrap=1)
    assert without.theta == pytest.approx(whole.theta, rel=1e-6)


def test_the_refits_of_the_search_descend_from_few_starts(spoilt, monkeypatch):
    starts = []
    monkeypatch.setattr(search, "fit_huber", lambda *a, **k: starts.append(len(a[1])) or fit_huber(*a, **k))
    outliers.surface_outliers(spoilt[0])
    assert starts
    assert max(starts) <= 50
