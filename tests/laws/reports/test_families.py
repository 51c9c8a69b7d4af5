"""Several families on one axis: a law each, side by side, in one page."""

import json

import pytest

from chemscale.analysis.fit import fit_runs
from chemscale.laws.data.points import PointsError
from chemscale.records import Loss, Parameters, RunRecord, State

EXPONENTS = {"schnet": 0.15, "painn": 0.3}


def write_run(root, family: str, frames: int, loss: float, l_max: int | None = None) -> None:
    run = RunRecord(
        identity=f"{family}{l_max or ''}-{frames}",
        sweep="ladder",
        family=family,
        name=f"{family}-n{frames}",
        config={"model": {} if l_max is None else {"l_max": l_max}},
        versions={},
        git_revision=None,
        data_hash="data",
        seed=0,
        parameters=Parameters(500, 400, 300, 350, capacity=96),
        state=State.DONE,
        final=Loss(9, {"forces_mae": loss, "energy_mae": 2 * loss, "objective": loss}),
        truth={"atoms_per_second": 1000.0},
    )
    run.data.frames, run.data.atoms, run.data.unique_frames = 5000, 45000, frames
    run.save(root / run.identity)


@pytest.fixture
def families(tmp_path):
    for frames in (50, 200, 800, 3200):
        for family, beta in EXPONENTS.items():
            write_run(tmp_path / "ladder", family, frames, 900 * frames**-beta)
        for degree in (1, 2):
            write_run(tmp_path / "ladder", "nequip", frames, 900 * frames ** -(0.3 + 0.1 * degree), degree)
    return tmp_path / "ladder"


def test_each_family_and_degree_gets_its_own_law(families):
    outcome = fit_runs(families, command="the command", bootstrap=100)
    law = json.loads((families / "law" / "law.json").read_text())
    assert (law["axis"], law["unit"]) == ("frames", "forces_mae")
    found = {name: family["parameters"]["beta"] for name, family in law["rungs"].items()}
    expected = {"schnet": 0.15, "painn": 0.3, "nequip l=1": 0.4, "nequip l=2": 0.5}
    assert found == pytest.approx(expected, abs=1e-6)
    assert any(line.startswith("painn: ") and "β = 0.3 [" in line for line in outcome.lines)


def test_the_page_stands_alone_and_shows_every_run_and_figure(families):
    fit_runs(families, command="the command", bootstrap=100)
    page = (families / "law" / "report.html").read_text()
    assert page.count("painn-n") == 4
    assert "data:image/svg+xml;base64," in page
    assert "the command" in page
    assert "http" not in page.split("data:image")[0]
    assert {"ladder.png", "ladder.svg", "points.csv", "law.json"} <= {
        p.name for p in (families / "law").iterdir()
    }


def test_a_family_with_too_few_runs_gives_the_reason_and_the_others_stand(families):
    write_run(families, "mace", 50, 100.0)
    outcome = fit_runs(families, bootstrap=100)
    refused = next(line for line in outcome.lines if line.startswith("mace: no law."))
    assert len(refused) > len("mace: no law. ")
    assert sum("β = " in line for line in outcome.lines) == 4


def test_no_joint_law_is_sought_over_several_families(families):
    with pytest.raises(PointsError, match="no joint law"):
        fit_runs(families, forms=("additive",))


def test_forms_that_are_asked_for_are_fitted_to_every_family(families):
    law = fit_runs(families, forms=("power",), bootstrap=100).law
    assert law["kind"] == "ladder"
    assert {fit["form"] for rung in law["rungs"].values() for fit in rung["fits"]} == {"power"}
    assert {p["label"] for p in law["data"]["points"]} >= {"painn-n50", "schnet-n3200"}
