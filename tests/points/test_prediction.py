"""Prediction of a file: read as training reads, compared with its labels, which are kept apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write
from typer.testing import CliRunner

from chemscale.models.painn import PaiNNConfig
from chemscale.models.potential import BoundaryError, UnknownChargeError
from chemscale.models.potentials import build, save_potential
from chemscale.models.spookynet import SpookyNetConfig
from chemscale.points.trained.prediction import FileReading, Prediction, predict_file
from chemscale.predict import app
from chemscale.structures.blocks import SourceError
from chemscale.structures.sources.labels import CALCULATOR, LabelKeys
from tests.helpers.sources import BOHR, HARTREE, extxyz, hdf5, springs

ONES = np.ones((2, 3))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A potential of hydrogen that says it was trained on energy and forces of a calculator."""
    folder = tmp_path_factory.mktemp("model")
    potential = build(PaiNNConfig(width=4, layers=1, cutoff=3.0), (1,))
    data = {"kind": "extxyz", "labels": [vars(CALCULATOR)], "reading": {"units": None}}
    save_potential(potential, folder, {"data": data})
    return folder


def labelled(energy: float = -1.0, forces: np.ndarray = ONES, **info: Any) -> Atoms:
    atoms = Atoms("H2", [[0, 0, 0], [1, 0, 0]], info=info)
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
    return atoms


def predict(model: Path, path: Path, **reading: Any) -> tuple[Prediction, list[Atoms]]:
    out = path.parent / "out.xyz"
    out.unlink(missing_ok=True)
    found = predict_file(model, path, out, batch=2, device="cpu", reading=FileReading(**reading))
    return found, read(out, ":")


def test_labels_are_kept_apart_from_predictions(model: Path, tmp_path: Path) -> None:
    found, (first, _) = predict(model, extxyz(tmp_path / "a.xyz", [labelled(-1.0, tag=7), labelled(-2.0)]))
    assert found.notes == ["Labels: energy/forces of the calculator in 2 frames."]
    assert first.info["REF_energy"] == -1
    assert np.allclose(first.arrays["REF_forces"], 1)
    assert first.info["predicted_by"] == str(model)
    assert first.info["tag"] == 7
    assert first.get_potential_energy() - -1 == pytest.approx(found.errors.energy[0] / 1e3)


def test_a_predicted_file_is_compared_with_its_labels_again(model: Path, tmp_path: Path) -> None:
    first, frames = predict(model, extxyz(tmp_path / "a.xyz", [labelled()]))
    again, _ = predict(model, extxyz(tmp_path / "b.xyz", frames))
    assert again.errors.energy == pytest.approx(first.errors.energy)
    assert any("the model was trained on energy/forces of the calculator" in note for note in again.notes)


def test_predictions_are_never_taken_for_labels(model: Path, tmp_path: Path) -> None:
    frame = Atoms("H2", [[0, 0, 0], [1, 0, 0]])
    _, frames = predict(model, extxyz(tmp_path / "a.xyz", [frame]))
    found, (again,) = predict(model, extxyz(tmp_path / "b.xyz", frames))
    assert found.errors.energy == []
    assert "REF_energy" not in again.info


def test_the_labels_of_training_are_compared_where_a_file_has_two(model: Path, tmp_path: Path) -> None:
    path = extxyz(tmp_path / "a.xyz", [labelled(-1.0, REF_energy=-5.0)])
    trained, (kept,) = predict(model, path)
    given, _ = predict(model, path, keys=LabelKeys(energy="REF_energy"))
    assert given.errors.energy[0] - trained.errors.energy[0] == pytest.approx(4000)
    assert (kept.info["REF_energy"], kept.info["file_REF_energy"]) == (-1, -5)


def test_a_file_that_lacks_a_label_of_training_is_compared_with_those_it_has(
    model: Path, tmp_path: Path
) -> None:
    frame = labelled(-1.0)
    frame.calc.results.pop("forces")
    frame.info["REF_energy"], frame.arrays["REF_forces"] = -5.0, ONES
    found, _ = predict(model, extxyz(tmp_path / "a.xyz", [frame]))
    assert len(found.errors.forces) == 6
    assert "Labels: REF_energy/REF_forces in 1 frames." in found.notes


def test_labels_that_are_missing_are_counted_and_leave_averages_finite(model: Path, tmp_path: Path) -> None:
    half = np.array([[1.0, 1, 1], [np.nan, np.nan, np.nan]])
    found, _ = predict(model, extxyz(tmp_path / "a.xyz", [labelled(), labelled(np.nan, half)]))
    lines = found.errors.summary()
    assert [line.split("against ")[1] for line in lines] == [
        "1 labels (1 have none)",
        "1 labels (1 have none)",
        "9 labels (3 have none)",
    ]
    assert not any("nan" in line for line in lines)


def test_a_file_without_labels_says_so_and_names_what_looks_like_some(model: Path, tmp_path: Path) -> None:
    frame = Atoms("H2", [[0, 0, 0], [1, 0, 0]], info={"binding_energy": -1.0})
    found, _ = predict(model, extxyz(tmp_path / "a.xyz", [frame]))
    assert "energy: not compared, the file has no labels of it" in found.errors.summary()
    assert any("data.energy_key=binding_energy reads it" in note for note in found.notes)
    shown = CliRunner().invoke(
        app, [str(model), str(tmp_path / "a.xyz"), "--out", str(tmp_path / "b.xyz"), "--device", "cpu"]
    )
    assert "--energy-key binding_energy reads it" in shown.stdout


