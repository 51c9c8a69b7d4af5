"""Predicted stresses of crystals beside the labels of a file."""

import numpy as np
import pytest
import torch
from ase.build import molecule
from ase.io import read, write
from typer.testing import CliRunner

from chemscale.models.potentials import build, save_potential
from chemscale.models.schnet import SchNetConfig
from chemscale.points.trained.prediction import predict_file
from chemscale.predict import app
from chemscale.structures.calculator import ChemscaleCalculator
from tests.helpers.crystals import strained


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model") / "model"
    save_potential(build(SchNetConfig(width=8, layers=1, cutoff=4.0), (1, 8, 13)), folder, {})
    return folder


def test_stresses_of_crystals_are_written_and_compared_and_molecules_have_none(model, tmp_path):
    frames = strained(3)
    write(tmp_path / "in.extxyz", [frames[0], molecule("H2O"), frames[1]], format="extxyz")
    found = predict_file(model, tmp_path / "in.extxyz", tmp_path / "out.extxyz", progress=False)
    out = read(tmp_path / "out.extxyz", ":")
    assert "stress" not in out[1].calc.results
    errors = []
    for atoms, label in ((out[0], frames[0]), (out[2], frames[1])):
        np.testing.assert_allclose(atoms.info["REF_stress"], label.get_stress(voigt=False), atol=1e-7)
        own = label.copy()
        own.calc = ChemscaleCalculator(model)
        np.testing.assert_allclose(atoms.calc.results["stress"], own.get_stress(), atol=1e-7)
        errors.append(own.get_stress(voigt=False) - label.get_stress(voigt=False))
    mae = 1e3 * np.abs(errors).mean()
    assert np.abs(found.errors.stress).mean() == pytest.approx(mae, rel=1e-5)
    assert found.errors.without_stress == 0
    assert any(line.startswith(f"stress component: MAE {mae:.2f}") for line in found.errors.summary())


def test_a_file_that_was_predicted_is_compared_with_its_labels_again(model, tmp_path):
    write(tmp_path / "in.extxyz", strained(2), format="extxyz")
    first = predict_file(model, tmp_path / "in.extxyz", tmp_path / "a.extxyz", progress=False)
    again = predict_file(model, tmp_path / "a.extxyz", tmp_path / "b.extxyz", progress=False)
    assert again.errors.stress == pytest.approx(first.errors.stress, abs=1e-4)


def test_the_command_takes_key_unit_and_sign(model, tmp_path):
    frames = strained(2)
    for atoms in frames:
        atoms.info["dft_stress"] = -atoms.get_stress(voigt=False) * 1602.1766
        del atoms.calc.results["stress"]
    write(tmp_path / "in.extxyz", frames, format="extxyz")
    arguments = [str(model), str(tmp_path / "in.extxyz"), "--device", "cpu", "--out"]
    refused = CliRunner().invoke(app, [*arguments, str(tmp_path / "c"), "--stress-unit", "psi"])
    assert "psi" in str(refused.exception)
    options = ["--stress-key", "dft_stress", "--stress-unit", "kbar", "--compression"]
    done = CliRunner().invoke(app, [*arguments, str(tmp_path / "a"), *options])
    assert done.exit_code == 0, done.output
    assert "dft_stress in 2 frames, in kbar, positive under compression" in done.output
    atoms = read(tmp_path / "a", "0", format="extxyz")
    np.testing.assert_allclose(atoms.info["REF_stress"], -frames[0].info["dft_stress"] / 1602.1766, atol=1e-7)
    plain = CliRunner().invoke(app, [*arguments, str(tmp_path / "b"), "--no-stress"])
    assert "stress component" not in plain.output
    assert "stress" not in read(tmp_path / "b", "0", format="extxyz").calc.results
