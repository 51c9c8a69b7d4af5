"""Refits under other choices: none is computed twice."""

from dataclasses import replace

from chemscale.laws.checks import sensitivity as module
from chemscale.laws.checks.sensitivity import sensitivity
from chemscale.laws.joint.fit import fit_surface
from chemscale.laws.joint.surfaces import Additive
from tests.helpers.laws import sweep


def test_the_row_of_all_runs_is_that_of_the_fits_own_delta_where_the_table_has_it(monkeypatch):
    fit = fit_surface(Additive(), *sweep(), starts=Additive().starts()[::40], bootstrap=30)
    refits = []
    monkeypatch.setattr(
        module, "fit_surface", lambda *a, **k: refits.append(k["delta"]) or fit_surface(*a, **k)
    )
    settings = {"left_out": (0, 1), "bootstrap": 20, "starts": 10}
    at_delta, all_runs, without = sensitivity(fit, deltas=(fit.delta,), **settings)
    assert all_runs == replace(at_delta, label="all runs")
    assert without.left_out
    assert len(refits) == 2
    alone, _ = sensitivity(fit, deltas=(), **settings)
    assert alone.label == "all runs"
    assert alone.values == at_delta.values
    assert alone.intervals == at_delta.intervals
