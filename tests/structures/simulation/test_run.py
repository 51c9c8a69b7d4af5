"""A simulation goes on where it was interrupted, to the bit, and conserves and holds what it should."""

import json
import shutil

import numpy as np
import pytest
from ase.io import read
from ase.units import kB

from chemscale.structures.simulation.folder import LOG, STATE, TRAJECTORY, read_log
from chemscale.structures.simulation.run import simulate
from chemscale.structures.simulation.settings import Simulation, SimulationError
from tests.helpers.dynamics import Spoiled, copper, emt, methanol, springs

KINDS = {
    "nve": {"ensemble": "nve", "equilibrate": 10},
    "bussi": {"ensemble": "nvt"},
    "langevin": {"ensemble": "nvt", "thermostat": "langevin"},
    "npt": {"ensemble": "npt", "timestep": 2.0, "barostat_time": 200.0},
}


def system(kind):
    """Start and calculator: copper where there is a volume, else methanol."""
    return (copper(), emt()) if kind == "npt" else (methanol(), springs())


def contents(folder):
    with np.load(folder / STATE) as file:
        state = {key: file[key].tobytes() for key in file.files}
    return state, (folder / LOG).read_bytes(), (folder / TRAJECTORY).read_bytes()


class Named(Spoiled):
    """Spoiled, under a name and with parameters that both runs share."""


@pytest.mark.parametrize("kind", KINDS)
def test_an_interrupted_simulation_goes_on_to_the_same_bits(kind, tmp_path):
    settings = Simulation(steps=40, every=4, **KINDS[kind])
    atoms, calculator = system(kind)
    simulate(Named(calculator, 10**9), atoms, tmp_path / "whole", settings, progress=False)
    for after in (5, 27):  # calls of the calculator; with equilibration the first falls into it
        parts = tmp_path / f"parts{after}"
        first = simulate(Named(system(kind)[1], after), atoms, parts, settings, progress=False)
        assert (first.interrupted, first.report) == ("SIGTERM", None)
        assert first.step < 40
        with open(parts / TRAJECTORY, "ab") as file:  # what a killed process leaves behind the saved state
            file.write(b"6\nProperties=species:S:1:pos:R:3\nC 0.1 0.")
        with open(parts / LOG, "a") as file:
            file.write("36,0.01")
        second = simulate(Named(system(kind)[1], 10**9), atoms, parts, settings, progress=False)
        assert (second.step, second.interrupted) == (40, "")
        assert contents(parts) == contents(tmp_path / "whole")


def test_a_longer_simulation_is_the_same_as_one_that_was_lengthened(tmp_path):
    atoms = methanol()
    for steps, out in ((20, "a"), (40, "a"), (40, "b")):
        simulate(springs(), atoms, tmp_path / out, Simulation("nvt", steps, every=4), progress=False)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    with pytest.raises(SimulationError, match="fewer"):
        simulate(springs(), atoms, tmp_path / "a", Simulation("nvt", 20, every=4), progress=False)


def test_another_seed_is_another_simulation_and_takes_no_folder_of_another(tmp_path):
    simulate(springs(), methanol(), tmp_path / "a", Simulation("nvt", 8, every=4), progress=False)
    before = contents(tmp_path / "a")
    other = Simulation("nvt", 8, every=4, seed=1)
    with pytest.raises(SimulationError, match="another simulation"):
        simulate(springs(), methanol(), tmp_path / "a", other, progress=False)
    moved = methanol()
    moved.positions[0] += 0.01
    with pytest.raises(SimulationError, match="another simulation"):
        simulate(springs(), moved, tmp_path / "a", Simulation("nvt", 8, every=4), progress=False)
    assert contents(tmp_path / "a") == before
    simulate(springs(), methanol(), tmp_path / "b", other, progress=False)
    assert contents(tmp_path / "b")[2] != before[2]


