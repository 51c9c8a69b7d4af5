"""The ASE calculator answers for the atoms that it is asked of, or says that it cannot."""

import logging

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.optimize import BFGS

from chemscale.models.painn import PaiNNConfig
from chemscale.models.potential import BoundaryError, UnknownChargeError
from chemscale.models.potentials import build, load_potential, save_potential
from chemscale.models.spookynet import SpookyNetConfig
from chemscale.structures.blocks import SourceError
from chemscale.structures.calculator import ChemscaleCalculator

SPOOKY = SpookyNetConfig(width=8, layers=1, cutoff=4.0)


def potential(config=SPOOKY, electrons=None):
    """Random weights, large enough that charge and multiplicity matter."""
    torch.manual_seed(0)
    made = build(config, (1, 6, 8, 29), dtype=torch.float64)
    for weights in made.network.parameters():
        weights.data += 0.3 * torch.randn_like(weights)
    if electrons is not None:
        made.header["data"] = {"electrons": electrons}
    return made


def methanol(**info):
    atoms = molecule("CH3OH")
    atoms.info.update(info)
    return atoms


def energy(atoms, model=None):
    return ChemscaleCalculator(model or potential(), device="cpu").get_potential_energy(atoms)


@pytest.mark.parametrize("info", [{"charge": 1}, {"spin": 3}, {"total_charge": -1, "multiplicity": 2}])
def test_a_changed_charge_or_multiplicity_is_another_state(info):
    atoms = methanol()
    atoms.calc = ChemscaleCalculator(potential(), device="cpu")
    before, forces = atoms.get_potential_energy(), atoms.get_forces()
    atoms.info.update(info)
    assert atoms.calc.calculation_required(atoms, ["energy"])
    assert atoms.get_potential_energy() == pytest.approx(energy(methanol(**info)), abs=1e-12)
    assert abs(atoms.get_potential_energy() - before) > 1e-6
    assert not np.allclose(atoms.get_forces(), forces)
    atoms.info.clear()
    assert atoms.get_potential_energy() == pytest.approx(before, abs=1e-12)


def test_nothing_is_computed_twice_for_the_same_state():
    atoms = methanol(charge=1, spin=2)
    atoms.calc = ChemscaleCalculator(potential(), device="cpu")
    atoms.get_potential_energy()
    kept = atoms.calc.results
    atoms.info["label"] = "of no concern"
    atoms.info["charge"] = 1.0
    atoms.get_forces()
    assert atoms.calc.results is kept


def test_a_relaxation_of_an_ion_goes_down_on_its_own_surface():
    ion = methanol(charge=1, spin=2)
    ion.calc = ChemscaleCalculator(potential(), device="cpu")
    ion.get_potential_energy()
    ion.info.update(charge=0, spin=1)
    BFGS(ion, logfile=None, maxstep=0.02).run(fmax=0.0, steps=3)
    assert ion.get_potential_energy() == pytest.approx(energy(ion.copy()), abs=1e-12)


def test_another_model_cell_or_periodicity_is_computed_anew():
    atoms = bulk("Cu")
    atoms.calc = ChemscaleCalculator(potential(), device="cpu")
    found = [atoms.get_potential_energy()]
    atoms.set_cell(1.05 * atoms.cell[:])
    found.append(atoms.get_potential_energy())
    atoms.pbc = False
    found.append(atoms.get_potential_energy())
    other = potential()
    other.references += 1.0
    atoms.calc.potential = other
    found.append(atoms.get_potential_energy())
    assert len({round(value, 6) for value in found}) == 4
    assert found[3] - found[2] == pytest.approx(1.0)


@pytest.mark.parametrize("info", [{"charge": 0.7}, {"spin": -1}, {"charge": 0, "total_charge": 1}])
def test_a_charge_that_is_none_is_refused_also_when_a_result_is_kept(info):
    atoms = methanol()
    atoms.calc = ChemscaleCalculator(potential(), device="cpu")
    atoms.get_potential_energy()
    atoms.info.update(info)
    with pytest.raises(SourceError):
        atoms.get_potential_energy()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda atoms: atoms.set_pbc(True), "without a cell vector"),
        (lambda atoms: (atoms.set_cell([[7, 0, 0], [0, 7, 0], [7, 7, 0]]), atoms.set_pbc(True)), "one plane"),
        (lambda atoms: atoms.positions.fill(np.nan), "not finite"),
    ],
)
def test_what_is_no_structure_is_refused_as_in_training(change, message):
    atoms = methanol()
    change(atoms)
    with pytest.raises(SourceError, match=message):
        energy(atoms)


