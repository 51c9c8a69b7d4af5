"""Runs of several notations are families side by side, compared by what is the same in all of them."""

import json

import pytest

from chemscale.analysis.fit import fit_runs
from chemscale.analysis.records_to_points import families_of, notation_of
from chemscale.laws import PointsError
from chemscale.records import DataSeen, Loss, Parameters, RunRecord, State

SIZES = (10_000, 40_000, 160_000, 640_000)


def write_run(root, size, notation, *, heavy, molecules=500, key=True):
    config = {"model": {"family": "chemgpt"}, "data": {"notation": notation} if key else {}}
    losses = {"nats_per_token": heavy / 2, "nats_per_molecule": 25 * heavy, "nats_per_heavy_atom": heavy}
    record = RunRecord(
        identity=f"id{size}{notation}", sweep="s", family="chemgpt", name=f"{notation}-{size}", config=config,
        versions={}, git_revision=None, data_hash=f"data of {notation}", seed=0, state=State.DONE,
        parameters=Parameters(size + 300, size + 20, size + 10, size), final=Loss(9, losses),
        data=DataSeen(9, 1000, unique_tokens=1000, unique_molecules=molecules),
    )  # fmt: skip
    record.save(root / record.identity)


@pytest.fixture
def runs(tmp_path):
    for size in SIZES:
        write_run(tmp_path / "s", size, None, heavy=5 * size**-0.10, key=size > 20_000)
        write_run(tmp_path / "s", size, "smiles", heavy=5 * size**-0.15)
    return tmp_path / "s"


def test_each_notation_has_a_law_in_nats_per_heavy_atom(runs):
    outcome = fit_runs(runs, bootstrap=50)
    law = json.loads((runs / "law" / "law.json").read_text())
    assert law["unit"] == "nats_per_heavy_atom"
    assert set(law["rungs"]) == {"chemgpt selfies", "chemgpt smiles"}
    betas = {name: rung["parameters"]["beta"] for name, rung in law["rungs"].items()}
    assert betas["chemgpt selfies"] == pytest.approx(0.10, abs=1e-6)
    assert betas["chemgpt smiles"] == pytest.approx(0.15, abs=1e-6)
    assert any("Every notation has 500 training molecules" in line for line in outcome.lines)
    assert not any("different data" in line for line in outcome.lines)


def test_tokens_of_two_notations_are_not_compared(runs):
    with pytest.raises(PointsError, match=r"selfies, smiles.*not the same thing.*nats_per_heavy_atom"):
        fit_runs(runs, unit="nats_per_token", bootstrap=50)
    assert not (runs / "law").exists()


def test_notations_that_lack_molecules_are_said(runs):
    for size in SIZES:
        write_run(runs, size, "safe", heavy=5 * size**-0.12, molecules=480)
    outcome = fit_runs(runs, bootstrap=50)
    (note,) = [line for line in outcome.lines if "different numbers of training molecules" in line]
    assert "safe 480, selfies 500, smiles 500" in note
    assert "data.common_to" in note


def test_one_notation_is_fitted_as_before(tmp_path):
    for size in SIZES:
        write_run(tmp_path / "s", size, None, heavy=5 * size**-0.10, key=size > 20_000)
    law = fit_runs(tmp_path / "s", bootstrap=50).law
    assert law["unit"] == "nats_per_token"
    assert "rungs" not in law


def test_runs_from_different_weights_of_one_name_are_two_families(runs):
    found = [(path.parent, RunRecord.load(path.parent)) for path in sorted(runs.glob("*/record.json"))]
    found = [(folder, record) for folder, record in found if notation_of(record) == "selfies"]
    for number, (_, record) in enumerate(found):
        record.parent = {"name": "parent", "weights_sha256": f"{number % 2}" * 64}
    assert families_of(found[::2]) == ["chemgpt from parent"] * 2
    first, second = (f"chemgpt from parent (weights {digit * 8})" for digit in "01")
    assert families_of(found) == [first, second] * 2
