"""Calibrations of real runs, and where they are read again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from ase.io import read
from typer.testing import CliRunner

from chemscale.evaluate import app as evaluate
from chemscale.models.potentials import PotentialError
from chemscale.points.trained.prediction import predict_file
from chemscale.points.uncertainty.evaluation import evaluate_uncertainty
from chemscale.points.uncertainty.opening import open_uncertain
from chemscale.predict import app as predict
from chemscale.structures.uncertainty.last_layer import FILE


@pytest.fixture
def sweep(seeds: Path, tmp_path: Path) -> Path:
    """A copy of the sweep, to write into."""
    shutil.copytree(seeds / "runs", tmp_path / "runs")
    return tmp_path / "runs" / "seeds"


def test_a_last_layer_is_made_once_from_the_training_frames(sweep: Path):
    run = sorted(p for p in sweep.iterdir() if (p / "record.json").exists())[0]
    first = open_uncertain(run, device="cpu")
    file = run / "model" / FILE
    written = file.stat().st_mtime_ns
    about = first.model.factors.about
    assert about["frames"] == len(first.frames().training())
    assert first.calibrated
    assert set(about["calibrations"]) == {"energy", "forces"}
    again = open_uncertain(run, device="cpu")
    assert file.stat().st_mtime_ns == written
    assert again.model.energy_factor == first.model.energy_factor
    shutil.copytree(run / "model", sweep.parent / "alone")
    assert not open_uncertain(sweep.parent / "alone", device="cpu").record
    (sweep.parent / "alone" / FILE).unlink()
    with pytest.raises(PotentialError, match=r"directory of its run"):
        open_uncertain(sweep.parent / "alone", device="cpu")


def test_evaluate_calibrates_a_sweep_and_what_opens_it_later_reads_it(sweep: Path):
    plain = open_uncertain(sweep, device="cpu")
    assert not plain.calibrated
    done = CliRunner().invoke(evaluate, [str(sweep), "--uncertainty"], catch_exceptions=False)
    assert done.exit_code == 0
    assert "Student of 3 members" in done.stdout
    (kept,) = sweep.glob("committee-*.json")
    factor = json.loads(kept.read_text())["calibrations"]["forces"]["factor"]
    later = open_uncertain(sweep, device="cpu")
    assert later.calibrated
    assert later.model.forces_factor == pytest.approx(factor)
    assert json.loads(kept.read_text())["fitted"].endswith("validation frames")
    again = evaluate_uncertainty(sweep, device="cpu")  # of the plain deviations: not of the factor of before
    assert again.calibrations["forces"].factor == pytest.approx(factor)


def test_a_sweep_is_not_taken_for_molecules(sweep: Path):
    with pytest.raises(ValueError, match="is a sweep: give one of its runs"):
        CliRunner().invoke(evaluate, [str(sweep)], catch_exceptions=False)


def test_evaluate_calibrates_a_run_and_keeps_a_file_for_people(sweep: Path):
    run = sorted(p for p in sweep.iterdir() if (p / "record.json").exists())[0]
    done = CliRunner().invoke(evaluate, [str(run), "--uncertainty"], catch_exceptions=False)
    assert done.exit_code == 0
    kept = json.loads((run / "uncertainty.json").read_text())
    assert kept["calibrations"]["energy"]["factor"] == open_uncertain(run, device="cpu").model.energy_factor


@pytest.mark.parametrize("kind", ["committee", "last layer"])
def test_predict_writes_deviations_and_says_how_errors_compare(
    kind: str, sweep: Path, seeds: Path, tmp_path: Path
):
    run = sorted(p for p in sweep.iterdir() if (p / "record.json").exists())[0]
    source = sweep if kind == "committee" else run
    out = tmp_path / "out.extxyz"
    arguments = [str(source), str(seeds / "frames.extxyz"), "--out", str(out), "--std", "--device", "cpu"]
    done = CliRunner().invoke(predict, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    assert "errors inside 1 and 2 σ" in done.stdout
    assert ("of 3 members" if kind == "committee" else "of the last layer") in done.stdout
    frames = read(out, ":")
    assert all(frame.info["energy_std"] > 0 for frame in frames)
    assert all(frame.arrays["forces_std"].shape == (len(frame), 3) for frame in frames)
    assert all(np.isfinite(frame.arrays["forces_std"]).all() for frame in frames)
    opened = open_uncertain(source, device="cpu")
    without = {"std": True, "forces": False, "device": "cpu"}
    predicted = predict_file(source, seeds / "frames.extxyz", tmp_path / "e.extxyz", **without)
    assert not any(note.startswith("force component") for note in predicted.notes)
    assert "forces_std" not in read(tmp_path / "e.extxyz", 0).arrays
    assert opened.calibrated == (kind != "committee")


def test_a_folder_that_is_a_sweep_is_told_from_a_run_without_std(sweep: Path, seeds: Path, tmp_path: Path):
    with pytest.raises(PotentialError, match="no potential there"):
        predict_file(sweep, seeds / "frames.extxyz", tmp_path / "o.xyz", device="cpu")
