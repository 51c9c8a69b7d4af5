"""HDF5 releases: known numbers of real files, layouts made on the spot, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from chemscale.structures.blocks import SourceError
from chemscale.structures.sources import Ani1x, Spice, open_source
from chemscale.structures.sources.grouped import STEP
from chemscale.structures.sources.hdf5 import formal_charge
from chemscale.structures.sources.labels import LabelKeys
from chemscale.structures.units import Units
from tests.helpers.paths import real_data
from tests.helpers.sources import BOHR, HARTREE, KCAL, ani1x_file, hdf5, slope, springs, whole


def test_ani1x_sample_in_hartree() -> None:
    source = open_source(real_data("atoms/modelforge_samples__ani1_n5.hdf5"))
    blocks = list(source.blocks())
    assert isinstance(source, Ani1x)
    assert [len(b) for b in blocks] == [2, 1, 3, 1, 1]
    assert blocks[0].name == "C1H4N4O4"
    assert blocks[0].numbers.tolist() == [6, 1, 1, 1, 1, 7, 7, 7, 7, 8, 8, 8, 8]
    assert blocks[0].energies[0] == pytest.approx(-559.96732665 * HARTREE)
    assert np.concatenate([b.rows for b in blocks]).tolist() == list(range(8))
    assert all(np.isfinite(b.forces).all() for b in blocks)
    assert source.notes == []


def test_ani1x_drops_rows_without_the_label_and_counts_them() -> None:
    source = open_source(real_data("atoms/modelforge_samples__ani1_n5.hdf5"), level="ccsd(t)_cbs")
    blocks = list(source.blocks())
    assert np.concatenate([b.rows for b in blocks]).tolist() == [0, 1, 2, 3, 6, 7]
    assert all(np.isnan(b.forces).all() and np.isfinite(b.energies).all() for b in blocks)
    assert "2 of 8 frames were left out: they have no ccsd(t)_cbs.energy." in source.notes
    assert source.left_out == {"no ccsd(t)_cbs.energy": 2}
    list(source.blocks())
    assert sum("left out" in note for note in source.notes) == 1


def test_ani1x_needs_forces_where_the_level_has_them(tmp_path: Path) -> None:
    _, energies, forces = springs(3)
    forces[0, 1, 2], energies[1] = np.nan, np.nan
    labels = {"wb97x_dz.energy": energies, "wb97x_dz.forces": forces}
    source = open_source(ani1x_file(tmp_path / "a.h5", **labels))
    block = whole(source)
    assert block.rows.tolist() == [2]
    assert block.energies[0] == pytest.approx(energies[2] * HARTREE)
    assert np.allclose(block.forces[0], forces[2] * HARTREE)
    assert source.notes == ["2 of 3 frames were left out: they have no wb97x_dz.energy or wb97x_dz.forces."]


def test_ani1x_group_without_the_level_is_left_out(tmp_path: Path) -> None:
    positions, energies, _ = springs(3)
    common = {"atomic_numbers": [1, 1], "coordinates": positions}
    path = hdf5(
        tmp_path / "a.h5",
        {"A": {**common, "mp2.energy": energies}, "B": {**common, "hf.energy": energies}},
    )
    block = whole(Ani1x(path, "hf"))
    assert block.name == "B"
    assert block.rows.tolist() == [3, 4, 5]


def test_unknown_level_lists_those_there_are() -> None:
    path = real_data("atoms/modelforge_samples__ani1_n5.hdf5")
    with pytest.raises(
        SourceError, match=r"no b3lyp\.energy; choose data\.level from ccsd\(t\)_cbs, .*wb97x_tz"
    ):
        open_source(path, level="b3lyp")


def test_ani1_reads_symbols_energies_and_no_forces(tmp_path: Path) -> None:
    positions, energies, _ = springs(4)
    arrays = {
        "species": np.array([b"O", b"H"]),
        "coordinates": positions,
        "energies": energies,
        "coordinatesHE": positions,
        "energiesHE": energies,
        "smiles": np.array([b"[", b"O"]),
    }
    path = hdf5(tmp_path / "a.h5", {"gdb11_s01/gdb11_s01-0": arrays, "gdb11_s01/gdb11_s01-1": arrays})
    source = open_source(path)
    blocks = list(source.blocks())
    assert [b.name for b in blocks] == ["gdb11_s01/gdb11_s01-0", "gdb11_s01/gdb11_s01-1"]
    assert blocks[1].rows.tolist() == [4, 5, 6, 7]
    assert blocks[0].numbers.tolist() == [8, 1]
    assert np.allclose(blocks[0].energies, energies * HARTREE)
    assert np.isnan(blocks[0].forces).all()
    assert any("coordinatesHE" in note for note in source.notes)


def test_ani1_takes_the_sample_that_is_really_ani1x() -> None:
    source = open_source(real_data("atoms/modelforge_samples__ani1_n5.hdf5"), "ani1")
    assert sum(len(b) for b in source.blocks()) == 8
    assert any("ANI-1x" in note for note in source.notes)


def test_ani2x_is_taken_apart_by_composition() -> None:
    path = real_data("atoms/modelforge_samples__ani2x_minimal.hdf5")
    blocks = list(open_source(path).blocks())
    rows = np.concatenate([b.rows for b in blocks])
    assert np.array_equal(np.sort(rows), np.arange(5706))
    assert {b.name for b in blocks} >= {"HF", "CO", "N2", "Cl2"}
    hydrogen_fluoride = next(b for b in blocks if b.name == "HF")
    with h5py.File(path) as raw:
        energies, forces = (raw[f"002/{key}"][:][hydrogen_fluoride.rows] for key in ("energies", "forces"))
    assert np.allclose(hydrogen_fluoride.energies, energies * HARTREE)
    assert np.allclose(hydrogen_fluoride.forces, forces * HARTREE)
    for block in blocks:
        if len(block) > 50:
            assert slope(block) == pytest.approx(1, abs=0.05)


def test_ani2x_rows_keep_their_own_species(tmp_path: Path) -> None:
    positions, energies, forces = springs(4)
    species = [[1, 9], [6, 8], [1, 9], [8, 6]]
    arrays = {"species": species, "coordinates": positions, "energies": energies, "forces": forces}
    blocks = list(open_source(hdf5(tmp_path / "a.h5", {"002": arrays})).blocks())
    assert [(b.numbers.tolist(), b.rows.tolist()) for b in blocks] == [
        ([1, 9], [0, 2]),
        ([6, 8], [1]),
        ([8, 6], [3]),
    ]
    assert blocks[1].name == blocks[2].name == "CO"
    assert np.allclose(blocks[0].positions, positions[[0, 2]])


def test_spice_gradients_become_forces() -> None:
    path = real_data("atoms/modelforge_samples__SPICE-1.1.4_n2.hdf5")
    source = open_source(path)
    blocks = {b.name: b for b in source.blocks()}
    molecule = blocks["103147721"]
    with h5py.File(path) as raw:
        group = raw["103147721"]
        assert np.allclose(molecule.forces, -group["dft_total_gradient"][:].astype(float) * HARTREE / BOHR)
        assert np.allclose(molecule.positions, group["conformations"][:].astype(float) * BOHR)
        assert np.allclose(molecule.energies, group["dft_total_energy"][:] * HARTREE)
    assert slope(molecule) == pytest.approx(1, abs=0.1)
    assert slope(blocks["C#C.[Na+]"]) == pytest.approx(1, abs=0.2)
    assert any("dft_total_gradient holds gradients" in note for note in source.notes)
    assert source.level == "wB97M-D3(BJ)/def2-TZVPPD"


def test_spice_pulls_a_stretched_bond_back() -> None:
    path = real_data("atoms/modelforge_samples__SPICE-1.1.4_n2.hdf5")
    block = next(b for b in Spice(path).blocks() if b.name == "103147721")
    carbon, hydrogens = 0, np.flatnonzero(block.numbers == 1)
    distance = np.linalg.norm(block.positions[:, hydrogens] - block.positions[:, [carbon]], axis=2)
    bonded = hydrogens[distance.mean(axis=0).argmin()]
    bond = block.positions[:, bonded] - block.positions[:, carbon]
    length = np.linalg.norm(bond, axis=1)
    pull = ((block.forces[:, bonded] - block.forces[:, carbon]) * bond).sum(axis=1) / length
    assert np.corrcoef(length, pull)[0, 1] < -0.8


def test_spice_charge_is_the_formal_one() -> None:
    path = real_data("atoms/modelforge_samples__SPICE-1.1.4_n2.hdf5")
    with h5py.File(path) as raw:
        partial = raw["103147721"]["mbis_charges"][:].sum(axis=(1, 2))
    blocks = {b.name: b for b in Spice(path).blocks()}
    assert np.allclose(blocks["103147721"].charges, partial, atol=0.01)
    assert set(blocks["C#C.[Na+]"].charges) == {1}


@pytest.mark.parametrize(
    ("smiles", "charge"),
    [
        ("C#C", 0),
        ("[O-:1][S:2](=[O:3])([O-:4])=[O:5]", -2),
        ("[Ca+2:1].[Cl-:2]", 1),
        ("[Fe+++]", 3),
        ("[nH+:1]1[cH:2][13CH2-:3]1", 0),
        ("C-[C@@H:12]-C", 0),
    ],
)
def test_formal_charge(smiles: str, charge: int) -> None:
    assert formal_charge(smiles) == charge


def test_spice_in_other_units_is_refused_unless_they_are_given(tmp_path: Path) -> None:
    positions, energies, forces = springs(3)
    path = tmp_path / "a.h5"
    hdf5(
        path,
        {
            "H2": {
                "atomic_numbers": [1, 1],
                "conformations": positions,
                "dft_total_energy": energies,
                "dft_total_gradient": -forces,
            }
        },
    )
    with h5py.File(path, "a") as file:
        file["H2/conformations"].attrs["units"] = "angstrom"
    with pytest.raises(SourceError, match=r"conformations is in angstrom.*data\.units"):
        open_source(path)
    block = whole(open_source(path, units=Units("Hartree", "Angstrom", gradients=True)))
    assert np.allclose(block.positions, positions)
    assert np.allclose(block.forces, forces * HARTREE)
    assert block.charges.tolist() == [0, 0, 0]


def test_comp6_forces_are_negated_and_the_notes_say_so(tmp_path: Path) -> None:
    positions, energies, forces = springs(50)
    arrays = {
        "species": np.array([b"H", b"H"]),
        "coordinates": positions,
        "energies": energies,
        "forces": -forces,
    }
    path = hdf5(tmp_path / "s66x8.h5", {"set/mol0": arrays})
    source = open_source(path)
    block = whole(source)
    assert np.allclose(block.forces, forces * HARTREE)
    assert slope(block) == pytest.approx(1, abs=0.01)
    assert source.notes == ["forces holds gradients, +dE/dx: it was negated."]
    true_forces = open_source(path, "comp6", units=Units("Hartree"))
    assert slope(whole(true_forces)) == pytest.approx(-1, abs=0.01)
    assert true_forces.notes == []


def test_aimnet2_has_charge_and_multiplicity() -> None:
    path = real_data("atoms/aimnet2_sample__dataset.h5")
    blocks = list(open_source(path).blocks())
    assert sum(len(b) for b in blocks) == 195
    charges, spins = (np.concatenate([getattr(b, key) for b in blocks]) for key in ("charges", "spins"))
    assert set(charges) == {-3, -2, -1, 0, 1, 2}
    assert set(spins) == {1, 2, 3}
    first = next(b for b in blocks if b.rows[0] == 0)
    with h5py.File(path) as raw:
        assert first.energies[0] == raw["007/energy"][0]
        assert np.allclose(first.forces[0], raw["007/forces"][0])
        assert first.numbers.tolist() == raw["007/numbers"][0].tolist()
    for block in blocks:
        electrons = int(block.numbers.astype(int).sum()) - block.charges.astype(int)
        assert ((electrons - (block.spins.astype(int) - 1)) % 2 == 0).all()


def test_hdf5_is_read_in_slices(tmp_path: Path) -> None:
    positions, energies, forces = springs(STEP + 3)
    arrays = {"atomic_numbers": [1, 1], "coordinates": positions}
    labels = {"wb97x_dz.energy": energies, "wb97x_dz.forces": forces}
    source = open_source(hdf5(tmp_path / "a.h5", {"H2": {**arrays, **labels}}))
    assert [len(b) for b in source.blocks()] == [STEP, 3]
    assert np.array_equal(whole(source).rows, np.arange(STEP + 3))


def test_units_can_be_overridden(tmp_path: Path) -> None:
    positions, energies, forces = springs(3)
    labels = {"wb97x_dz.energy": energies, "wb97x_dz.forces": forces}
    path = ani1x_file(tmp_path / "a.h5", **labels)
    source = open_source(path, units=Units("kcal/mol", "Bohr", gradients=True))
    block = whole(source)
    assert np.allclose(block.positions, positions * BOHR)
    assert np.allclose(block.energies, energies * KCAL)
    assert np.allclose(block.forces, -forces * KCAL / BOHR)
    assert source.units == "kcal/mol, Bohr, gradients in kcal/mol/Bohr"


def test_hdf5_of_the_wrong_layout_names_the_keys(tmp_path: Path) -> None:
    _, energies, _ = springs(3)
    path = ani1x_file(tmp_path / "a.h5", **{"hf.energy": energies})
    with pytest.raises(
        SourceError, match=r"a\.h5: group /H2 has no conformations.*it has atomic_numbers, coord"
    ):
        open_source(path, "spice")
    path = hdf5(tmp_path / "b.h5", {"x": {"foo": [1.0], "bar": [2.0]}})
    with pytest.raises(
        SourceError, match=r"b\.h5: group /x has bar, foo, which is none of the known layouts"
    ):
        open_source(path)


def test_hdf5_arrays_that_disagree_are_refused(tmp_path: Path) -> None:
    path = ani1x_file(tmp_path / "a.h5", **{"wb97x_dz.energy": np.zeros(2)})
    with pytest.raises(
        SourceError, match=r"group /H2 has 3 frames in coordinates, but 2 in wb97x_dz\.energy"
    ):
        list(open_source(path).blocks())
    positions, energies, _ = springs(3)
    arrays = {"species": np.array([b"H", b"Q"]), "coordinates": positions, "energies": energies}
    path = hdf5(tmp_path / "b.h5", {"x": arrays})
    with pytest.raises(SourceError, match=r"b\.h5: group /x: species 'Q'"):
        list(open_source(path).blocks())
    arrays["species"] = np.array([1, 257])
    with pytest.raises(SourceError, match=r"c\.h5: x: atomic numbers .* got 257"):
        list(open_source(hdf5(tmp_path / "c.h5", {"x": arrays})).blocks())


def test_empty_or_broken_hdf5_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="holds no arrays"):
        open_source(hdf5(tmp_path / "a.h5", {}))
    (tmp_path / "b.h5").write_text("not hdf5")
    with pytest.raises(SourceError, match=r"b\.h5: not a readable HDF5 file"):
        open_source(tmp_path / "b.h5")


def comp6_arrays(**more: Any) -> dict[str, Any]:
    positions, energies, forces = springs(3)
    return {"species": [1, 1], "coordinates": positions, "energies": energies, "forces": forces} | more


@pytest.mark.parametrize(
    ("more", "charges", "spins"),
    [
        ({"total_charge": np.array([0, 1, -1])}, [0, 1, -1], [0, 0, 0]),
        ({"charge": np.int8(-1), "uhf": np.array([1])}, [-1, -1, -1], [2, 2, 2]),
    ],
)
def test_hdf5_charges_are_read_by_their_synonyms(
    tmp_path: Path, more: dict[str, Any], charges: list[int], spins: list[int]
) -> None:
    source = open_source(hdf5(tmp_path / "a.h5", {"H2": comp6_arrays(**more)}))
    block = whole(source)
    assert (block.charges.tolist(), block.spins.tolist()) == (charges, spins)
    assert any(note.startswith("Total charge and multiplicity:") for note in source.notes)


def test_hdf5_padding_is_left_out_and_said(tmp_path: Path) -> None:
    path = hdf5(tmp_path / "a.h5", {"002": comp6_arrays(species=[[1, 1], [6, 0], [1, 1]])})
    source = open_source(path)
    assert [(b.numbers.tolist(), b.rows.tolist()) for b in source.blocks()] == [([1, 1], [0, 2]), ([6], [1])]
    assert "Atoms of atomic number 0 are padding and were left out." in source.notes


def test_hdf5_units_that_differ_from_the_layout_are_refused_for_every_reader(tmp_path: Path) -> None:
    path = hdf5(tmp_path / "a.h5", {"H2": comp6_arrays()})
    with h5py.File(path, "a") as file:
        file["H2/energies"].attrs["units"] = "eV"
    with pytest.raises(SourceError, match=r"a\.h5: energies is in eV, not as usual.*data\.units"):
        open_source(path)
    assert len(whole(open_source(path, units=Units()))) == 3


def test_hdf5_forces_of_another_name_are_named(tmp_path: Path) -> None:
    arrays = comp6_arrays()
    arrays["gradients"] = -arrays.pop("forces")
    path = hdf5(tmp_path / "a.h5", {"H2": arrays})
    source = open_source(path)
    assert np.isnan(whole(source).forces).all()
    assert any("gradients looks like forces" in note for note in source.notes)
    source = open_source(path, keys=LabelKeys(forces="gradients"), units=Units(gradients=True))
    assert np.allclose(whole(source).forces, -arrays["gradients"])


def test_hdf5_energies_of_another_shape_are_refused(tmp_path: Path) -> None:
    path = hdf5(tmp_path / "a.h5", {"H2": comp6_arrays(energies=np.zeros((3, 2)))})
    with pytest.raises(SourceError, match=r"group /H2: energies has shape \(3, 2\), expected one number"):
        list(open_source(path).blocks())
    (tmp_path / "b.h5").write_bytes(path.read_bytes()[:1000])
    with pytest.raises(SourceError, match=r"b\.h5: not a readable HDF5 file"):
        open_source(tmp_path / "b.h5")