def test_parameters_that_nothing_reads_are_refused():
    with pytest.raises(ValueError, match=r'no parameter charge.*atoms\.info\["charge"\]'):
        ChemscaleCalculator(potential(), charge=1)
    with pytest.raises(ValueError, match="no parameter spin"):
        ChemscaleCalculator(potential()).set(spin=3)
    with pytest.raises(ValueError, match=r"the potential that was given is torch\.float64"):
        ChemscaleCalculator(potential(), dtype=torch.float32)


def test_partial_charges_that_sum_to_a_charge_are_not_taken_for_it_in_silence(caplog):
    atoms = methanol()
    atoms.set_initial_charges([1.0, 0, 0, 0, 0, 0])
    atoms.calc = ChemscaleCalculator(potential(), device="cpu")
    for _ in range(2):
        atoms.rattle(0.01)
        atoms.get_potential_energy()
    assert [record.message for record in caplog.records] == [
        'initial_charges (its sum is +1.00) is not read: state the total charge as atoms.info["charge"].'
    ]


def test_a_potential_without_charges_refuses_states_that_training_lacked():
    model = potential(PaiNNConfig(width=8, layers=1, cutoff=4.0), [[0, 0]])
    neutral = energy(methanol(), model)
    assert energy(methanol(charge=0, spin=1), model) == neutral
    for info in ({"charge": 1, "spin": 2}, {"spin": 3}):
        with pytest.raises(UnknownChargeError, match="training data had charge 0, and painn knows"):
            energy(methanol(**info), model)
    several = potential(PaiNNConfig(width=8, layers=1, cutoff=4.0), [[0, 1], [1, 2]])
    assert energy(methanol(charge=1), several) == neutral
    with pytest.raises(UnknownChargeError, match=r"has charge -1, .*charge 0 and multiplicity 1; charge \+1"):
        energy(methanol(charge=-1), several)


def test_a_potential_with_charges_says_once_that_it_extrapolates(caplog):
    atoms = methanol()
    atoms.calc = ChemscaleCalculator(potential(electrons=[[0, 1], [1, 2]]), device="cpu")
    atoms.get_potential_energy()
    assert not caplog.records
    atoms.info["charge"] = -1
    for _ in range(2):
        atoms.rattle(0.01)
        atoms.get_potential_energy()
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "charge -1, the training data had charge 0 and multiplicity 1; charge +1" in record.message


def test_a_model_of_an_older_version_loads_and_says_that_it_does_not_know(tmp_path, caplog):
    save_potential(potential(PaiNNConfig(width=8, layers=1)), tmp_path, {"data": {"name": "x", "hash": "y"}})
    model = load_potential(tmp_path)
    energy(methanol(), model)
    assert not caplog.records
    energy(methanol(charge=1), model)
    assert "nor does it say which ones it was trained on: charge +1" in caplog.text


def test_electrostatics_of_molecules_are_refused_for_crystals():
    model = potential(SpookyNetConfig(width=8, layers=1, cutoff=4.0, electrostatics=True))
    assert np.isfinite(energy(methanol(), model))
    slab = Atoms("Cu", cell=[3, 3, 20], pbc=[True, True, False])
    for crystal in (bulk("Cu"), slab):
        with pytest.raises(BoundaryError, match=r"model\.electrostatics=false"):
            energy(crystal, model)


@pytest.mark.parametrize("config", [SPOOKY, SpookyNetConfig(width=8, layers=1, cutoff=4.0, zbl=True)])
def test_what_couples_all_atoms_of_a_crystal_depends_neither_on_wrapping_nor_on_the_cell(config):
    model = potential(config)
    cell = bulk("CuO", "rocksalt", 4.3, cubic=True)
    cell.rattle(0.1, seed=1)
    moved = cell.copy()
    moved.positions += np.random.default_rng(0).integers(-1, 2, (8, 3)) @ cell.cell
    one = energy(cell, model)
    assert energy(moved, model) == pytest.approx(one, abs=1e-9)
    assert energy(cell * (2, 1, 1), model) == pytest.approx(2 * one, abs=1e-9)
