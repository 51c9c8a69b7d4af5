"""An active-learning sweep from its command: rounds, and the same decisions again."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from chemscale.records import find_records
from chemscale.sweeps.active_learning_sweeper import ActiveLearningSweeper
from chemscale.sweeps.expansion import SweepError
from tests.helpers.preloaded import python

TOY = [
    "+sweep=active_learning", "data.count=144", "data.validation_frames=16", "model.width=4",
    "model.layers=1", "model.radial=4", "budget.steps=4", "trainer.validate_every=4", "logger=none",
    "trainer.accelerator=cpu", "hydra.sweeper.rounds=[24,32]", "hydra.sweeper.members=2",
    "hydra.sweeper.repeats=1", "hydra.sweeper.candidates=30", "data.references=minimum_norm",
    "data.prepare_workers=1", "lint=off",
]  # fmt: skip


def sweeper(**changed):
    settings = {
        "rounds": [2, 4], "methods": ["random"], "members": 2, "repeats": 1, "candidates": 5, "choose": "",
        "axes": {}, "points": [], "plan": "", "finish": "",
    }  # fmt: skip
    return ActiveLearningSweeper(**settings | changed)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"rounds": [4, 2]}, "rising"),
        ({"rounds": []}, "rising"),
        ({"methods": ["random", "random"]}, "once"),
        ({"members": 1}, "members=1"),
        ({"repeats": 0}, "repeats=0"),
    ],
)
def test_rounds_that_make_no_sense_are_refused(changed, why):
    with pytest.raises(SweepError, match=why):
        sweeper(**changed)


def test_other_keys_cannot_be_swept_beside_the_rounds():
    with pytest.raises(SweepError, match="sweep nothing else"):
        sweeper().sweep(["model.width=8,16"])


@pytest.mark.slow
def test_a_sweep_runs_in_rounds_and_the_same_command_decides_again_alike(tmp_path: Path):
    def run() -> str:
        done = subprocess.run(
            [python(), "-m", "chemscale.train", *TOY], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    first = run()
    assert "Round 2 of 2: 32 labelled frames." in first
    root = tmp_path / "runs/active_learning"
    records = {folder.name: record for folder, record in find_records(root)}
    assert len(records) == 2 + 2 * 2  # the first round is shared
    assert {record.data.unique_frames for record in records.values()} == {24, 32}
    found = json.loads((root / "active_learning.json").read_text())
    assert [curve["method"] for curve in found["curves"]] == ["random", "uncertain"]
    assert found["curves"][0]["errors"][0][0] == found["curves"][1]["errors"][0][0]
    assert (root / "active_learning.png").exists()
    lists = {path.name: path.read_text() for path in (root / "selections").iterdir()}
    # Interrupted: the lists and a run of the second round are gone, and come back as they were.
    lost = next(folder for folder, record in find_records(root) if record.name.startswith("uncertain"))
    shutil.rmtree(root / "selections")
    shutil.rmtree(lost)
    again = run()
    assert again.count(" done: validation") == 1
    assert {path.name: path.read_text() for path in (root / "selections").iterdir()} == lists
    assert {folder.name for folder, _ in find_records(root)} == set(records)
    assert json.loads((root / "active_learning.json").read_text()) == found
