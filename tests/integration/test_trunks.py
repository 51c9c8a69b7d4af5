"""A ladder of horizons from one trunk: cheaper than separate runs, and equal to them."""

from pathlib import Path

import pytest
import torch

from chemscale.records import State, find_records
from tests.helpers.runs import finish, rows, train

LADDER = [
    "model.width=8",
    "budget.steps=20,40,60",
    "schedule.warmup=4",
    "schedule.cooldown=0.2",
    "budget.tokens=null",
]


def records(folder: Path, sweep: str) -> dict:
    found = find_records(folder / "runs" / sweep)
    return {record.planned_steps: (directory, record) for directory, record in found}


@pytest.fixture(scope="module")
def ladder(tmp_path_factory, smiles_file):
    folder = tmp_path_factory.mktemp("ladder")
    settings = [*LADDER, "sweep_name=ladder"]
    output = finish(train(folder, smiles_file, *settings, "trunk=true"))
    finish(train(folder, smiles_file, *LADDER, "sweep_name=separate"))
    return folder, output


def test_a_ladder_equals_separate_runs_to_the_bit(ladder):
    folder, _ = ladder
    one, other = records(folder, "ladder"), records(folder, "separate")
    assert sorted(one) == sorted(other) == [20, 40, 60]
    for steps, (directory, record) in one.items():
        twin_directory, twin = other[steps]
        assert record.state is twin.state is State.DONE
        assert record.final == twin.final
        assert record.best == twin.best
        assert (record.data, record.compute.flops) == (twin.data, twin.compute.flops)
        assert rows(directory) == rows(twin_directory)
        weights = [
            torch.load(next((d / "checkpoints").glob(f"step-{steps:09d}.ckpt")), weights_only=True)
            for d in (directory, twin_directory)
        ]
        for key, value in weights[0]["state_dict"].items():
            assert torch.equal(value, weights[1]["state_dict"][key])


def test_a_record_tells_what_was_spent_from_what_was_inherited(ladder):
    folder, output = ladder
    found = records(folder, "ladder")
    shares = {steps: r.compute.inherited_flops / r.compute.flops for steps, (_, r) in found.items()}
    assert shares[20] == 0
    assert shares[40] == pytest.approx(16 / 40, rel=0.02)
    assert shares[60] == pytest.approx(32 / 60, rel=0.02)
    assert "begins from a shorter run's step 16 of 40" in output
    assert all(r.compute.inherited_flops == 0 for _, r in records(folder, "separate").values())


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("schedule.warmup=0.05", "a share of all steps"),
        ("schedule=cosine", "depend on the horizon from the first step"),
        ("trainer.validate_every=0.5", "must be a number of steps"),
        ("schedule.cooldown=0", "cools down over 0 of"),
    ],
)
def test_what_depends_on_the_horizon_is_refused_before_training(tmp_path, smiles_file, setting, words):
    output = finish(train(tmp_path, smiles_file, *LADDER, "trunk=true", setting), status=2)
    assert words in output
    assert not list(tmp_path.rglob("record.json"))
