"""A potential in LAMMPS gives in every step what the ASE calculator gives, or LAMMPS stops and says why."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.io import write

from chemscale.models.allegro import AllegroConfig
from chemscale.models.mace import MACEConfig
from chemscale.models.nequip import NequIPConfig
from chemscale.models.potential import UnknownChargeError, UnknownElementError
from chemscale.models.schnet import SchNetConfig
from chemscale.models.spookynet import SpookyNetConfig
from chemscale.structures.calculator import ChemscaleCalculator
from chemscale.structures.engines.evaluator import NotFiniteError
from chemscale.structures.engines.lammps import LammpsError, attach, has_mliap, open_lammps
from tests.helpers.engines import PAINN, ethanol, expected, largest, random_potential, salt

pytest.importorskip("lammps")

BAR = 1 / 1.6021765e6  # eV/Å³ of a bar, as LAMMPS has it in units metal
OTHERS = {
    "schnet": SchNetConfig(width=8, layers=2, cutoff=4.0),
    "nequip": NequIPConfig(width=4, layers=2, cutoff=4.0),
    "allegro": AllegroConfig(width=4, layers=2, cutoff=4.0),
    "mace": MACEConfig(width=4, layers=2, cutoff=4.0),
    "spookynet": SpookyNetConfig(width=8, layers=2, cutoff=4.0),
}


@pytest.fixture
def started(tmp_path):
    """Opens LAMMPS with these atoms in its box, and closes it."""
    opened = []

    def start(atoms, *commands, units="metal"):
        lmp = open_lammps(["-log", "none", "-screen", "none"])
        opened.append(lmp)
        elements = sorted(set(atoms.symbols))
        placed = atoms.copy()
        if not atoms.pbc.any():
            placed.center(vacuum=6.0)
        write(tmp_path / "atoms.data", placed, format="lammps-data", specorder=elements, masses=True)
        for command in (
            f"units {units}",
            "atom_modify map array",
            "boundary " + " ".join("p" if periodic else "m" for periodic in atoms.pbc),
            f"read_data {tmp_path / 'atoms.data'}",
            "neighbor 1.0 bin",
            *commands,
        ):
            lmp.command(command)
        return lmp, elements

    yield start
    for lmp in opened:
        lmp.close()


@pytest.fixture(params=["external", "mliap"])
def way(request):
    if request.param == "mliap":
        lmp = open_lammps(["-log", "none", "-screen", "none"])
        there = has_mliap(lmp)
        lmp.close()
        if not there:
            pytest.skip("this LAMMPS has no ML-IAP with Python")
    return request.param


def atoms_now(lmp, elements, pbc):
    """LAMMPS' atoms in the order of their numbers, its forces, and per-atom arrays of computes."""
    count = lmp.get_natoms()
    order = np.argsort(lmp.numpy.extract_atom("id", nelem=count, dim=1).reshape(-1))
    types = lmp.numpy.extract_atom("type", nelem=count, dim=1).reshape(-1)[order]
    low, high, xy, yz, xz, *_ = lmp.extract_box()
    a, b, c = np.subtract(high, low)
    atoms = Atoms(
        [elements[kind - 1] for kind in types],
        positions=lmp.numpy.extract_atom("x", nelem=count, dim=3)[order],
        cell=[[a, 0, 0], [xy, b, 0], [xz, yz, c]],
        pbc=pbc,
    )
    return atoms, lmp.numpy.extract_atom("f", nelem=count, dim=3)[order], order


@pytest.mark.parametrize("make", [ethanol, salt])
def test_a_trajectory_has_the_energies_forces_and_pressures_of_the_calculator(started, way, make):
    potential = random_potential()
    lmp, elements = started(make(), "fix move all nve", "timestep 0.0005", "velocity all create 300 7")
    assert attach(lmp, potential, elements, through=way, device="cpu") == way
    lmp.command("thermo 1")
    lmp.command("thermo_style custom step pe etotal pxx pyy pzz pxy pxz pyz")
    lmp.command("compute still all pressure NULL virial")
    lmp.command(
        "fix watch all ave/time 1 1 1 c_still[1] c_still[2] c_still[3] c_still[4] c_still[5] c_still[6]"
    )
    totals, energies, first = [], [], None
    for _ in range(15):
        lmp.command("run 2 pre yes post no")
        atoms, forces, _ = atoms_now(lmp, elements, make().pbc)
        energy, wanted, stress = expected(potential, atoms)
        assert lmp.get_thermo("pe") == pytest.approx(energy, abs=1e-9)
        assert largest(forces, wanted) < 1e-9
        virial = [lmp.numpy.extract_compute("still", 0, 1)[i] for i in range(6)]
        if stress is None:
            sum_of_moments = atoms.positions.T @ wanted
            stress = -0.5 * (sum_of_moments + sum_of_moments.T) / atoms.get_volume()
        six = stress[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]]
        assert largest(-np.array(virial) * BAR, six) < 1e-9
        assert np.abs(six).max() > 1e-6
        energies.append(energy)
        totals.append(lmp.get_thermo("etotal"))
        first = atoms if first is None else first
    assert largest(first.positions, atoms.positions) > 1e-3
    assert np.ptp(totals) < 1e-3 < np.ptp(energies)


