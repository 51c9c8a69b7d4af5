"""Points of one rank that share a job: each is alone in it, and its verdict is its own."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from chemscale.launchers import verdicts
from chemscale.launchers.commands import cancel, newest_log
from chemscale.launchers.ledger import Submission, load_ledger
from chemscale.launchers.slurm import arrays, bundle
from chemscale.launchers.slurm.finish import has_verdict
from chemscale.launchers.slurm.queue import JobState
from chemscale.launchers.slurm.resources import Site, SlurmResources
from chemscale.launchers.slurm.script import SHARING_LINES, point_lines
from chemscale.records import State
from tests.helpers.launch import (
    SLURM,
    config,
    directory,
    launch,
    records,
    run,
    slurm,
    sweep,
    wait_for_end,
    wait_for_step,
)
from tests.helpers.runs import rows
from tests.helpers.settings import jobs_in

TASK_1 = {
    "SUBMITIT_EXECUTOR": "slurm",
    "SLURM_JOB_ID": "7",
    "SLURM_ARRAY_JOB_ID": "7",
    "SLURM_ARRAY_TASK_ID": "0",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "1",
    "SLURM_NTASKS": "4",
    "SLURM_NODEID": "0",
    "SLURM_JOB_NUM_NODES": "1",
}


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """This process is task 1 of a job of four; gives the points that it trains."""
    for name, value in {**TASK_1, "SUBMITIT_FOLDER": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv(verdicts.TASK_VARIABLE, raising=False)
    calls = []

    def train(config, overrides, directory):
        from chemscale.training.distributed.ranks import main_port, this_rank

        calls.append((directory, this_rank("cpu"), main_port("7_0")))

    monkeypatch.setattr(bundle, "run_point", train)
    return calls


POINTS = [({}, [], "a"), ({}, [], "b"), ({}, [], "c")]


def test_a_task_trains_its_own_point_as_one_rank_alone(trained, monkeypatch):
    from chemscale.training.distributed.ranks import Ranks, main_port

    bundle.run_bundle(POINTS)
    ((directory, ranks, port),) = trained
    assert (directory, ranks) == ("b", Ranks())
    monkeypatch.setenv(verdicts.TASK_VARIABLE, "2")
    assert port != main_port("7_0"), "tasks of a job listen at ports of their own"


def test_a_point_that_is_at_its_end_is_left_alone_when_its_job_starts_again(trained):
    bundle.run_bundle(POINTS)
    for name, value in TASK_1.items():
        bundle.os.environ[name] = value
    bundle.run_bundle(POINTS)
    assert len(trained) == 1


def test_a_point_that_failed_is_not_tried_again_when_its_job_starts_again(trained, tmp_path):
    verdicts.verdict_path(tmp_path, "7_0", 1).write_text("ValueError: no")
    with pytest.raises(SystemExit) as ended:
        bundle.run_bundle(POINTS)
    assert ended.value.code == 1
    assert not trained


def test_a_task_beyond_the_points_has_nothing_to_do(trained):
    bundle.run_bundle(POINTS[:1])
    assert not trained


def test_a_verdict_is_of_the_task_that_left_it(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(bundle, "run_point", lambda *_: verdicts.write_verdict(ValueError("no")))
    bundle.run_bundle(POINTS)
    assert verdicts.read_verdict(tmp_path, "7_0", 1) == "ValueError: no"
    assert verdicts.read_verdict(tmp_path, "7_0", 0) is None
    assert verdicts.read_verdict(tmp_path, "7_0") == "ValueError: no"


# --- the ledger ---


@pytest.fixture
def queued(tmp_path, monkeypatch):
    """Five points, of which three share a job; sbatch is asked for nothing real."""
    own = config("launcher=slurm", "launcher.per_gpu=3")
    jobs = [
        replace(job, config={**job.config, "launcher": own["launcher"], "trainer": own["trainer"]})
        for job in jobs_in(tmp_path, *[{}] * 5)
    ]
    asked = []

    def sbatch(function, calls, *, options, **_):
        asked.append((function, calls, options))
        return [f"7_{number}" for number in range(len(calls))]

    monkeypatch.setattr(arrays, "sbatch", sbatch)
    ledger = Submission(jobs[0].root, "slurm", [], None, "", "", sweep=[j.plan.identity for j in jobs])
    for job in jobs:
        ledger.add(job)
    arrays.queue_points(ledger, jobs, [])
    return ledger, jobs, asked


def test_points_that_share_are_tasks_of_one_job_with_one_gpu(queued):
    ledger, jobs, ((function, calls, options),) = queued
    assert function is bundle.run_bundle
    assert [len(points) for (points,) in calls] == [3, 2]
    assert [(entry.jobs, entry.task) for entry in ledger.points.values()] == [
        (["7_0"], 0), (["7_0"], 1), (["7_0"], 2), (["7_1"], 0), (["7_1"], 1),
    ]  # fmt: skip
    assert SlurmResources.of(jobs[0]).per_gpu == 3
    assert options.parameters["ntasks_per_node"] == 3
    assert "--kill-on-bad-exit=0" in options.parameters["srun_args"]
    assert options.parameters["gpus_per_node"] == 1
    script = "\n".join(options.parameters["setup"])
    assert "CHEMSCALE_BUNDLED=1" in script
    assert "nvidia-cuda-mps-control -d" in script


def test_every_rank_of_a_job_sees_its_gpus_unless_the_site_binds_them(queued):
    ledger, jobs, asked = queued
    assert "--gpu-bind=none" in asked[0][2].parameters["srun_args"]
    for job in jobs:
        job.config["site"] = {"extra": {"gpu-bind": "closest"}}
    arrays.queue_points(ledger, jobs, [])
    assert not [a for a in asked[1][2].parameters["srun_args"] if "gpu-bind" in a]


def test_the_ledger_remembers_which_task_a_point_is(queued):
    ledger, _, _ = queued
    ledger.save()
    again = load_ledger(ledger.root)
    assert [entry.task for entry in again.points.values()] == [0, 1, 2, 0, 1]


def test_one_point_that_failed_says_nothing_of_those_beside_it(queued):
    ledger, _, _ = queued
    ledger.save()
    verdicts.verdict_path(ledger.folder, "7_0", 1).write_text("ValueError: no")
    ended = JobState("FAILED", "1:0")
    assert [has_verdict(ledger, f"id{n}", ended) for n in range(3)] == [False, True, False]


def test_the_log_of_a_point_is_that_of_its_task(queued):
    ledger, _, _ = queued
    ledger.save()
    for task in range(3):
        ledger.log_path("7_0", task).write_text("")
    assert newest_log(ledger.root, "id2", 0) == ledger.log_path("7_0", 2)


def test_who_cancels_a_point_is_told_which_points_go_with_it(queued, monkeypatch):
    ledger, _, _ = queued
    ledger.save()
    cancelled = []
    monkeypatch.setattr("chemscale.launchers.commands.queued_jobs", lambda: {"7_0": JobState("RUNNING")})
    monkeypatch.setattr("chemscale.launchers.commands.run_command", lambda *a: cancelled.append(a))
    names = [entry.name for entry in ledger.points.values()]
    assert cancel(ledger.root, ["id1"]) == f"cancelled: 7_0 (shared by {names[0]}, {names[2]})"
    assert cancelled == [("scancel", "7_0")]
    assert [e.cancelled for e in load_ledger(ledger.root).points.values()] == [True] * 3 + [False] * 2


# --- the batch script ---


@pytest.mark.parametrize(("status", "mps"), [(0, True), (1, False)], ids=["starts", "does not start"])
def test_a_batch_script_starts_the_service_for_its_points_and_ends_it(tmp_path, status, mps):
    programs = tmp_path / "bin"
    programs.mkdir()
    control = programs / "nvidia-cuda-mps-control"
    control.write_text(f'#!/bin/sh\necho "$*|$(cat)" >> {tmp_path}/asked\nexit {status}\n')
    control.chmod(0o755)
    lines = [*point_lines(Site(), tmp_path, tmp_path, [3], bundled=True), *SHARING_LINES]
    script = "\n".join(
        [*lines, 'echo "pipes=${CUDA_MPS_PIPE_DIRECTORY:-none}"; ls -d $CUDA_MPS_PIPE_DIRECTORY']
    )
    environment = {"PATH": f"{programs}:/usr/bin:/bin", "SLURM_JOB_ID": f"test-{tmp_path.name}"}
    done = subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    pipes = Path(f"/tmp/chemscale-mps-test-{tmp_path.name}")
    assert f"pipes={pipes if mps else 'none'}\n" in done.stdout, done
    assert ("points take turns" in done.stdout) is not mps
    assert (tmp_path / "asked").read_text().splitlines() == (["-d|", "|quit"] if mps else ["-d|"])
    assert not pipes.exists()


# --- on a real SLURM ---


@pytest.mark.slurm
def test_points_that_share_a_job_go_on_to_the_numbers_and_the_law_of_points_alone(
    cluster, tmp_path, smiles_file
):
    """Three points in two jobs: one is told to save itself while it trains, one fails at once."""
    short = ["model.width=8,16,24", "budget.steps=400", "trainer.checkpoint_steps=40"]
    alone, root = tmp_path / "alone", tmp_path / "runs" / "chemgpt_sizes"
    alone.mkdir()
    run(alone, *sweep(smiles_file, *short))
    twins = records(alone / "runs")
    blocked = root / twins[8].identity / "metrics.jsonl"  # where the metrics should go lies a folder
    blocked.mkdir(parents=True)
    launch(tmp_path, "submit", *sweep(smiles_file, *SLURM, *short, "launcher.per_gpu=2"))
    entries = load_ledger(root).points
    jobs = {entries[twins[width].identity].jobs[-1] for width in (8, 16, 24)}
    assert len(jobs) == 2
    for width in (16, 24):
        wait_for_step(root / twins[width].identity, 80)
    slurm("scancel", "--signal=USR2", entries[twins[16].identity].jobs[-1])
    assert wait_for_end(root) == "FAILED"
    found = records(root)
    assert {w: r.state for w, r in found.items()} == {8: State.FAILED, 16: State.DONE, 24: State.DONE}
    assert found[16].attempts == 2
    assert found[8].attempts == 1, "a verdict holds when the job starts again for the others"
    for width in (16, 24):
        assert rows(directory(root, width)) == rows(alone / "runs" / "chemgpt_sizes" / twins[width].identity)
    blocked.rmdir()
    launch(tmp_path, "requeue-failed", str(root))
    assert wait_for_end(root) == "COMPLETED"
    assert rows(directory(root, 8)) == rows(alone / "runs" / "chemgpt_sizes" / twins[8].identity)
