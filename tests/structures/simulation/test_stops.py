"""A simulation that went wrong ends at that step, says why, and keeps what came before."""

import numpy as np
import pytest

from chemscale.structures.simulation.folder import LOG, read_log
from chemscale.structures.simulation.run import simulate
from chemscale.structures.simulation.settings import Simulation, SimulationError
from chemscale.structures.simulation.stops import Bonds
from tests.helpers.dynamics import Spoiled, copper, emt, methanol, springs


def run(what, out, **settings):
    calculator = Spoiled(springs(), 30, what)
    return simulate(calculator, methanol(), out, Simulation("nve", 400, every=5, **settings), progress=False)


def push(results):
    """Pull the last hydrogen of methanol away, and the oxygen the other way."""
    results["forces"] = results["forces"].copy()
    results["forces"][5] += [30.0, 0, 0]
    results["forces"][1] -= [30.0, 0, 0]


def blind(results):
    results["forces"] = np.full_like(results["forces"], np.nan)


def quarrel(results):
    results["forces_std"] = np.zeros_like(results["forces"])
    results["forces_std"][4] = [0.3, 0.4, 0.0]


def agree(results):
    results["forces_std"] = np.full_like(results["forces"], 0.01)


def test_a_broken_bond_ends_it_by_name(tmp_path):
    found = run(push, tmp_path, stop_temperature=None)
    assert found.ended.startswith("The bond O1-H5 is broken")
    assert 30 < found.step < 400
    assert not found.report.complete
    assert read_log(tmp_path / LOG)["step"][-1] == found.step
    assert found.ended in (tmp_path / "report.html").read_text()
    again = run(push, tmp_path, stop_temperature=None)
    assert (again.step, again.ended) == (found.step, found.ended)


def test_the_same_motion_goes_on_where_bonds_may_break(tmp_path):
    found = run(push, tmp_path, stop_temperature=None, stop_bond=None)
    assert (found.step, found.ended) == (400, "")


def test_heat_ends_it(tmp_path):
    found = run(push, tmp_path, stop_bond=None)
    assert "above 10 times the 300 K" in found.ended


def test_forces_that_are_not_finite_end_it_at_once(tmp_path):
    found = run(blind, tmp_path)
    assert "not finite" in found.ended
    assert found.step == 30
    assert np.isfinite(found.report.temperature.value)


def test_a_committee_at_odds_ends_it_and_one_that_agrees_does_not(tmp_path):
    calculator = Spoiled(Spoiled(springs(), 0, agree), 20, quarrel)
    settings = Simulation("nve", 60, every=5, stop_uncertainty=0.45)
    found = simulate(calculator, methanol(), tmp_path / "a", settings, progress=False)
    assert found.ended.startswith("The committee disagrees: forces on H (atom 4)")
    assert "0.50 eV/Å" in found.ended
    found = simulate(Spoiled(springs(), 0, agree), methanol(), tmp_path / "b", settings, progress=False)
    assert (found.step, found.ended) == (60, "")
    assert found.report.uncertainty.value == pytest.approx(0.01 * 3**0.5)


def test_a_limit_on_disagreement_without_a_committee_is_refused(tmp_path):
    settings = Simulation("nve", 60, stop_uncertainty=0.5)
    with pytest.raises(SimulationError, match="needs a committee"):
        simulate(springs(), methanol(), tmp_path / "a", settings, progress=False)
    assert not (tmp_path / "a").exists()


def test_bonds_of_a_crystal_reach_over_its_faces_and_count_once():
    bonds = Bonds.of(copper(2))
    assert len(bonds.pairs) == 32 * 12 / 2
    assert bonds.lengths == pytest.approx(3.61 / 2**0.5)
    one = copper(1)[[0]]
    one.set_cell([[0, 1.805, 1.805], [1.805, 0, 1.805], [1.805, 1.805, 0]])
    assert len(Bonds.of(one).pairs) == 6


def test_a_crystal_that_only_vibrates_breaks_no_bond(tmp_path):
    found = simulate(emt(), copper(), tmp_path, Simulation("nvt", 100, timestep=4.0), progress=False)
    assert found.ended == ""
