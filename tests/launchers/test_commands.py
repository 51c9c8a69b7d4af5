"""The command `launch` where SLURM or a ledger is missing."""

from tests.helpers.launch import launch, run, sweep


def test_without_slurm_the_error_says_how_to_try(tmp_path, smiles_file, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    arguments = sweep(smiles_file, "launcher=slurm", "model.width=8,16", "budget.steps=8")
    assert "chemscale launch cluster up" in run(tmp_path, *arguments, status=2)


def test_verbs_of_launch_say_where_nothing_was_launched(tmp_path):
    for verb in ("status", "cancel", "requeue-failed"):
        assert "nothing was launched here" in launch(tmp_path, verb, "runs/none", status=2)
