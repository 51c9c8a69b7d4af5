"""Files that ASE reads: labels by three conventions, cells, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.db import connect
from ase.io import write

from chemscale.structures.blocks import SourceError
from chemscale.structures.sources import AseFile, open_source
from chemscale.structures.units import Units
from tests.helpers.paths import real_data
from tests.helpers.sources import BOHR, HARTREE, extxyz, molecule, slope, whole


def with_calculator(atoms: Atoms, **labels: Any) -> Atoms:
    atoms.calc = SinglePointCalculator(atoms, **labels)
    return atoms


def test_acac_is_read_from_the_calculator() -> None:
    source = open_source(real_data("atoms/botnet_acac__train_300K.xyz"))
    blocks = list(source.blocks())
    assert [len(b) for b in blocks] == [500]
    assert blocks[0].name == "300K_MD"
    assert blocks[0].energies[0] == pytest.approx(-9391.45554428476)
    assert blocks[0].forces[0, 0].tolist() == pytest.approx([1.47339228, 1.13796366, 0.06391102])
    assert blocks[0].cells is None, "a box that is not periodic is no cell"
    assert source.notes == ["Labels: energy/forces of the calculator in 500 frames."]
    assert slope(blocks[0]) == pytest.approx(1, abs=0.1)


def test_two_molecules_in_a_file_are_blocks_of_their_own() -> None:
    blocks = list(open_source(real_data("atoms/botnet_ethanol__train_eth_meth.xyz")).blocks())
    assert [(b.name, len(b)) for b in blocks] == [("methanol", 300), ("ethanol", 512), ("ethanol", 488)]
    assert np.concatenate([b.rows for b in blocks]).tolist() == list(range(1300))


def test_crystals_keep_cell_and_pbc() -> None:
    block = next(iter(open_source(real_data("atoms/mattersim_benchmarks__mpf-TP.xyz")).blocks()))
    assert block.cells is not None
    assert block.pbc is not None
    assert block.pbc.all()
    assert block.cells[0, 0].tolist() == pytest.approx([2.6239204781349605, 0, 0])
    assert block.energies[0] == pytest.approx(-79.26068284)


def test_ref_labels_come_first(tmp_path: Path) -> None:
    atoms = with_calculator(molecule(REF_energy=-2.0, charge=-1, spin=2), energy=-1.0, forces=np.ones((2, 3)))
    atoms.arrays["REF_forces"] = np.full((2, 3), 0.5)
    source = open_source(extxyz(tmp_path / "a.xyz", [atoms]))
    block = whole(source)
    assert block.energies[0] == -2
    assert np.allclose(block.forces, 0.5)
    assert (block.charges[0], block.spins[0]) == (-1, 2)
    assert source.notes == ["Labels: REF_energy/REF_forces in 1 frames."]


def test_labels_of_two_places_are_not_mixed_in_a_frame(tmp_path: Path) -> None:
    atoms = with_calculator(molecule(REF_energy=-2.0), energy=-1.0, forces=np.ones((2, 3)))
    source = open_source(extxyz(tmp_path / "a.xyz", [atoms]))
    assert np.isnan(whole(source).forces).all()
    assert any("have no forces in REF_energy/REF_forces" in note for note in source.notes)


def test_forces_alone_leave_the_energy_missing(tmp_path: Path) -> None:
    source = open_source(extxyz(tmp_path / "a.xyz", [with_calculator(molecule(), forces=np.ones((2, 3)))]))
    assert np.isnan(whole(source).energies[0])


def test_isolated_atoms_keep_their_name(tmp_path: Path) -> None:
    atom = Atoms("C", [[0, 0, 0]], info={"config_type": "IsolatedAtom", "REF_energy": -1029.5})
    blocks = list(open_source(extxyz(tmp_path / "a.xyz", [atom, molecule(REF_energy=-1.0)])).blocks())
    assert [b.name for b in blocks] == ["IsolatedAtom", "H2"]
    assert blocks[0].numbers.tolist() == [6]


def test_molecules_and_crystals_do_not_share_a_block(tmp_path: Path) -> None:
    crystal = Atoms("H2", [[0, 0, 0], [1, 0, 0]], cell=[3, 4, 5], pbc=[True, True, False])
    crystal.info["REF_energy"] = -1.0
    blocks = list(open_source(extxyz(tmp_path / "a.xyz", [molecule(REF_energy=-1.0), crystal])).blocks())
    assert [b.cells is None for b in blocks] == [True, False]
    assert blocks[1].pbc is not None
    assert blocks[1].pbc[0].tolist() == [True, True, False]


def test_extxyz_in_other_units(tmp_path: Path) -> None:
    crystal = with_calculator(
        Atoms("H", [[1, 0, 0]], cell=[2, 2, 2], pbc=True), energy=-0.5, forces=np.array([[0.1, 0, 0]])
    )
    path = extxyz(tmp_path / "a.xyz", [crystal])
    block = next(iter(open_source(path, units=Units("Hartree", "Bohr", gradients=True)).blocks()))
    assert block.energies[0] == pytest.approx(-0.5 * HARTREE)
    assert block.positions[0, 0, 0] == pytest.approx(BOHR)
    assert block.forces[0, 0, 0] == pytest.approx(-0.1 * HARTREE / BOHR)
    assert block.cells is not None
    assert block.cells[0, 0, 0] == pytest.approx(2 * BOHR)


def test_constraints_do_not_zero_forces(tmp_path: Path) -> None:
    atoms = with_calculator(molecule(), energy=-1.0, forces=np.ones((2, 3)))
    atoms.set_constraint(FixAtoms([0]))
    write(tmp_path / "a.traj", atoms)
    assert np.allclose(whole(open_source(tmp_path / "a.traj")).forces, 1)


@pytest.mark.parametrize(
    ("labels", "place"),
    [
        ({"REF_energy": -1.0, "data": {"REF_forces": np.ones((2, 3)), "charge": 1}}, "REF_energy/REF_forces"),
        ({"data": {"energy": np.array([-1.0]), "forces": np.ones((2, 3)), "charge": 1}}, "info and arrays"),
    ],
)
def test_ase_database_keeps_labels_in_pairs_and_data(
    tmp_path: Path, labels: dict[str, Any], place: str
) -> None:
    with connect(tmp_path / "a.db") as database:
        database.write(molecule(), **labels)
    source = open_source(tmp_path / "a.db")
    block = whole(source)
    assert (block.energies[0], block.forces[0, 0, 0], block.charges[0]) == (-1, 1, 1)
    assert place in source.notes[0]


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ({"REF_energy": "much"}, "frame 0: the REF_energy/REF_forces are not numbers"),
        ({"REF_energy": -1.0, "charge": 0.5}, r"frame 0: charge must be whole numbers .* got 0\.5"),
        ({"REF_energy": -1.0, "spin": 300}, "frame 0: spin must be whole numbers"),
    ],
)
def test_labels_that_are_no_numbers_are_refused(tmp_path: Path, info: dict[str, Any], message: str) -> None:
    with pytest.raises(SourceError, match=message):
        list(open_source(extxyz(tmp_path / "a.xyz", [molecule(**info)])).blocks())


def test_a_periodic_frame_needs_a_cell(tmp_path: Path) -> None:
    atoms = molecule(REF_energy=-1.0)
    atoms.pbc = True
    write(tmp_path / "a.traj", atoms)
    with pytest.raises(SourceError, match="frame 0: periodic in a direction without a cell vector"):
        list(open_source(tmp_path / "a.traj").blocks())


def test_a_broken_frame_is_named(tmp_path: Path) -> None:
    path = extxyz(tmp_path / "a.xyz", [molecule(REF_energy=-1.0), molecule(REF_energy=-1.0)])
    path.write_text(path.read_text()[:-20])
    with pytest.raises(SourceError, match=r"a\.xyz, frame \d: ASE cannot read it as extxyz"):
        list(open_source(path).blocks())


@pytest.mark.parametrize("lost", ["energy=-1.0", "REF_energy=-1.0", "charge=1", 'pbc="F F F"'])
def test_an_empty_entry_that_takes_the_next_one_for_its_value_is_refused(tmp_path, lost):
    path = tmp_path / "a.xyz"
    path.write_text(f"1\nProperties=species:S:1:pos:R:3 free_energy=-1.0 warnings= {lost}\nH 0 0 0\n")
    with pytest.raises(SourceError, match=r"a\.xyz, frame 0: warnings= has no value.*is lost"):
        list(AseFile(path).blocks())


def test_text_with_an_equals_sign_is_no_lost_entry(tmp_path):
    path = tmp_path / "a.xyz"
    path.write_text("1\nProperties=species:S:1:pos:R:3 energy=-1.0 note=step=3\nH 0 0 0\n")
    assert [len(block) for block in AseFile(path).blocks()] == [1]


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ([[7, 0, 0], [0, 7, 0], [7, 7, 0]], "lie in one plane"),
        ([[0.001, 0, 0], [0, 7, 0], [0, 0, 7]], "period of 0.001"),
    ],
)
def test_vectors_that_span_no_cell_are_refused(tmp_path, cell, message):
    atoms = Atoms("Cu", cell=cell, pbc=True, info={"REF_energy": -1.0})
    with pytest.raises(SourceError, match=f"frame 0: .*{message}"):
        list(AseFile(extxyz(tmp_path / "a.xyz", [atoms])).blocks())


def test_a_slab_needs_no_third_vector(tmp_path):
    slab = Atoms("Cu", cell=[[3, 0, 0], [0, 3, 0], [0, 0, 0]], pbc=[1, 1, 0], info={"REF_energy": -1.0})
    assert [len(block) for block in AseFile(extxyz(tmp_path / "a.xyz", [slab])).blocks()] == [1]
