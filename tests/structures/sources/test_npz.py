"""npz trajectories: known numbers of real files, layouts made on the spot, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chemscale.structures.blocks import SourceError
from chemscale.structures.sources import Md17, open_source
from chemscale.structures.sources.grouped import STEP
from chemscale.structures.sources.labels import LabelKeys
from chemscale.structures.units import Units
from tests.helpers.paths import real_data
from tests.helpers.sources import KCAL, slope, springs, whole


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


def two_frames(**more: Any) -> dict[str, Any]:
    positions, energies, forces = springs(2)
    return {"z": [1, 1], "R": positions, "E": energies, "F": forces} | more


@pytest.mark.parametrize(
    ("arrays", "numbers"),
    [
        (two_frames(z=[[1, 1], [1, 1]]), [[1, 1]]),
        (two_frames(z=[[1], [1]]), [[1, 1]]),
        (two_frames(z=["H", "H"]), [[1, 1]]),
        (two_frames(z=[[1, 1], [6, 8]]), [[1, 1], [6, 8]]),
        (two_frames(z=[[1, 1], [6, 0]]), [[1, 1], [6]]),
    ],
)
def test_npz_atomic_numbers_may_be_those_of_every_frame(
    tmp_path: Path, arrays: dict[str, Any], numbers: list[list[int]]
) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    blocks = list(open_source(tmp_path / "a.npz").blocks())
    assert [block.numbers.tolist() for block in blocks] == numbers
    assert sum(len(block) for block in blocks) == 2


@pytest.mark.parametrize("shape", [(2, 1), (2, 1, 1)])
def test_npz_energies_may_have_axes_of_one(tmp_path: Path, shape: tuple[int, ...]) -> None:
    arrays = two_frames()
    np.savez(tmp_path / "a.npz", **arrays | {"E": arrays["E"].reshape(shape)})
    assert np.allclose(whole(open_source(tmp_path / "a.npz")).energies, arrays["E"] * KCAL)


def test_npz_of_one_frame_may_have_a_single_energy(tmp_path: Path) -> None:
    positions, energies, forces = springs(1)
    np.savez(tmp_path / "a.npz", z=[1, 1], R=positions, E=energies[0], F=forces)
    assert whole(open_source(tmp_path / "a.npz")).energies[0] == pytest.approx(energies[0] * KCAL)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (two_frames(z=np.array([1, None], object)), "z is an array of Python objects"),
        (two_frames(E=np.array([1.0, None], object)), "E is an array of Python objects"),
        (two_frames(z=[1, 1, 1]), r"z has shape \(3,\), expected \(2,\), or \(2, 2\) for 2 frames"),
        (two_frames(E=np.zeros((2, 3))), r"E has shape \(2, 3\), expected one number for each of 2 frames"),
        (two_frames(F=np.zeros((2, 3, 3))), r"F has shape \(2, 3, 3\), but R \(2, 2, 3\)"),
        (two_frames(R=np.zeros((2, 3))), r"R has shape \(2, 3\), expected \(frames, atoms, 3\)"),
        (two_frames(charge=[0, 1], total_charge=[0, 1]), "several arrays hold the total charge"),
        (two_frames(charge=[0.5, 0.0]), r"total charges must be whole numbers"),
        (two_frames(z=np.zeros(0), R=np.zeros((2, 0, 3)), F=np.zeros((2, 0, 3))), "row 0: no atoms"),
        (two_frames(energy_unit="eV", e_unit="Hartree"), "it states two units of energy"),
    ],
)
def test_npz_arrays_that_cannot_be_are_refused(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(SourceError, match=rf"a\.npz: .*{message}"):
        list(open_source(tmp_path / "a.npz").blocks())


def test_npz_charges_are_read_and_what_looks_like_one_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **two_frames(total_charge=[1, -1], uhf=1, my_charge=[0, 0]))
    source = open_source(tmp_path / "a.npz")
    block = whole(source)
    assert block.charges.tolist() == [1, -1]
    assert block.spins.tolist() == [2, 2]
    assert any(note.startswith("my_charge looks like a total charge") for note in source.notes)


def test_npz_labels_that_are_not_finite_are_missing(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **two_frames(E=[np.inf, 1.0]))
    assert np.isnan(whole(open_source(tmp_path / "a.npz")).energies).tolist() == [True, False]


def test_npz_labels_of_another_name_are_given(tmp_path: Path) -> None:
    arrays = two_frames()
    np.savez(tmp_path / "a.npz", z=arrays["z"], R=arrays["R"], E_dft=arrays["E"], gradients=-arrays["F"])
    with pytest.raises(SourceError, match=r"data\.energy_key and data\.forces_key"):
        open_source(tmp_path / "a.npz")
    source = open_source(tmp_path / "a.npz", keys=LabelKeys("E_dft"))
    assert np.allclose(whole(source).energies, arrays["E"] * KCAL)
    assert any("gradients looks like them: data.forces_key=gradients" in note for note in source.notes)
    source = open_source(
        tmp_path / "a.npz", keys=LabelKeys("E_dft", "gradients"), units=Units(gradients=True)
    )
    assert np.allclose(whole(source).forces, arrays["F"])


def test_a_broken_or_empty_npz_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **two_frames())
    (tmp_path / "b.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:-50])
    with pytest.raises(SourceError, match=r"b\.npz: not a readable npz file"):
        open_source(tmp_path / "b.npz")
    (tmp_path / "c.npz").touch()
    with pytest.raises(SourceError, match=r"c\.npz: the file is empty"):
        open_source(tmp_path / "c.npz")


def test_an_npz_of_crystals_is_not_read_as_molecules(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, z=[29], R=np.zeros((2, 1, 3)), E=[-1.0, -2.0], F=np.zeros((2, 1, 3)), lattice=np.eye(3))
    with pytest.raises(SourceError, match=r"has lattice, but npz is read as molecules.*extended XYZ"):
        Md17(path)


def test_what_is_no_npz_gives_no_advice_to_unpickle_it(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_text("hello")
    with pytest.raises(SourceError, match=r"a\.npz: not a readable npz file\.$"):
        open_source(tmp_path / "a.npz")