def test_energies_and_virials_of_atoms_add_up_to_those_of_all(started, way):
    potential = random_potential()
    lmp, elements = started(
        salt(), "compute energies all pe/atom", "compute virials all stress/atom NULL virial"
    )
    attach(lmp, potential, elements, through=way, device="cpu")
    lmp.command("compute all_energies all reduce sum c_energies")
    lmp.command("compute all_virials all reduce sum " + " ".join(f"c_virials[{i}]" for i in range(1, 7)))
    lmp.command("thermo_style custom step pe c_all_energies c_all_virials[1] c_all_virials[4]")
    lmp.command("run 0")
    atoms, _, order = atoms_now(lmp, elements, [True] * 3)
    energy, _, stress = expected(potential, atoms)
    assert float(lmp.numpy.extract_compute("all_energies", 0, 0)) == pytest.approx(energy, abs=1e-9)
    summed = np.array([lmp.numpy.extract_compute("all_virials", 0, 1)[i] for i in range(6)]) * BAR
    six = stress[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]] * atoms.get_volume()
    assert largest(summed, six) < 1e-8
    atoms.calc = ChemscaleCalculator(potential, device="cpu")
    of_atoms = lmp.numpy.extract_compute("energies", 1, 1).reshape(-1)[order]
    assert largest(of_atoms, atoms.get_potential_energies()) < 1e-9
    assert np.ptp(of_atoms) > 1e-3


@pytest.mark.parametrize("family", sorted(OTHERS))
def test_every_family_runs_in_a_crystal(started, way, family):
    potential = random_potential(OTHERS[family], size=0.1)
    lmp, elements = started(salt(), "fix move all nve", "timestep 0.0005", "velocity all create 300 7")
    attach(lmp, potential, elements, through=way, device="cpu")
    lmp.command("run 3")
    atoms, forces, _ = atoms_now(lmp, elements, [True] * 3)
    energy, wanted, _ = expected(potential, atoms)
    assert lmp.get_thermo("pe") == pytest.approx(energy, abs=1e-9)
    assert largest(forces, wanted) < 1e-9
    assert np.abs(wanted).max() > 1e-3


def test_electrostatics_of_molecules_go_through_fix_external_by_themselves(started):
    config = SpookyNetConfig(width=8, layers=1, cutoff=4.0, electrostatics=True)
    potential = random_potential(config, size=0.1)
    ion = molecule("OH")
    lmp, elements = started(ion)
    assert attach(lmp, potential, elements, charge=-1, spin=1, device="cpu") == "external"
    lmp.command("run 0")
    atoms, forces, _ = atoms_now(lmp, elements, [False] * 3)
    atoms.info.update(charge=-1, spin=1)
    energy, wanted, _ = expected(potential, atoms)
    assert lmp.get_thermo("pe") == pytest.approx(energy, abs=1e-9)
    assert largest(forces, wanted) < 1e-9
    neutral = expected(potential, Atoms(atoms.numbers, atoms.positions))[0]
    assert abs(neutral - energy) > 1e-6


def test_a_run_that_falls_apart_stops_and_the_command_raises_why(started):
    potential = random_potential()
    lmp, elements = started(ethanol(), "fix move all nve")
    attach(lmp, potential, elements, through="external", device="cpu")
    lmp.command("run 0")
    lmp.numpy.extract_atom("x", nelem=9, dim=3)[4] = np.nan
    with pytest.raises(NotFiniteError, match="fell apart"):
        lmp.command("run 50 pre no post no")
    assert lmp.extract_global("ntimestep") < 5
    lmp.command("reset_timestep 0")
    lmp.numpy.extract_atom("x", nelem=9, dim=3)[:] = ethanol().positions
    lmp.numpy.extract_atom("v", nelem=9, dim=3)[:] = 0
    lmp.command("run 2")
    assert lmp.extract_global("ntimestep") == 2


def test_what_cannot_be_attached_is_refused_before_a_step(started):
    potential = random_potential(elements=(1, 6, 8))
    empty = open_lammps(["-log", "none", "-screen", "none"])
    with pytest.raises(LammpsError, match="no box yet"):
        attach(empty, potential, ["H"])
    empty.close()
    lmp, elements = started(ethanol())
    with pytest.raises(LammpsError, match="3 atom types and elements names 2"):
        attach(lmp, potential, elements[:2])
    with pytest.raises(LammpsError, match="'Q' is no symbol"):
        attach(lmp, potential, ["C", "H", "Q"])
    with pytest.raises(UnknownElementError, match=r"\[7\]"):
        attach(lmp, potential, ["C", "H", "N"])
    with pytest.raises(LammpsError, match="through='gpu'"):
        attach(lmp, potential, elements, through="gpu")
    if not has_mliap(lmp):
        with pytest.raises(LammpsError, match="MLIAP_ENABLE_PYTHON"):
            attach(lmp, potential, elements, through="mliap")
    potential.header["data"] = {"electrons": [[0, 1]]}
    with pytest.raises(UnknownChargeError, match="charge"):
        attach(lmp, potential, elements, charge=1)
    assert not lmp.has_id("fix", "chemscale")
    real, elements = started(ethanol(), units="real")
    with pytest.raises(LammpsError, match="units real"):
        attach(real, potential, elements)


def test_the_cutoff_that_a_pair_sees_is_that_of_the_model():
    from chemscale.structures.engines.evaluator import Evaluator
    from chemscale.structures.engines.mliap import UnifiedPotential

    unified = UnifiedPotential(Evaluator(random_potential(), device="cpu"), ["C", "H"], lambda count: None)
    assert 2 * unified.rcutfac == PAINN.cutoff
