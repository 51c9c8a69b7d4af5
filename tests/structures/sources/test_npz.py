"""npz trajectories: known numbers of real files, layouts made on the spot, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chemscale.structures.blocks import SourceError
from chemscale.structures.sources import Md17, open_source
from chemscale.structures.sources.grouped import STEP
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
