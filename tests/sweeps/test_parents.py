"""A sweep whose points begin from a model that is trained first, or that is there already."""

from pathlib import Path

import pytest

from chemscale.sweeps.sweeper import of_parent, parent_overrides

OWN = {"sweep_name": "first", "data": "starter", "data.count": 500, "budget.epochs": 3}


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        (["runs=here", "trainer.accelerator=cpu"], ["runs=here", "trainer.accelerator=cpu"]),
        (["data=smiles", "data.path=my.csv", "sweep_name=mine"], []),
        (["budget.tokens=1e4", "++budget.epochs=2", "batch.tokens=512"], ["batch.tokens=512"]),
        (["data.molecules=5", "seed=0,1", "model.width=8"], ["model.width=8"]),
        (["optimizer.lr=1e-3", "seed=4"], ["optimizer.lr=1e-3"]),
    ],
)
def test_the_command_line_holds_for_the_parent_but_for_what_it_sets_itself(typed, kept):
    overrides = parent_overrides(typed, OWN, {"data.molecules", "seed"})
    assert overrides == [*kept, "sweep_name=first", "data=starter", "data.count=500", "budget.epochs=3"]


def test_points_are_given_the_folder_of_a_run_or_of_a_model(tmp_path):
    run = tmp_path / "a run"
    (run / "model").mkdir(parents=True)
    assert of_parent(run) == {
        "model.from=parent": f"model.from={run}",
        "data.tokenizer=parent": f"data.tokenizer={run / 'model'}",
    }
    model = run / "model"
    assert of_parent(model)["data.tokenizer=parent"] == f"data.tokenizer={model}"
    assert of_parent(Path("with, comma"))["model.from=parent"] == "model.from='with, comma'"
