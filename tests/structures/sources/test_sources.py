"""Readers of data sets: known numbers of real files, layouts made on the spot, and what they refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from ase import Atoms
from ase import units as ase_units
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.db import connect
from ase.io import write

from chemscale.structures.blocks import Block, Source, SourceError
from chemscale.structures.sources import Ani1x, AseFile, Md17, Spice, open_source
from chemscale.structures.sources.grouped import STEP
from chemscale.structures.sources.hdf5 import formal_charge
from chemscale.structures.units import Units
from tests.helpers.paths import real_data

KCAL = ase_units.kcal / ase_units.mol
HARTREE, BOHR = ase_units.Hartree, ase_units.Bohr


def whole(source: Source) -> Block:
    """A source of one composition, as one block."""
    blocks = list(source.blocks())
    fields = ("positions", "energies", "forces", "rows", "charges", "spins")
    joined = {key: np.concatenate([getattr(b, key) for b in blocks]) for key in fields}
    return Block(name=blocks[0].name, numbers=blocks[0].numbers, **joined)


def slope(block: Block, frames: int = 300) -> float:
    """Energy differences of neighbouring frames against -F·dx: 1 where forces are -dE/dx, -1 for gradients.

    Neighbours are found by interatomic distances and laid upon each other, as trajectories tumble.
    """
    x = block.positions[:frames] - block.positions[:frames].mean(axis=1, keepdims=True)
    i, j = np.triu_indices(x.shape[1], 1)
    shape = np.linalg.norm(x[:, i] - x[:, j], axis=2)
    pairs = []
    for a in range(len(x)):
        distance = np.linalg.norm(shape - shape[a], axis=1)
        distance[a] = np.inf
        b = int(distance.argmin())
        u, _, v = np.linalg.svd(x[b].T @ x[a])
        turn = u @ np.diag([1, 1, np.sign(np.linalg.det(u @ v))]) @ v
        work = -((block.forces[a] + block.forces[b] @ turn) / 2 * (x[b] @ turn - x[a])).sum()
        pairs.append((distance[b], block.energies[b] - block.energies[a], work))
    _, energy, work = np.array(sorted(pairs))[: len(x) // 2].T
    return float((energy * work).sum() / (work**2).sum())


def springs(frames: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions (k, 2, 3), energies (k,) and true forces of two atoms on a spring, in any units."""
    random = np.random.default_rng(seed)
    positions = np.zeros((frames, 2, 3))
    positions[:, 1, 0] = random.uniform(0.5, 1.5, frames)
    stretch = positions[:, 1, 0] - 1
    forces = np.zeros_like(positions)
    forces[:, 0, 0], forces[:, 1, 0] = stretch, -stretch
    return positions, stretch**2 / 2 - 1, forces


def hdf5(path: Path, groups: dict[str, dict[str, Any]]) -> Path:
    with h5py.File(path, "w") as file:
        for name, arrays in groups.items():
            for key, values in arrays.items():
                file[f"{name}/{key}"] = values
    return path


def ani1x_file(path: Path, **labels: np.ndarray) -> Path:
    positions, _, _ = springs(3)
    return hdf5(path, {"H2": {"atomic_numbers": [1, 1], "coordinates": positions, **labels}})


# --- rMD17 and its kin ---


def test_rmd17_is_in_ev_and_centred() -> None:
    path = real_data("atoms/rmd17_ethanol.npz")
    source = open_source(path)
    block = whole(source)
    with np.load(path) as raw:
        assert block.energies[0] == pytest.approx(raw["energies"][0] * 0.0433641, rel=1e-6)
        assert np.allclose(block.forces, raw["forces"] * KCAL)
        assert np.allclose(np.diff(block.positions, axis=1), np.diff(raw["coords"], axis=1), atol=1e-5)
    assert len(block) == 9633
    assert np.array_equal(block.rows, np.arange(9633))
    assert block.numbers.tolist() == [6, 6, 8, 1, 1, 1, 1, 1, 1]
    assert source.level == "PBE/def2-SVP"
    assert source.units == "kcal/mol, Angstrom, forces in kcal/mol/Angstrom"
    assert any("centred" in note for note in source.notes)
    assert source.splits() is None


def test_benzene_comes_back_from_200_angstrom() -> None:
    block = whole(Md17(real_data("atoms/rmd17_benzene.npz")))
    assert np.abs(block.positions).max() < 3


def test_published_splits_are_positions_in_the_file() -> None:
    path = real_data("atoms/rmd17_ethanol.npz")
    parts = [Md17(path, split=i).splits() for i in range(1, 6)]
    for part in parts:
        assert part is not None
        assert {key: len(rows) for key, rows in part.items()} == {"train": 1000, "test": 1000}
    # The file is the union of the ten lists, which only positions in the file can be.
    rows = np.concatenate([part[key] for part in parts if part for key in part])
    assert np.array_equal(np.unique(rows), np.arange(9633))
    with np.load(path) as raw:
        assert not np.isin(rows, raw["old_indices"]).all()


