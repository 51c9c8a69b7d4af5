"""D3 is what its library and mathematics say, leaves the labels before training and comes back in use."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.io import read, write
from ase.stress import voigt_6_to_full_3x3_stress

from chemscale.common.sections import ConfigurationError
from chemscale.models.painn import PaiNNConfig
from chemscale.models.potentials import build, load_potential, save_potential
from chemscale.points.data import open_or_prepare_structures
from chemscale.points.trained.prediction import predict_file
from chemscale.structures.calculator import ChemscaleCalculator
from chemscale.structures.dispersion import Dispersion, DispersionError, choose, warn_of_network_alone
from chemscale.structures.engines.packaged import GraphPotential
from chemscale.structures.preparation.building import build_store
from chemscale.structures.preparation.splits import SplitPolicy
from chemscale.structures.settings import StructureData
from chemscale.training.compilation.standalone import metadata_of
from tests.helpers.structures import ToySource, toy_blocks

pytest.importorskip("dftd3")
PBE = Dispersion("d3bj", "pbe")
KEY = {"method": "d3bj", "functional": "pbe"}


def of(atoms, dispersion=PBE):
    return dispersion.of(atoms.numbers, atoms.positions, np.asarray(atoms.cell), np.asarray(atoms.pbc))


def salt():
    """A strained, distorted crystal of eight atoms."""
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    strain = np.array([[0, 0.02, 0], [0, 0.03, 0], [0.01, 0, -0.02]])
    atoms.set_cell(np.asarray(atoms.cell) @ (np.eye(3) + strain), scale_atoms=True)
    atoms.rattle(0.1, seed=0)
    return atoms


def model_folder(path, subtract=None, elements=(1, 6, 8, 11, 17)):
    torch.manual_seed(0)
    made = build(PaiNNConfig(width=8, layers=1), elements, dtype=torch.float64)
    save_potential(made, path, {"data": {"subtract": subtract} if subtract else {}})
    return path


def test_water_has_the_energy_that_the_library_documents():
    assert of(molecule("H2O")).energy == pytest.approx(-0.009781920198843976, abs=1e-9)
    with_three = of(molecule("H2O"), Dispersion("d3bj", "PBE", three_body=True)).energy
    assert 0 < abs(with_three - of(molecule("H2O")).energy) < 1e-6


def test_two_distant_atoms_attract_by_the_sixth_power():
    energies = [of(Atoms("Ar2", [[0, 0, 0], [0, 0, d]])).energy for d in (10.0, 20.0)]
    assert energies[0] / energies[1] == pytest.approx(64, rel=0.15)
    assert of(Atoms("Ar")).energy == 0


@pytest.mark.parametrize("atoms", [molecule("CH3CH2OH"), salt()], ids=["ethanol", "salt"])
def test_forces_and_stress_are_slopes_of_the_energy(atoms):
    found, step = of(atoms), 1e-3
    for atom, axis in ((0, 0), (3, 2), (7, 1)):
        pair = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[atom, axis] += sign * step
            pair.append(of(moved).energy)
        assert -(pair[0] - pair[1]) / (2 * step) == pytest.approx(found.forces[atom, axis], abs=2e-6)
    if not atoms.pbc.all():
        assert found.stress is None
        return
    for i, j in ((0, 0), (1, 2), (2, 2)):
        pair = []
        for sign in (1, -1):
            strain = np.zeros((3, 3))
            strain[i, j] += sign * step / 2
            strain[j, i] += sign * step / 2
            strained = atoms.copy()
            strained.set_cell(np.asarray(atoms.cell) @ (np.eye(3) + strain), scale_atoms=True)
            pair.append(of(strained).energy)
        slope = (pair[0] - pair[1]) / (2 * step) / atoms.get_volume()
        # A strain takes pairs over the sharp end of the sum at 60 Bohr; stress is up to 0.01 eV/Å³ here.
        assert slope == pytest.approx(found.stress[i, j], abs=3e-5)
    assert found.stress == pytest.approx(found.stress.T)


def test_energies_of_atoms_sum_to_the_energy():
    three = Dispersion("d3bj", "pbe", three_body=True)
    atoms = molecule("CH3CH2OH")
    parts = three.atomic_energies(atoms.numbers, atoms.positions)
    assert parts.shape == (9,)
    assert parts.sum() == pytest.approx(of(atoms, three).energy)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ("pbe", "give method and functional"),
        ({"method": "d3bj"}, "give method and functional"),
        ({"method": "d3", "functional": "pbe"}, "choose d3bj"),
        ({"method": "d3bj", "functional": "pb"}, "Did you mean pbe"),
        ({"method": "d3bj", "functional": "pbe", "s6": 1.0}, r"data\.subtract\.s6"),
        ({"method": "d3bj", "functional": "pbe", "three_body": 1}, "true or false"),
    ],
)
def test_a_key_that_makes_no_sense_is_refused(values, words):
    with pytest.raises(DispersionError, match=words):
        Dispersion.read("data.subtract", values)


def test_the_section_data_refuses_an_unknown_functional_before_anything_is_read():
    with pytest.raises(ConfigurationError, match="has no D3"):
        StructureData("structures", path="none.xyz", subtract={"method": "d3bj", "functional": "nonsense"})


def test_an_element_that_d3_does_not_know_is_refused_by_name():
    with pytest.raises(DispersionError, match="no parameters for Og"):
        of(Atoms("OOg", [[0, 0, 0], [0, 0, 4]]))
    block = replace(toy_blocks(2)[0], name="heavy", numbers=np.array([104, 1, 1]))
    with pytest.raises(DispersionError, match="heavy: D3 has no parameters for Rf"):
        PBE.subtract(block)


def test_without_the_library_the_way_to_it_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "dftd3", None)
    with pytest.raises(ImportError, match=r"chemscale\[dispersion\]"):
        Dispersion("d3bj", "blyp")


def test_a_store_holds_labels_without_dispersion_and_says_so(tmp_path):
    blocks = toy_blocks(6)
    blocks[1].energies[2] = np.nan
    blocks[1].forces[2] = np.nan
    policy = SplitPolicy("frame", 0.2, 0.0, 0)
    whole = build_store(ToySource(toy_blocks(6)), tmp_path / "whole", policy)
    without = build_store(ToySource(blocks), tmp_path / "without", policy, subtract=PBE)
    assert without.manifest["subtract"] == PBE.as_key()
    assert any("D3(BJ) of PBE was subtracted" in note for note in without.manifest["notes"])
    assert "subtract" not in whole.manifest
    for frame in range(len(whole)):
        a, b = whole.structure(frame), without.structure(frame)
        found = PBE.of(a.numbers, a.positions)
        if frame == 8:
            assert np.isnan(b.energy)
            assert np.isnan(b.forces).all()
            continue
        assert b.energy == pytest.approx(a.energy - found.energy, abs=1e-9)
        assert b.forces == pytest.approx(a.forces - found.forces, abs=1e-9)


def test_a_store_is_named_after_what_was_subtracted_and_as_ever_where_nothing_was(tmp_path):
    atoms = [molecule("H2O"), molecule("CH3OH"), molecule("NH3"), molecule("CH4")]
    for n, each in enumerate(atoms):
        each.info["REF_energy"], each.arrays["REF_forces"] = -10.0 * n, np.zeros((len(each), 3))
    write(tmp_path / "some.extxyz", atoms)
    plain = StructureData("structures", path=str(tmp_path / "some.extxyz"))
    names = {
        open_or_prepare_structures(data, tmp_path / "stores").path.name
        for data in (plain, replace(plain, subtract=KEY), replace(plain, subtract=KEY | {"three_body": True}))
    }
    assert len(names) == 3
    assert "subtract" not in plain.reading


@pytest.mark.parametrize("atoms", [molecule("CH3CH2OH"), salt()], ids=["ethanol", "salt"])
def test_a_model_of_subtracted_labels_gives_the_total(atoms, tmp_path):
    folder = model_folder(tmp_path / "model", KEY)
    bare, total = (ChemscaleCalculator(folder, device="cpu", dispersion=d) for d in (None, "auto"))
    assert total.dispersion == PBE
    found = of(atoms)
    assert total.get_potential_energy(atoms) == pytest.approx(bare.get_potential_energy(atoms) + found.energy)
    assert total.get_forces(atoms) == pytest.approx(bare.get_forces(atoms) + found.forces)
    assert total.get_property("energies", atoms).sum() == pytest.approx(total.get_potential_energy(atoms))
    if found.stress is not None:
        difference = total.get_stress(atoms) - bare.get_stress(atoms)
        assert voigt_6_to_full_3x3_stress(difference) == pytest.approx(found.stress)


def test_dispersion_is_never_added_twice_nor_another_one_than_was_subtracted(tmp_path):
    header = load_potential(model_folder(tmp_path / "model", KEY)).header
    assert choose(header, "auto") == choose(header, "PBE") == PBE
    with pytest.raises(DispersionError, match="was subtracted"):
        choose(header, "b3lyp")
    plain = load_potential(model_folder(tmp_path / "plain")).header
    assert choose(plain, "auto") is None
    assert choose(plain, "pbe") == PBE


def test_a_package_knows_what_was_subtracted(tmp_path):
    potential = load_potential(model_folder(tmp_path / "model", KEY))
    packaged = GraphPotential(lambda *inputs: [], metadata_of(potential, "1"))
    assert choose(packaged.header, "auto") == PBE
    facts = metadata_of(load_potential(model_folder(tmp_path / "plain")), "1")
    assert choose(GraphPotential(lambda *inputs: [], facts).header, "auto") is None
    del facts["subtract"]  # made by an earlier version
    assert choose(GraphPotential(lambda *inputs: [], facts).header, "auto") is None


def test_what_goes_as_the_network_alone_says_what_is_missing(caplog):
    warn_of_network_alone({"data": {"subtract": KEY}}, "The file")
    assert "The file holds the network alone" in caplog.text
    assert "without D3(BJ) of PBE" in caplog.text
    caplog.clear()
    warn_of_network_alone({"data": {}}, "The file")
    assert not caplog.text


def test_predictions_have_it_added_and_say_so(tmp_path):
    folder = model_folder(tmp_path / "model", KEY)
    write(tmp_path / "some.xyz", [molecule("H2O"), molecule("CH3CH2OH")])
    found = predict_file(folder, tmp_path / "some.xyz", tmp_path / "out.extxyz", device="cpu", progress=False)
    assert any("D3(BJ) of PBE was added" in note for note in found.notes)
    calculator = ChemscaleCalculator(folder, device="cpu")
    for atoms in read(tmp_path / "out.extxyz", index=":"):
        assert atoms.get_potential_energy() == pytest.approx(calculator.get_potential_energy(atoms.copy()))
        assert atoms.get_forces() == pytest.approx(calculator.get_forces(atoms.copy()), abs=1e-6)
