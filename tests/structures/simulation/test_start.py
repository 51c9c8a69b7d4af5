"""What cannot be simulated is refused before anything is computed or written."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.constraints import FixAtoms
from ase.io import write

from chemscale.models.painn import PaiNNConfig
from chemscale.models.potential import UnknownElementError
from chemscale.models.potentials import build, save_potential
from chemscale.structures.blocks import SourceError
from chemscale.structures.simulation.run import simulate
from chemscale.structures.simulation.settings import Simulation, SimulationError, from_text
from chemscale.structures.simulation.start import check_start
from tests.helpers.dynamics import Spoiled, copper, emt, methanol

NVT = Simulation("nvt", 10)


def refused(atoms, tmp_path, settings=NVT, error=SimulationError):
    """The message of a refusal, which computed and wrote nothing."""
    calculator = Spoiled(emt(), 10**9)
    with pytest.raises(error) as caught:
        simulate(calculator, atoms, tmp_path / "out", settings, progress=False)
    assert not calculator.calls
    assert not (tmp_path / "out").exists()
    return str(caught.value)


def test_atoms_on_top_of_each_other_are_named(tmp_path):
    atoms = methanol()
    atoms.positions[4] = atoms.positions[3] + [0, 0, 0.1]
    assert "H (atom 3) and H (atom 4) are 0.100 Å apart" in refused(atoms, tmp_path)


def test_atoms_on_top_of_an_image_are_named(tmp_path):
    atoms = Atoms("Cu2", [[0, 0, 0.1], [0, 0, 3.9]], cell=[4, 4, 4], pbc=True)
    assert "Cu (atom 0) and Cu (atom 1) are 0.200 Å apart" in refused(atoms, tmp_path)


def test_a_timestep_that_is_too_long_for_the_lightest_atom_is_refused(tmp_path):
    long = Simulation("nvt", 10, timestep=1.5)
    assert "too long for H" in refused(methanol(), tmp_path, long)
    heavy = methanol()
    heavy.set_masses([12, 16, 3, 3, 3, 3])
    check_start(heavy, long, 0.0, "tritiated")
    check_start(copper(), Simulation("nvt", 10, timestep=5.0), 0.0, "copper")
    assert "too long for Cu" in refused(copper(), tmp_path, Simulation("nvt", 10, timestep=6.0))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: a.positions.__setitem__((0, 0), np.nan), "finite"),
        (lambda a: a.info.update(charge=0.5), "charge"),
        (lambda a: a.info.update(charge="many"), "charge"),
    ],
)
def test_positions_and_charges_that_are_none_are_refused(change, words, tmp_path):
    atoms = methanol()
    change(atoms)
    assert words in refused(atoms, tmp_path, error=SourceError)


def test_a_lone_atom_constraints_and_missing_momenta_are_refused(tmp_path):
    assert "1 atom" in refused(Atoms("Cu"), tmp_path)
    atoms = copper()
    atoms.set_constraint(FixAtoms([0]))
    assert "FixAtoms" in refused(atoms, tmp_path)
    kept = Simulation("nvt", 10, keep_velocities=True)
    assert "no momenta" in refused(methanol(), tmp_path, kept)


def test_constant_pressure_wants_a_cell_that_is_thicker_than_the_cutoff(tmp_path):
    npt = Simulation("npt", 10)
    assert "not periodic" in refused(methanol(), tmp_path, npt)
    slab = copper()
    slab.pbc = [True, True, False]
    assert "not periodic" in refused(slab, tmp_path, npt)
    with pytest.raises(SimulationError, match=r"2\.08 Å thin, less than the cutoff of 5"):
        check_start(bulk("Cu").repeat(1) + Atoms("Cu", [[1.8, 0.9, 0.9]]), npt, 5.0, "copper")
    check_start(copper(), npt, 5.0, "copper")


def test_an_element_that_the_potential_does_not_know_is_refused(tmp_path):
    save_potential(build(PaiNNConfig(width=8, layers=1), (1, 8)), tmp_path / "model")
    write(tmp_path / "ethanol.xyz", molecule("CH3CH2OH"))
    with pytest.raises(UnknownElementError, match=r"\[6\]"):
        simulate(tmp_path / "model", tmp_path / "ethanol.xyz", tmp_path / "out", NVT, progress=False)
    assert not (tmp_path / "out").exists()


def test_a_start_that_is_not_there_or_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        simulate(emt(), tmp_path / "none.xyz", tmp_path / "out", NVT, progress=False)
    (tmp_path / "bad.xyz").write_text("not a structure\n")
    with pytest.raises(SimulationError, match="cannot read"):
        simulate(emt(), tmp_path / "bad.xyz", tmp_path / "out", NVT, progress=False)


def text(**changed):
    given = {
        "ensemble": "nvt",
        "time": "1ps",
        "steps": None,
        "timestep": "0.5fs",
        "times": {},
        "equilibrate": None,
    }
    return from_text(**(given | changed))


def test_times_are_read_with_their_units():
    assert text().steps == 2000
    assert text(time="0.001 ns", times={"thermostat_time": "0.1ps"}) == text(
        times={"thermostat_time": "100fs"}
    )
    assert text(equilibrate="10 fs").equilibrate == 20


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"time": "100"}, "unit"),
        ({"time": "-1ps"}, "unit"),
        ({"time": "1 parsec"}, "unit"),
        ({"time": "1.2fs"}, "whole number of steps"),
        ({"time": None}, "one of --time"),
        ({"steps": 5}, "one of --time"),
        ({"ensemble": "nvp"}, "nve, nvt or npt"),
        ({"thermostat": "oven"}, "bussi or langevin"),
        ({"thermostat": "langevin", "ensemble": "npt"}, "goes with"),
        ({"temperature": 0.0}, "above 0"),
        ({"temperature": float("nan")}, "above 0"),
        ({"stop_bond": 0.9}, "above 1"),
        ({"stop_uncertainty": -1.0}, "above 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(changed, words):
    with pytest.raises(SimulationError, match=words):
        text(**changed)