def test_rmd17_and_ccsdt_forces_point_downhill() -> None:
    assert slope(whole(Md17(real_data("atoms/rmd17_ethanol.npz")))) == pytest.approx(1, abs=0.1)
    assert slope(
        whole(Md17(real_data("atoms/nff_ethanol_ccsdt__ethanol_ccsd_t-train.npz")))
    ) == pytest.approx(1, abs=0.1)


def test_ccsdt_ethanol_states_its_level() -> None:
    source = open_source(real_data("atoms/nff_ethanol_ccsdt__ethanol_ccsd_t-train.npz"))
    block = whole(source)
    assert source.level == "Psi4: CCSD(T), cc-pVTZ"
    assert block.energies.shape == (1000,)
    assert block.energies[0] == pytest.approx(-97089.07088252 * KCAL)


def test_sgdml_file_may_state_its_units(tmp_path: Path) -> None:
    positions, energies, forces = springs(5)
    arrays = {"z": [1, 1], "R": positions, "E": energies[:, None], "F": forces}
    np.savez(tmp_path / "a.npz", **arrays, e_unit="eV", r_unit="Ang")
    assert np.allclose(whole(Md17(tmp_path / "a.npz")).energies, energies)
    np.savez(tmp_path / "b.npz", **arrays, e_unit="bananas", r_unit="Ang")
    with pytest.raises(SourceError, match=r"b\.npz.*bananas.*data\.units"):
        Md17(tmp_path / "b.npz")
    assert np.allclose(whole(Md17(tmp_path / "b.npz", units=Units())).energies, energies)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npz_is_streamed_in_slices(tmp_path: Path, save: Any, order: str) -> None:
    positions, energies, forces = springs(2 * STEP + 1)
    save(tmp_path / "a.npz", z=[1, 1], R=np.array(positions, order=order), E=energies, F=forces.astype("f4"))
    source = Md17(tmp_path / "a.npz", units=Units())
    assert [len(b) for b in source.blocks()] == [STEP, STEP, 1]
    block = whole(source)
    assert np.array_equal(block.energies, energies)
    assert np.allclose(block.forces, forces, atol=1e-6)
    assert np.allclose(block.positions[:, 1] - block.positions[:, 0], positions[:, 1] - positions[:, 0])


def test_npz_without_forces_has_nan_forces(tmp_path: Path) -> None:
    positions, energies, _ = springs(3)
    np.savez(tmp_path / "a.npz", z=[1, 1], R=positions, E=energies)
    source = Md17(tmp_path / "a.npz")
    assert np.isnan(whole(source).forces).all()
    assert any("NaN" in note for note in source.notes)


def test_splits_of_the_rmd17_archive_are_found_beside_it(tmp_path: Path) -> None:
    positions, energies, forces = springs(6)
    (tmp_path / "npz_data").mkdir()
    (tmp_path / "splits").mkdir()
    path = tmp_path / "npz_data" / "rmd17_h2.npz"
    np.savez(path, nuclear_charges=[1, 1], coords=positions, energies=energies, forces=forces)
    (tmp_path / "splits" / "index_train_01.csv").write_text("4\n0\n")
    (tmp_path / "splits" / "index_test_01.csv").write_text("1\n2\n")
    parts = Md17(path, split=1).splits()
    assert parts is not None
    assert parts["train"].tolist() == [4, 0]
    with pytest.raises(SourceError, match=r"data\.split=2.*index_train_02\.csv"):
        Md17(path, split=2)


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [([0, 1], [1, 2], "trains on 1 of its test frames"), ([0, 9], [1], "of 6 frames")],
)
def test_splits_that_cannot_be_are_refused(
    tmp_path: Path, train: list[int], test: list[int], message: str
) -> None:
    positions, energies, _ = springs(6)
    np.savez(tmp_path / "a.npz", z=[1, 1], R=positions, E=energies, train_1=train, test_1=test)
    with pytest.raises(SourceError, match=message):
        Md17(tmp_path / "a.npz", split=1)
    with pytest.raises(SourceError, match="Splits in the file: 1"):
        Md17(tmp_path / "a.npz", split=7)


def test_npz_arrays_of_unequal_length_are_refused(tmp_path: Path) -> None:
    positions, energies, _ = springs(6)
    np.savez(tmp_path / "a.npz", z=[1, 1], R=positions, E=energies[:5])
    with pytest.raises(SourceError, match=r"a\.npz.*'R': 6, 'E': 5"):
        Md17(tmp_path / "a.npz")


# --- HDF5 releases ---


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


# --- ASE ---


def extxyz(path: Path, frames: list[Atoms]) -> Path:
    write(path, frames, format="extxyz")
    return path


