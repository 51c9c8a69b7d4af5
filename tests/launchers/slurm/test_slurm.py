"""Sweeps on a real SLURM of three nodes: to the law, through failures, preemption and cancellation."""

import os
import signal
import time
from pathlib import Path

import pytest

from chemscale.launchers.ledger import load_ledger
from chemscale.records import State
from tests.helpers.launch import (
    SLURM,
    batch_script,
    directory,
    job_field,
    launch,
    records,
    run,
    slurm,
    sweep,
    wait,
    wait_for_end,
    wait_for_step,
)
from tests.helpers.runs import rows

pytestmark = pytest.mark.slurm


@pytest.fixture(scope="module")
def law(cluster, tmp_path_factory, smiles_file):
    """Two sizes on two nodes each, queued and left alone, then queued again while in flight."""
    folder = tmp_path_factory.mktemp("law")
    arguments = sweep(
        smiles_file, *SLURM, "model.width=8,16", "budget.steps=24", "launcher.nodes=2", "sweep_name=two"
    )
    told = launch(folder, "submit", *arguments, "+site.extra.hold=true")
    again = launch(folder, "submit", *arguments)
    ledger = load_ledger(folder / "runs" / "two")
    slurm("scontrol", "release", *{entry.jobs[-1].split("_")[0] for entry in ledger.points.values()})
    state = wait_for_end(folder / "runs" / "two")
    return folder / "runs" / "two", told, again, state


def test_a_sweep_on_two_nodes_a_point_ends_with_a_law_that_a_dependent_job_fitted(law):
    root, told, _, state = law
    found = records(root)
    assert {width: r.state for width, r in found.items()} == {8: State.DONE, 16: State.DONE}
    assert state == "COMPLETED"
    assert (root / "law" / "report.html").exists()
    ledger = load_ledger(root)
    jobs = [entry.jobs[-1] for entry in ledger.points.values()]
    assert all(job in told for job in jobs)
    assert len({job.split("_")[0] for job in jobs}) == 1, "one array"
    assert [job_field(job, "NumNodes") for job in jobs] == ["2", "2"]
    assert [job_field(job, "JobState") for job in jobs] == ["COMPLETED", "COMPLETED"]
    assert (ledger.folder / f"{jobs[0]}_1_log.out").exists(), "a log of the second rank"


def test_a_point_in_flight_is_not_queued_again(law):
    root, _, again, _ = law
    assert "0 points queued now, 2 of 2 in flight" in again
    ledger = load_ledger(root)
    assert [len(entry.jobs) for entry in ledger.points.values()] == [1, 1]
    assert job_field(ledger.finish_jobs[0], "JobState") == "CANCELLED", "the later job fits the law"


def test_what_ran_is_the_snapshot(law):
    root, _, _, _ = law
    code = Path(load_ledger(root).code)
    revision = (code / "REVISION").read_text().strip()
    assert code.parent == root / "code"
    assert {r.git_revision for r in records(root).values()} == {revision}
    assert (code / "chemscale" / "train.py").exists()
    assert (code / "conf" / "train.yaml").exists()


def test_status_and_logs_tell_how_it_went(law):
    root, _, _, _ = law
    table = launch(root.parent, "status", str(root))
    assert table.count("COMPLETED") == 3
    assert "24 of 24" in table
    assert "done: validation" in launch(root.parent, "logs", str(root), "chemgpt-w8-l2")
    assert "Report:" in launch(root.parent, "logs", str(root), "law")
    assert "has written nothing yet" in launch(
        root.parent, "logs", str(root), "chemgpt-w8-l2", "--rank", "7", status=2
    )