def test_a_folder_of_something_else_stays_as_it_is(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(SimulationError, match="holds no simulation"):
        simulate(springs(), methanol(), tmp_path, Simulation("nve", 4), progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_damaged_or_shortened_simulation_is_refused(tmp_path):
    settings = Simulation("nvt", 8, every=4)
    simulate(springs(), methanol(), tmp_path / "a", settings, progress=False)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    (tmp_path / "a" / LOG).write_text("step\n")
    with pytest.raises(SimulationError, match="was changed"):
        simulate(springs(), methanol(), tmp_path / "a", settings, progress=False)
    (tmp_path / "b" / STATE).write_bytes(b"PK half a file")
    with pytest.raises(SimulationError, match="damaged"):
        simulate(springs(), methanol(), tmp_path / "b", settings, progress=False)


@pytest.mark.slow
def test_the_thermostat_heats_a_molecule_to_the_temperature_that_was_asked_for(tmp_path):
    """ASE counts 3N degrees of freedom, of which six do not move: methanol would have 450 K."""
    settings = Simulation("nvt", 8000, timestep=0.5, thermostat_time=20.0, equilibrate=1000, every=5)
    report = simulate(springs(), methanol(), tmp_path / "a", settings, progress=False).report
    assert report.temperature.value == pytest.approx(300, abs=25)
    assert abs(report.temperature.value - 300) < 4 * report.temperature.error
    row = read_log(tmp_path / "a" / LOG)
    assert row["temperature_K"] == pytest.approx(2 * row["kinetic_eV"] / (12 * kB))
    assert abs(report.drift.value) < 4 * report.drift.error + 50


@pytest.mark.slow
def test_constant_energy_is_constant_and_a_longer_step_keeps_it_worse(tmp_path):
    spread = {}
    for timestep in (0.25, 0.5):
        settings = Simulation("nve", 1000, timestep=timestep, every=5)
        simulate(springs(), methanol(), tmp_path / f"{timestep}", settings, progress=False)
        spread[timestep] = np.ptp(read_log(tmp_path / f"{timestep}" / LOG)["conserved_eV"])
    assert spread[0.5] < 0.02
    assert 2.5 < spread[0.5] / spread[0.25] < 6  # second order: 4


@pytest.mark.slow
def test_constant_pressure_conserves_what_it_should_and_relaxes_a_compressed_crystal(tmp_path):
    atoms = copper()
    atoms.set_cell(atoms.cell * 0.985, scale_atoms=True)
    settings = Simulation("npt", 800, timestep=4.0, temperature=300, barostat_time=400.0, every=5)
    report = simulate(emt(), atoms, tmp_path / "a", settings, progress=False).report
    row = read_log(tmp_path / "a" / LOG)
    assert np.ptp(row["conserved_eV"]) < 0.05 * np.ptp(row["potential_eV"])
    assert row["volume_A3"][:3].mean() < 0.97 * row["volume_A3"][80:].mean()
    assert abs(row["pressure_bar"][80:].mean()) < 0.2 * row["pressure_bar"][0]
    assert report.volume.value == pytest.approx(row["volume_A3"].mean())


def test_the_report_can_be_read_by_people_and_programs(tmp_path):
    report = simulate(
        emt(), copper(), tmp_path, Simulation("nvt", 60, timestep=2.0, every=2), progress=False
    ).report
    found = json.loads((tmp_path / "report.json").read_text())
    assert found["temperature"]["value"] == pytest.approx(report.temperature.value)
    assert found["complete"]
    assert found["simulation"]["settings"]["steps"] == 60
    page = (tmp_path / "report.html").read_text()
    assert "Radial distribution functions" in page
    assert "http" not in page.replace("http://www.w3.org", "")
    assert report.lines()[0].split(None, 1)[1] == "all steps are done"
    assert (tmp_path / "report.txt").read_text().startswith(report.lines()[0])
    frames = read(tmp_path / TRAJECTORY, index=":")
    assert [frame.info["step"] for frame in frames] == list(range(0, 61, 2))
    assert frames[-1].get_forces().shape == (32, 3)