def molecule(x: float = 0.74, **info: Any) -> Atoms:
    atoms = Atoms("H2", [[0, 0, 0], [x, 0, 0]])
    atoms.info.update(info)
    return atoms


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


def test_mixed_conventions_are_counted(tmp_path: Path) -> None:
    frames = [molecule(REF_energy=-1.0) for _ in range(3)]
    frames += [with_calculator(molecule(), energy=-2.0, forces=np.zeros((2, 3))) for _ in range(2)]
    source = open_source(extxyz(tmp_path / "a.xyz", frames))
    assert whole(source).energies.tolist() == [-1, -1, -1, -2, -2]
    assert source.notes == [
        "Labels: REF_energy/REF_forces in 3 frames; energy/forces of the calculator in 2 frames."
    ]


def test_labels_of_two_places_are_not_mixed_in_a_frame(tmp_path: Path) -> None:
    atoms = with_calculator(molecule(REF_energy=-2.0), energy=-1.0, forces=np.ones((2, 3)))
    source = open_source(extxyz(tmp_path / "a.xyz", [atoms]))
    assert np.isnan(whole(source).forces).all()
    assert any("have no forces in REF_energy/REF_forces" in note for note in source.notes)


def test_forces_alone_leave_the_energy_missing(tmp_path: Path) -> None:
    source = open_source(extxyz(tmp_path / "a.xyz", [with_calculator(molecule(), forces=np.ones((2, 3)))]))
    assert np.isnan(whole(source).energies[0])


def test_a_frame_without_labels_is_named(tmp_path: Path) -> None:
    frames = [molecule(REF_energy=-1.0), molecule(dft=-3.0)]
    path = extxyz(tmp_path / "a.xyz", frames)
    with pytest.raises(SourceError, match=r"a\.xyz, frame 1: it has neither energy nor forces.*dft"):
        list(open_source(path).blocks())


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


def test_ase_database_in_any_convention(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with connect(path) as database:
        database.write(with_calculator(molecule(), energy=-1.0, forces=np.ones((2, 3))))
        database.write(molecule(), REF_energy=-2.0, data={"REF_forces": np.full((2, 3), 2.0), "charge": 1})
        database.write(molecule(), data={"energy": np.array([-3.0]), "forces": np.full((2, 3), 3.0)})
        database.metadata = {"_distance_unit": "Ang"}
    source = open_source(path)
    block = whole(source)
    assert block.energies.tolist() == [-1, -2, -3]
    assert block.forces[:, 0, 0].tolist() == [1, 2, 3]
    assert block.charges.tolist() == [0, 1, 0]
    assert any("_distance_unit" in note for note in source.notes)
    assert any("info and arrays in 1 frames" in note for note in source.notes)


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


# --- choosing a reader ---


def test_missing_file_names_the_setting(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"data\.path=.*gone\.xyz: there is no such file"):
        open_source(tmp_path / "gone.xyz")


def test_unknown_suffix_and_format_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.foo"
    path.write_text("1 2 3\n")
    with pytest.raises(SourceError, match=r"a\.foo: not of a format that ASE knows.*\.npz \(MD17\)"):
        open_source(path)
    with pytest.raises(SourceError, match=r"data\.format='qm9': choose one of ani1x, "):
        open_source(path, "qm9")


def test_npz_of_another_layout_names_its_keys(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", pos=[1.0], energy=[2.0])
    with pytest.raises(SourceError, match=r"a\.npz: has pos, energy, which is none of the known layouts"):
        open_source(tmp_path / "a.npz")
    (tmp_path / "b.npz").write_text("no zip")
    with pytest.raises(SourceError, match=r"b\.npz: not a readable npz file"):
        open_source(tmp_path / "b.npz")


def test_level_and_split_are_refused_where_there_is_none_to_choose(tmp_path: Path) -> None:
    path = extxyz(tmp_path / "a.xyz", [molecule(REF_energy=-1.0)])
    with pytest.raises(SourceError, match=r"data\.split=1: .*format ase, which publishes no splits"):
        open_source(path, split=1)
    assert open_source(path, level="PBE").level == "PBE"
    positions, energies, _ = springs(3)
    arrays = {"species": np.array([b"H", b"H"]), "coordinates": positions, "energies": energies}
    with pytest.raises(SourceError, match=r"data\.level='hf': .*format ani1, which has one level only"):
        open_source(hdf5(tmp_path / "b.h5", {"x": arrays}), level="hf")


def test_format_overrides_the_suffix(tmp_path: Path) -> None:
    path = extxyz(tmp_path / "a.xyz", [molecule(REF_energy=-1.0)])
    assert isinstance(open_source(path, "ase"), AseFile)
    with pytest.raises(SourceError, match=r"a\.xyz: not a readable HDF5 file"):
        open_source(path, "spice")