def test_a_file_is_read_in_the_units_of_the_training_data(model: Path, tmp_path: Path) -> None:
    bohr = tmp_path / "bohr"
    potential = build(PaiNNConfig(width=4, layers=1, cutoff=3.0), (1,))
    data = {"kind": "extxyz", "labels": [], "reading": {"units": {"energy": "Hartree", "length": "Bohr"}}}
    save_potential(potential, bohr, {"data": data})
    path = extxyz(tmp_path / "a.xyz", [labelled()])
    found, (frame,) = predict(bohr, path)
    assert frame.positions[1, 0] == pytest.approx(BOHR)
    assert frame.info["REF_energy"] == pytest.approx(-HARTREE)
    assert found.notes[0] == "The file was read in Hartree, Bohr, forces in Hartree/Bohr."
    _, (frame,) = predict(bohr, path, energy="eV", length="Angstrom")
    assert frame.positions[1, 0] == 1


def test_arrays_are_predicted_as_they_are_trained_on(model: Path, tmp_path: Path) -> None:
    positions, energies, forces = springs(3)
    np.savez(tmp_path / "a.npz", z=[1, 1], R=positions, E=energies, F=forces)
    found, frames = predict(model, tmp_path / "a.npz")
    assert (found.structures, len(found.errors.energy)) == (3, 3)
    assert [frame.info["row"] for frame in frames] == [0, 1, 2]
    arrays = {"species": [1, 1], "coordinates": positions, "energies": energies, "forces": forces}
    found, _ = predict(model, hdf5(tmp_path / "a.h5", {"H2": arrays}))
    assert len(found.errors.forces) == 18


def test_arrays_are_compared_by_the_keys_of_training(tmp_path: Path) -> None:
    potential = build(PaiNNConfig(width=4, layers=1, cutoff=3.0), (1,))
    reading = {"units": {"energy": "eV"}, "energy_key": "E_dft"}
    save_potential(potential, tmp_path / "m", {"data": {"kind": "Md17", "labels": [], "reading": reading}})
    positions, energies, forces = springs(2)
    np.savez(tmp_path / "a.npz", z=[1, 1], R=positions, E=energies + 5, E_dft=energies, F=forces)
    _, frames = predict(tmp_path / "m", tmp_path / "a.npz")
    assert [frame.info["REF_energy"] for frame in frames] == pytest.approx(energies)


def test_names_with_an_at_sign_are_names(model: Path, tmp_path: Path) -> None:
    assert predict(model, extxyz(tmp_path / "a@1.xyz", [labelled()]))[0].structures == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the file is empty"),
        ("0\n\n", "frame 0: it has no atoms"),
        ("2\n\nH 0 0 0\n", "frame 0: the file ends behind 1 of its 2 atoms"),
        ("1\n\nX 0 0 0\n", "frame 0: atomic numbers must lie in 1 … 118"),
        ("1\n\nH 0 0 nan\n", "frame 0: a coordinate is not finite"),
        ("1\ncharge=1+\nH 0 0 0\n", "frame 0: charge must be numbers, got '1\\+'"),
        ("1\ncharge=0.5\nH 0 0 0\n", "frame 0: charge must be whole numbers"),
        ("1\ncharge=0 total_charge=1\nH 0 0 0\n", "frame 0: it states the total charge more than once"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_by_its_name(
    model: Path, tmp_path: Path, content: str, message: str
) -> None:
    (tmp_path / "a.xyz").write_text(content)
    with pytest.raises(SourceError, match=rf"a\.xyz.*{message}"):
        predict(model, tmp_path / "a.xyz")
    assert [path.name for path in tmp_path.iterdir()] == ["a.xyz"]


def test_a_trajectory_without_frames_is_refused(model: Path, tmp_path: Path) -> None:
    write(tmp_path / "a.json", labelled(), format="json")
    from ase.db import connect

    database = connect(tmp_path / "a.json")
    database.delete([row.id for row in database.select()])
    with pytest.raises(SourceError, match=r"a\.json: there is no frame in it"):
        predict(model, tmp_path / "a.json")


def test_a_charge_that_the_model_cannot_know_is_refused_by_its_frame(tmp_path: Path) -> None:
    potential = build(PaiNNConfig(width=4, layers=1, cutoff=3.0), (1,))
    save_potential(potential, tmp_path / "model", {"data": {"electrons": [[0, 0]]}})
    path = extxyz(tmp_path / "a.xyz", [labelled(), labelled(), labelled(total_charge=1)])
    with pytest.raises(UnknownChargeError, match=r"a\.xyz, frame 2: A structure has charge \+1"):
        predict(tmp_path / "model", path)


def test_a_crystal_is_refused_by_its_frame_where_the_model_is_for_molecules(tmp_path: Path) -> None:
    config = SpookyNetConfig(width=4, layers=1, cutoff=3.0, electrostatics=True)
    save_potential(build(config, (1,)), tmp_path / "model")
    crystal = labelled()
    crystal.set_cell([5, 5, 5])
    crystal.pbc = True
    path = extxyz(tmp_path / "a.xyz", [labelled(), crystal])
    with pytest.raises(BoundaryError, match=r"a\.xyz, frame 1: A structure is periodic"):
        predict(tmp_path / "model", path)
