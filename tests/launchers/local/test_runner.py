"""Points as processes of this machine: beside each other, killed, and stopped."""

import os
import signal
import time
from pathlib import Path

import pytest

from chemscale.launchers.ledger import load_ledger
from chemscale.launchers.section import LaunchError
from chemscale.records import State
from tests.helpers.launch import records, run, start, sweep
from tests.helpers.runs import rows


def test_more_nodes_than_this_machine_is_are_refused(tmp_path, smiles_file):
    arguments = sweep(smiles_file, "model.width=8,16", "budget.steps=8", "launcher.nodes=2")
    assert "this machine is one node" in run(tmp_path, *arguments, status=2)
    assert not list(tmp_path.rglob("record.json"))


@pytest.mark.slow
def test_points_run_beside_each_other_and_one_that_is_killed_starts_again(tmp_path, smiles_file):
    """Two processes; the second point's is killed once. Both end as they do in one process."""
    together, alone = tmp_path / "together", tmp_path / "alone"
    for folder in (together, alone):
        folder.mkdir()
    long = [
        "model.width=8,16",
        "budget.steps=300",
        "trainer.checkpoint_steps=20",
        "trainer.validate_every=100",
    ]
    process = start(together, sweep(smiles_file, *long, "launcher.parallel=2"))
    root = together / "runs" / "chemgpt_sizes"
    victim = rank_of(root, 16)
    os.kill(victim, signal.SIGKILL)
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    assert "started again" in output
    run(alone, *sweep(smiles_file, *long))
    found = records(root)
    assert {w: (r.state, r.attempts) for w, r in found.items()} == {8: (State.DONE, 1), 16: (State.DONE, 2)}
    for width, record in found.items():
        twin = next(r for w, r in records(alone / "runs").items() if w == width)
        assert rows(root / record.identity) == rows(alone / "runs" / "chemgpt_sizes" / twin.identity)


@pytest.mark.slow
def test_after_ctrl_c_every_running_point_has_saved_itself(tmp_path, smiles_file):
    process = start(
        tmp_path, sweep(smiles_file, "model.width=8,16,32", "budget.steps=5000", "launcher.parallel=2")
    )
    root = tmp_path / "runs" / "chemgpt_sizes"
    rank_of(root, 16)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=100)
    assert process.returncode == 130, output
    assert "every running point saved itself" in output
    found = records(root)
    assert sorted(found) == [8, 16], "the third never began"
    assert {record.state for record in found.values()} == {State.PREEMPTED}
    assert all(list((root / r.identity / "checkpoints").glob("*.ckpt")) for r in found.values())


def rank_of(root: Path, width: int) -> int:
    """Process id of the rank that trains this width, once all running points have logged something."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            ledger = load_ledger(root)
        except LaunchError:
            ledger = None
        if ledger is not None:
            begun = [i for i, e in ledger.points.items() if e.jobs]
            logged = [i for i in begun if (root / i / "metrics.jsonl").exists() and rows(root / i)]
            wanted = [i for i in logged if ledger.points[i].config["model"]["width"] == width]
            if wanted and len(logged) >= 2:
                return process_of(ledger.points[wanted[0]].jobs[-1])
        time.sleep(0.2)
    raise AssertionError(f"width {width} does not train")


def process_of(name: str) -> int:
    for path in Path("/proc").glob("[0-9]*"):
        try:
            environment = (path / "environ").read_bytes()
        except OSError:
            continue
        if f"SUBMITIT_LOCAL_JOB_ID={name}\0".encode() in environment:
            return int(path.name)
    raise AssertionError(f"no process of {name}")
