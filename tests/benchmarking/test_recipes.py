"""Curves of trainings: averaged weights at every tenth, and errors that a run's own validation finds too."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
import torch

from chemscale.benchmarking.recipes import snapshots
from chemscale.common.paths import PACKAGE

SCRIPTS = Path(snapshots.__file__).parent
WATER = np.array([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])


def test_weights_are_copied_at_every_tenth_and_stay_as_they_were():
    taken = snapshots.Snapshots(30)
    weight = torch.zeros(2)
    for step in range(1, 31):
        weight.fill_(step)
        taken.stepped([weight])
    assert [step for step, _, _ in taken.taken] == list(range(3, 31, 3))
    assert [float(weights[0][0]) for _, _, weights in taken.taken] == list(range(3, 31, 3))


def test_a_run_whose_steps_are_no_multiple_of_ten_ends_with_its_last_step():
    assert snapshots.Snapshots(25).due[-1] == 25


def labelled(rng, count):
    for _ in range(count):
        frame = ase.Atoms("OH2", WATER + rng.normal(0, 0.05, (3, 3)))
        frame.info[snapshots.ENERGY] = float(rng.normal())
        frame.arrays[snapshots.FORCES] = rng.normal(size=(3, 3))
        yield frame


def test_errors_are_means_over_frames_and_components():
    frames = list(labelled(np.random.default_rng(0), 3))
    energies, forces = (torch.as_tensor(label) for label in snapshots.labels(frames))
    shifted = [(energies[:2] + 0.002, forces[:6] - 0.5), (energies[2:] - 0.004, forces[6:])]
    energy, force = snapshots.errors(shifted, frames)
    assert energy == pytest.approx((2 + 2 + 4) / 3)
    assert force == pytest.approx(500 * 2 / 3)


@pytest.mark.slow
def test_the_last_tenth_has_the_error_that_the_run_validates(tmp_path):
    rng = np.random.default_rng(0)
    files = {}
    for name, count in (("train", 20), ("validation", 8)):
        files[name] = str(tmp_path / f"{name}.extxyz")
        ase.io.write(files[name], list(labelled(rng, count)))
    files["test"] = str(shutil.copy(files["validation"], tmp_path / "test.extxyz"))
    work = {
        "files": files,
        "steps": 10,
        "seed": 0,
        "threads": 1,
        "overrides": ["task=potential", "model=schnet", "model.width=4", "model.layers=1", "batch.frames=4"],
    }
    (tmp_path / "work.json").write_text(json.dumps(work))
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / "chemscale_training.py"), "work.json"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "result.json").read_text())
    (record,) = tmp_path.glob("runs/*/*/record.json")
    validated = json.loads(record.read_text())["final"]["values"]
    assert found["steps"] == list(range(1, 11))
    assert found["forces_mae"][-1] == pytest.approx(validated["forces_mae"], rel=1e-6)
    assert found["energy_mae"][-1] == pytest.approx(validated["energy_mae"], rel=1e-6)
    assert found["forces_mae"][0] != found["forces_mae"][-1]
