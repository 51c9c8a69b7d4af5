"""Training on the stresses of crystals beside molecules, run for real: to the end, on two ranks, resumed."""

import json
from pathlib import Path

import pytest
from ase.build import molecule
from ase.calculators.emt import EMT
from ase.io import write

from chemscale.records import State, find_records
from tests.helpers.crystals import strained
from tests.helpers.preloaded import python
from tests.helpers.runs import finish, rows, start

SMALL = [
    *(
        "task=potential",
        "model=schnet",
        "model.width=8",
        "model.layers=1",
        "model.cutoff=4.0",
        "logger=jsonl",
    ),
    *("data=structures", "data.path=frames.extxyz", "data.validation_fraction=0.2", "batch.frames=8"),
    *("data.references=minimum_norm", "trainer.accelerator=cpu", "trainer.log_every=2", "trainer.threads=1"),
]


OUTSIDE = "data.path=../frames.extxyz"


@pytest.fixture
def folder(tmp_path):
    """Aluminium in strained cells and water, so that batches hold both."""
    frames = strained(40)
    for seed in range(40):
        water = molecule("H2O")
        water.rattle(0.05, seed=seed)
        water.calc = EMT()
        water.get_forces()
        frames.append(water)
    write(tmp_path / "frames.extxyz", frames, format="extxyz")
    return tmp_path


def train(folder: Path, *arguments: str):
    return start(folder, [python(), "-m", "chemscale.train", *SMALL, *arguments])


def test_stresses_are_trained_on_beside_molecules_and_stand_in_the_record(folder):
    out = finish(train(folder, "loss.stress=300", "budget.steps=60", "trainer.validate_every=20"))
    ((directory, record),) = find_records(folder / "runs")
    assert record.state is State.DONE
    assert record.final.values["stress_mae"] > 0
    assert "meV/Å³" in out
    trained = [row["stress_loss"] for row in rows(directory) if "stress_loss" in row]
    assert len(trained) >= 20
    assert sum(trained[-5:]) < 0.7 * sum(trained[:5])
    manifest = json.loads(next(folder.glob("structures/*/manifest.json")).read_text())
    assert manifest["counts"]["with_stress"] == 40
    assert any("Stresses: stress in 40 of 80 frames" in note for note in manifest["notes"])


def test_what_cannot_be_trained_on_is_refused_by_its_key(folder):
    for seed, atoms in enumerate(frames := strained(20)):
        del atoms.calc.results["stress"]
        atoms.info["dft_stress"] = [float(seed)] * 6
    write(folder / "frames.extxyz", frames, format="extxyz")
    out = finish(train(folder, "loss.stress=300", "budget.steps=2"), status=2)
    assert "no training frame" in out
    assert "data.stress_key" in out
    out = finish(train(folder, "data.stress_key=dft_stress", "data.units.stress=psi", "budget.steps=2"), 2)
    assert "Unit 'psi' of stresses is not known" in out


@pytest.mark.slow
def test_two_ranks_learn_the_same_from_stresses_as_one(folder):
    one, two = folder / "one", folder / "two"
    arguments = (
        "loss.stress=300",
        "budget.steps=12",
        "trainer.validate_every=6",
        "data.path=../frames.extxyz",
    )
    found = []
    for each, ranks in ((one, 1), (two, 2)):
        each.mkdir()
        finish(train(each, *arguments, f"launcher.gpus_per_node={ranks}"))
        ((directory, record),) = find_records(each / "runs")
        found.append(([r["stress_loss"] for r in rows(directory) if "stress_loss" in r], record.final.values))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-3)
    assert found[0][1]["stress_mae"] == pytest.approx(found[1][1]["stress_mae"], rel=1e-3)
