"""A sweep that decides while it runs, on a real SLURM: no barrier, and a command that may be lost."""

import os
import signal

import pytest

from chemscale.launchers.ledger import load_ledger
from chemscale.records import State, find_records
from tests.helpers.launch import SLURM, batch_script, job_field, launch, run, slurm, start, sweep, wait
from tests.helpers.runs import rows
from tests.helpers.settings import OWN_RULE

pytestmark = pytest.mark.slurm

SETTINGS = [
    "+sweep=chemgpt_hparams",
    "model.width=8",
    "optimizer.lr=1e-3,1e-2",
    "batch.tokens=256,512",
    "budget.tokens=15000",
    "trainer.log_every=1",
    "trainer.validate_every=0.1",
    "hydra.sweeper.choose=own_rule.choose",
    "hydra.sweeper.rule.rungs=[0.1]",
]


def settings(folder, smiles_file, *arguments):
    (folder / "own_rule.py").write_text(OWN_RULE)
    kept = [a for a in sweep(smiles_file)[1:] if not a.startswith(("batch.", "trainer.log", "trainer.val"))]
    return [*SETTINGS, *kept, *arguments]


def outcome(root):
    found = {record.name: (directory, record) for directory, record in find_records(root)}
    return {name: (r.state, r.reason, r.final, rows(d)) for name, (d, r) in found.items()}


def test_a_command_that_is_killed_goes_on_to_the_same_decisions_and_nothing_waits_for_the_slowest(
    cluster, tmp_path, smiles_file
):
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    for folder in (alone, killed):
        folder.mkdir()
    run(alone, *settings(alone, smiles_file))
    root = killed / "runs" / "chemgpt_hparams"
    arguments = settings(killed, smiles_file, *SLURM, "launcher.parallel=2")
    head = start(killed, arguments)
    wait("a setting is queued", lambda: given(root))
    head.send_signal(signal.SIGINT)
    told, _ = head.communicate(timeout=60)
    assert head.returncode == 130, told
    assert "The jobs go on, and the same command decides what comes after them" in told
    head = start(killed, arguments)
    wait("a setting goes on", lambda: None in given(root).values())
    head.kill()
    head.communicate()
    assert slurm("squeue", "-h"), "its jobs go on"
    told = run(killed, *arguments)
    assert outcome(root) == outcome(alone / "runs" / "chemgpt_hparams")
    entries = list(load_ledger(root).points.values())
    assert [len(entry.jobs) for entry in entries] == [2, 2, 1, 1], "one job for each share"
    starts = {job: job_field(job, "StartTime") for entry in entries for job in entry.jobs}
    assert starts[entries[0].jobs[1]] < starts[entries[3].jobs[0]], "no barrier"
    assert "launcher.wait=true is forced" in told


def given(root):
    """What the points that have a job are to be trained to, by name; None for their end."""
    if not (root / "jobs" / "submission.json").exists():
        return {}
    return {entry.name: entry.config["pause"] for entry in load_ledger(root).points.values() if entry.jobs}


def test_settings_go_as_one_array_a_lost_one_starts_again_and_a_cancelled_one_does_not(
    cluster, tmp_path, smiles_file
):
    root = tmp_path / "runs" / "chemgpt_hparams"
    head = start(tmp_path, settings(tmp_path, smiles_file, *SLURM))
    wait("four settings are queued", lambda: len(given(root)) == 4)
    jobs = {entry.name: entry.jobs[0] for entry in load_ledger(root).points.values()}
    assert len({job.split("_")[0] for job in jobs.values()}) == 1, "one array"
    launch(tmp_path, "cancel", str(root), "lr0.01-b512")
    wait("the first one runs", lambda: job_field(jobs["lr0.001-b256"], "JobState") == "RUNNING")
    os.kill(batch_script(cluster.folder, jobs["lr0.001-b256"]), signal.SIGKILL)
    told, _ = head.communicate(timeout=240)
    entries = {entry.name: entry for entry in load_ledger(root).points.values()}
    assert len(entries["lr0.01-b512"].jobs) == 1
    assert "lr0.01-b512 ended short of 10 %" in told
    assert len(entries["lr0.001-b256"].jobs) == 3, "the share twice, and its end"
    assert f"lr0.001-b256: job {jobs['lr0.001-b256']} ended" in told
    states = {record.name: record.state for _, record in find_records(root)}
    assert [states[name] for name in ("lr0.001-b256", "lr0.001-b512")] == [State.DONE, State.DONE]