def test_a_failed_point_is_failed_in_slurm_is_not_tried_again_and_starts_again_when_asked(
    cluster, tmp_path, smiles_file
):
    run(tmp_path, *sweep(smiles_file, "model.width=8", "budget.steps=8", "sweep_name=probe"))
    identity = next(iter(records(tmp_path / "runs").values())).identity
    root = tmp_path / "runs" / "one_fails"
    blocked = root / identity / "metrics.jsonl"  # where the metrics should go lies a folder
    blocked.mkdir(parents=True)
    arguments = sweep(smiles_file, *SLURM, "model.width=8,16", "budget.steps=8", "sweep_name=one_fails")
    launch(tmp_path, "submit", *arguments)
    assert wait_for_end(root) == "FAILED"
    entry = load_ledger(root).points[identity]
    assert job_field(entry.jobs[-1], "JobState") == "FAILED"
    assert job_field(entry.jobs[-1], "ExitCode") == "1:0"
    assert len(entry.jobs) == 1
    assert {w: (r.state, r.attempts) for w, r in records(root).items()} == {
        8: (State.FAILED, 1),
        16: (State.DONE, 1),
    }
    assert (root / "law").is_dir(), "the law is fitted to what there is"
    blocked.rmdir()
    assert "chemgpt-w8-l2: job" in launch(tmp_path, "requeue-failed", str(root))
    assert wait_for_end(root) == "COMPLETED"
    assert records(root)[8].state is State.DONE


def test_preempted_killed_and_lost_points_go_on_to_the_same_numbers(cluster, tmp_path, smiles_file):
    """One is told to save itself, one loses its batch script."""
    long = [
        "model.width=8,16",
        "budget.steps=600",
        "trainer.checkpoint_steps=40",
        "trainer.validate_every=200",
    ]
    (tmp_path / "whole").mkdir()
    run(tmp_path / "whole", *sweep(smiles_file, *long))
    launch(tmp_path, "submit", *sweep(smiles_file, *SLURM, *long))
    root, whole = tmp_path / "runs" / "chemgpt_sizes", tmp_path / "whole" / "runs" / "chemgpt_sizes"
    names = {entry.config["model"]["width"]: identity for identity, entry in load_ledger(root).points.items()}
    jobs = {width: load_ledger(root).points[identity].jobs[-1] for width, identity in names.items()}
    for identity in names.values():
        wait_for_step(root / identity, 80)
    slurm("scancel", "--signal=USR2", jobs[16])  # the last element has the array's own number
    os.kill(batch_script(cluster.folder, jobs[8]), signal.SIGKILL)
    assert wait_for_end(root) == "COMPLETED"
    found = records(root)
    assert {w: r.state for w, r in found.items()} == {8: State.DONE, 16: State.DONE}
    assert found[8].attempts == 2
    assert found[16].attempts == 2
    assert len(load_ledger(root).points[names[16]].jobs) == 1, "the same job, queued again"
    assert len(load_ledger(root).points[names[8]].jobs) == 2, "healed by the job that ends the sweep"
    for width in (8, 16):
        assert rows(directory(root, width)) == rows(directory(whole, width))


def test_a_cancelled_sweep_saves_itself_stays_cancelled_and_goes_on_when_submitted_again(
    cluster, tmp_path, smiles_file
):
    arguments = sweep(
        smiles_file, *SLURM, "model.width=16", "budget.steps=3000", "trainer.checkpoint_seconds=600"
    )
    launch(tmp_path, "submit", *arguments)
    root = tmp_path / "runs" / "chemgpt_sizes"
    identity, entry = next(iter(load_ledger(root).points.items()))
    wait_for_step(root / identity, 20)
    assert entry.jobs[-1] in launch(tmp_path, "cancel", str(root))
    wait("the queue is empty", lambda: not slurm("squeue", "-h"))
    time.sleep(1)
    assert job_field(entry.jobs[-1], "JobState") == "CANCELLED"
    record = records(root)[16]
    assert record.state is State.PREEMPTED
    assert "SIGTERM at step" in record.reason
    assert "nothing to start again" in launch(tmp_path, "requeue-failed", str(root))
    assert "1 points queued now" in launch(tmp_path, "submit", *arguments)
    launch(tmp_path, "cancel", str(root))
    wait("the queue is empty", lambda: not slurm("squeue", "-h"))


def test_what_slurm_cannot_give_is_refused_in_words_and_nothing_stays_queued(cluster, tmp_path, smiles_file):
    arguments = sweep(smiles_file, *SLURM, "model.width=8,16", "budget.steps=8")
    many = launch(tmp_path, "submit", *arguments, "site.partition=nowhere", status=2)
    assert "SLURM refused the job" in many
    assert "site=NAME" in many
    gpus = [a for a in arguments if not a.startswith("trainer.accelerator")]
    told = launch(tmp_path, "submit", *gpus, status=2)
    assert "trainer.accelerator=cpu" in told
    assert not slurm("squeue", "-h")
