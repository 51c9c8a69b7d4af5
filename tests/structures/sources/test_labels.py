"""Which energy and forces of a file are its labels: one place a file, said, and named where it must be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from chemscale.structures.blocks import Block, SourceError
from chemscale.structures.sources import ase_files, open_source
from chemscale.structures.sources.combined import open_sources
from chemscale.structures.sources.labels import CALCULATOR, LabelKeys, Labels
from tests.helpers.sources import extxyz, molecule, whole

ONES = np.ones((2, 3))


def labelled(info: dict[str, Any] | None = None, **results: Any) -> Atoms:
    atoms = molecule(**(info or {}))
    if results:
        atoms.calc = SinglePointCalculator(atoms)
        atoms.calc.results = results
    return atoms


def with_array(name: str, values: np.ndarray, **info: Any) -> Atoms:
    atoms = molecule(**info)
    atoms.arrays[name] = values
    return atoms


def read(path: Path, frames: list[Atoms], **reading: Any) -> tuple[Block, list[str]]:
    source = open_sources([extxyz(path / "a.xyz", frames)], reading)
    return whole(source), source.notes


def test_labels_of_two_places_are_not_mixed_in_a_file(tmp_path: Path) -> None:
    frames = [molecule(REF_energy=-1.0)] * 2 + [labelled(energy=-2.0, forces=ONES)] * 38
    block, notes = read(tmp_path, frames)
    assert np.isnan(block.energies[:2]).all()
    assert set(block.energies[2:]) == {-2}
    assert notes[0] == "Labels: energy/forces of the calculator in 38 of 40 frames."
    assert "2 frames have labels in REF_energy/REF_forces only, and count as unlabelled" in notes[1]


def test_more_than_a_few_labels_in_another_place_are_refused_unless_keys_choose(tmp_path: Path) -> None:
    frames = [molecule(REF_energy=-1.0)] * 3 + [labelled(energy=-2.0, forces=ONES)] * 3
    with pytest.raises(
        SourceError, match=r"a\.xyz: of 6 labelled frames 3 .*REF_energy/REF_forces and 3 .*calculator only"
    ) as refused:
        read(tmp_path, frames)
    assert "else data.energy_key=REF_energy trains on the first" in str(refused.value)
    block, _ = read(tmp_path, frames, energy_key="REF_energy")
    assert np.isfinite(block.energies).tolist() == [True] * 3 + [False] * 3


def test_reference_labels_win_where_as_many_frames_have_them(tmp_path: Path) -> None:
    block, _ = read(tmp_path, [labelled({"REF_energy": -1.0}, energy=-2.0)] * 2)
    assert block.energies.tolist() == [-1, -1]


def test_a_place_that_most_frames_turn_out_not_to_have_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ase_files, "FIRST_FRAMES", 2)
    frames = [molecule(REF_energy=-1.0)] * 2 + [labelled(energy=-2.0)] * 3
    with pytest.raises(
        SourceError, match=r"a\.xyz: the first frames .*2 frames.*3 frames .*data\.energy_key"
    ):
        read(tmp_path, frames)
    block, _ = read(tmp_path, frames, energy_key="REF_energy")
    assert np.isfinite(block.energies).tolist() == [True, True, False, False, False]


def test_unlabelled_and_infinite_frames_count_as_missing(tmp_path: Path) -> None:
    frames = [molecule(REF_energy=e) for e in (-1.0, np.nan, np.inf)] + [molecule(note="no label")]
    block, notes = read(tmp_path, frames)
    assert np.isnan(block.energies).tolist() == [False, True, True, True]
    assert notes[0] == "Labels: REF_energy/REF_forces in 1 of 4 frames."
    assert "3 frames have neither energy nor forces: they weigh nothing." in notes
    assert "1 frames have infinite labels, which count as missing." in notes


def test_a_file_without_labels_is_refused_with_the_names_that_look_like_some(tmp_path: Path) -> None:
    frames = [with_array("MACE_forces", ONES, interaction_energy=-1.0)] * 2
    with pytest.raises(SourceError) as refused:
        read(tmp_path, frames)
    assert "no frame has an energy or forces" in str(refused.value)
    assert "data.energy_key=interaction_energy reads it" in str(refused.value)
    assert "data.forces_key=MACE_forces reads it" in str(refused.value)


@pytest.mark.parametrize("name", ["dft_forces", "MACE_forces", "forces_error"])
def test_forces_of_another_name_are_never_dropped_without_a_word(tmp_path: Path, name: str) -> None:
    frames = [with_array(name, ONES, REF_energy=-1.0)] * 2
    block, notes = read(tmp_path, frames)
    assert np.isnan(block.forces).all()
    assert f"No forces were read. {name} looks like forces: data.forces_key={name} reads it." in notes
    block, notes = read(tmp_path, frames, forces_key=name)
    assert np.allclose(block.forces, 1)
    assert block.energies.tolist() == [-1, -1]
    assert notes == [f"Labels: REF_energy/{name} (data.energy_key, data.forces_key) in 2 frames."]


def test_gradients_need_their_sign(tmp_path: Path) -> None:
    frames = [with_array("gradient", ONES, REF_energy=-1.0)] * 2
    _, notes = read(tmp_path, frames)
    assert any("data.forces_key=gradient data.units.gradients=true reads it" in note for note in notes)
    with pytest.raises(
        SourceError, match=r"forces_key=gradient names gradients.*data\.units\.gradients=true"
    ):
        read(tmp_path, frames, forces_key="gradient")
    block, _ = read(tmp_path, frames, forces_key="gradient", units={"gradients": True})
    assert np.allclose(block.forces, -1)
    block, _ = read(tmp_path, frames, forces_key="gradient", units={"gradients": False})
    assert np.allclose(block.forces, 1)


def test_keys_that_no_frame_has_are_refused_with_those_there_are(tmp_path: Path) -> None:
    frames = [with_array("force", ONES, REF_energy=-1.0)]
    with pytest.raises(
        SourceError, match=r"data\.forces_key=forze: no frame has it\. force looks like forces"
    ):
        read(tmp_path, frames, forces_key="forze")


def test_labels_in_two_places_can_be_joined_by_name(tmp_path: Path) -> None:
    frames = [with_array("REF_forces", ONES), with_array("REF_forces", ONES)]
    for atoms in frames:
        atoms.calc = SinglePointCalculator(atoms, energy=-1.0)
    block, notes = read(tmp_path, frames)
    assert np.isnan(block.energies).all()
    assert any("data.energy_key=energy reads them" in note for note in notes)
    block, _ = read(tmp_path, frames, energy_key="energy")
    assert (block.energies[0], block.forces[0, 0, 0]) == (-1, 1)


def test_the_energy_that_belongs_to_the_forces_is_the_free_energy(tmp_path: Path) -> None:
    frames = [labelled(energy=-1.0, free_energy=-1.25, forces=ONES)] * 2
    block, notes = read(tmp_path, frames)
    assert block.energies.tolist() == [-1.25, -1.25]
    assert notes[0] == "Labels: free_energy/forces of the calculator in 2 frames."
    assert "differs by up to 0.25" in notes[1]
    block, _ = read(tmp_path, frames, energy_key="energy")
    assert block.energies.tolist() == [-1, -1]


def test_a_free_energy_that_is_the_energy_needs_no_word(tmp_path: Path) -> None:
    frames = [labelled(energy=-1.0, free_energy=-1.0, forces=ONES), labelled(energy=-2.0, forces=ONES)]
    block, notes = read(tmp_path, frames)
    assert block.energies.tolist() == [-1, -2]
    assert notes == ["Labels: energy/forces of the calculator in 2 frames."]


def test_two_kinds_of_energy_are_not_mixed(tmp_path: Path) -> None:
    free, plain = labelled(energy=-1.0, free_energy=-1.25, forces=ONES), labelled(energy=-2.0, forces=ONES)
    block, notes = read(tmp_path, [free, free, plain])
    assert np.nan_to_num(block.energies).tolist() == [-1.25, -1.25, 0]
    assert np.allclose(block.forces, 1)
    assert any("1 frames have no energy in free_energy/forces" in note for note in notes)
    block, notes = read(tmp_path, [free, plain, plain])
    assert block.energies.tolist() == [-1, -2, -2]
    assert any("free_energy, which the forces belong to, stands beside energy" in note for note in notes)


def test_vasp_output_gives_the_free_energy(tmp_path: Path) -> None:
    atoms = Atoms("H2", [[0, 0, 0], [1, 0, 0]], cell=[4, 4, 4], pbc=True)
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0, free_energy=-1.5, forces=ONES)
    write(tmp_path / "a.traj", atoms)  # ASE's trajectory keeps what its VASP reader gives
    assert whole(open_source(tmp_path / "a.traj")).energies.tolist() == [-1.5]


def test_predictions_are_labels_only_where_there_are_no_others(tmp_path: Path) -> None:
    predicted = [labelled({"predicted_by": "run", "REF_energy": -1.0}, energy=-9.0, forces=ONES)]
    alone = [labelled({"predicted_by": "run"}, energy=-9.0, forces=ONES)] * 2
    block, _ = read(tmp_path, predicted + alone)
    assert np.nan_to_num(block.energies).tolist() == [-1, 0, 0]
    block, notes = read(tmp_path, alone)
    assert block.energies.tolist() == [-9, -9]
    assert notes[0] == "Labels: energy/forces that chemscale predicted in 2 frames."
    assert "2 frames were written by predict: their labels are predictions." in notes


def test_labels_of_training_come_first_where_they_are_preferred(tmp_path: Path) -> None:
    path = extxyz(tmp_path / "a.xyz", [labelled({"REF_energy": -1.0}, energy=-2.0)])
    source = ase_files.AseFile(path)
    trained = Labels(LabelKeys(), CALCULATOR)
    assert [found[1] for found in source.labelled(trained)] == [-2]


def test_charges_and_multiplicities_that_were_not_read_are_named(tmp_path: Path) -> None:
    frames = [molecule(REF_energy=-1.0, total_charge=1, spin_multiplicity=2, my_spin=2)]
    frames += [molecule(REF_energy=-1.0, total_charge=0, spin_multiplicity=2, my_spin=2)]
    block, notes = read(tmp_path, frames)
    assert block.charges.tolist() == [1, 0]
    assert block.spins.tolist() == [2, 2]
    assert any("were read from total_charge, spin_multiplicity" in note for note in notes)
    assert any(note.startswith("my_spin in 2 frames looks like") for note in notes)
    assert any("1 frames state a multiplicity" in note and "2 electrons" in note for note in notes)


@pytest.mark.parametrize(
    "energy", ["dft_energy", "TotEnergy", "total_energy", "U0", "E", "E_tot", "scf-energy"]
)
@pytest.mark.parametrize("forces", ["force", "F"])
def test_labels_of_any_name_are_read_where_one_looks_like_them(
    tmp_path: Path, energy: str, forces: str
) -> None:
    frames = [with_array(forces, ONES, **{energy: -1.0 - i}) for i in range(2)]
    block, notes = read(tmp_path, frames)
    assert block.energies.tolist() == [-1, -2]
    assert np.allclose(block.forces, 1)
    assert notes == [f"Labels: {energy}/{forces} (by name) in 2 frames."]


def test_an_energy_of_another_name_belongs_to_the_forces_of_the_calculator(tmp_path: Path) -> None:
    frames = [labelled({"total_energy": -3.0}, forces=ONES)] * 2
    block, notes = read(tmp_path, frames)
    assert block.energies.tolist() == [-3, -3]
    assert np.allclose(block.forces, 1)
    assert notes == ["Labels: total_energy/forces (by name) in 2 frames."]


def test_two_energies_that_disagree_are_refused_with_both_names(tmp_path: Path) -> None:
    frames = [molecule(hf_energy=-1.0, mp2_energy=-1.1)] * 2
    with pytest.raises(
        SourceError,
        match=r"a\.xyz: hf_energy and mp2_energy look like the total energy and hold different numbers: "
        r"choose by data\.energy_key=hf_energy or data\.energy_key=mp2_energy",
    ):
        read(tmp_path, frames)
    assert set(read(tmp_path, frames, energy_key="mp2_energy")[0].energies) == {-1.1}
    apart = [molecule(hf_energy=-1.0), molecule(mp2_energy=-1.1)]
    with pytest.raises(SourceError, match="stand in different frames"):
        read(tmp_path, apart)
    arrays = with_array("dft_forces", ONES, dft_energy=-1.0)
    arrays.arrays["xtb_forces"] = 2 * ONES
    with pytest.raises(SourceError, match=r"dft_forces and xtb_forces look like forces.*data\.forces_key"):
        read(tmp_path, [arrays])


def test_two_energies_that_agree_are_one_until_they_disagree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = [molecule(dft_energy=-1.0, total_energy=-1.0)] * 2
    block, notes = read(tmp_path, frames)
    assert block.energies.tolist() == [-1, -1]
    assert "total_energy holds the same numbers as dft_energy." in notes
    monkeypatch.setattr(ase_files, "FIRST_FRAMES", 1)
    frames[1] = molecule(dft_energy=-1.0, total_energy=-2.0)
    with pytest.raises(SourceError, match=r"frame 1: dft_energy and total_energy .* different numbers"):
        read(tmp_path, frames)


@pytest.mark.parametrize(
    "name",
    [
        *("interaction_energy", "formation_energy", "energy_above_hull", "kinetic_energy", "D3_energy"),
        *("MACE_energy", "energy_error", "energy_hartree", "zero_point_energy", "reaction_energy"),
        *("energy_per_atom", "predicted_energy", "homo_energy", "energy_correction", "nn_energy"),
    ],
)
def test_parts_of_energies_and_predictions_are_no_total_energies(tmp_path: Path, name: str) -> None:
    frames = [molecule(**{name: -9.0}, my_energy=-1.0)] * 2
    assert set(read(tmp_path, frames)[0].energies) == {-1}


def test_names_of_two_methods_are_not_put_together(tmp_path: Path) -> None:
    frames = [with_array("dft_forces", ONES, xtb_energy=-1.0)] * 2
    with pytest.raises(SourceError, match=r"data\.energy_key=xtb_energy reads it.*forces_key=dft_forces"):
        read(tmp_path, frames)


def test_an_energy_that_was_passed_over_is_named_where_it_differs(tmp_path: Path) -> None:
    frames = [labelled({"dft_energy": -1.5, "total_energy": -1.0}, energy=-1.0)] * 2
    block, notes = read(tmp_path, frames)
    assert block.energies.tolist() == [-1, -1]
    assert notes[1] == (
        "dft_energy looks like a total energy as well, differs from energy by up to 0.5 and was not read: "
        "data.energy_key=dft_energy reads it."
    )
    assert not any("total_energy looks" in note for note in notes)


def test_frames_that_turn_out_to_have_labels_in_a_known_place_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ase_files, "FIRST_FRAMES", 2)
    frames = [molecule(dft_energy=-1.0)] * 2 + [labelled(energy=-2.0)] * 3
    with pytest.raises(SourceError, match=r"2 have their labels in dft_energy/nothing \(by name\) and 3 in"):
        read(tmp_path, frames)
