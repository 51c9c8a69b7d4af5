"""What is asked of a launcher, site profiles, the snapshot, and points as processes of this machine."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from chemscale.common.paths import own_folder, site_folders
from chemscale.common.sections import read_section
from chemscale.launchers.ledger import load
from chemscale.launchers.local import read_gpus
from chemscale.launchers.section import LaunchError, LauncherSettings
from chemscale.launchers.settings import PointJob, Shape, Site, launcher_name, levels
from chemscale.launchers.slurm.environment import foreign
from chemscale.launchers.slurm.queue import read_accounting
from chemscale.launchers.snapshot import take_snapshot
from chemscale.launchers.status import Row, console, table
from chemscale.launchers.worker import lost_peer
from chemscale.records import State
from tests.helpers.launch import config, job, launch, records, rows, run, sweep


def launcher(*overrides: str) -> LauncherSettings:
    return read_section(LauncherSettings, config(*overrides)["launcher"], "launcher")


def test_one_rank_one_point_at_a_time_stays_in_the_commands_own_process():
    assert launcher().in_process
    assert not launcher("launcher.gpus_per_node=2").in_process
    assert not launcher("launcher.parallel=2").in_process
    assert not launcher("launcher=slurm").in_process


def test_gpus_are_asked_for_unless_the_cpu_is():
    assert Shape.of(config("launcher=slurm", "launcher.gpus_per_node=8")).with_gpus
    assert not Shape.of(config("launcher=slurm", "trainer.accelerator=cpu")).with_gpus


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("launcher.nodes=0", "launcher.nodes=0: give a whole number, at least 1"),
        ("launcher.minutes=1.5", "launcher.minutes=1.5"),
        ("launcher.memory_gib=-1", "launcher.memory_gib=-1"),
        ("launcher.max_attempts=0", "launcher.max_attempts=0"),
        ("launcher.signal_seconds=5", "at least 10"),
        ("launcher.signal_seconds=3600", "told to save itself when it begins"),
    ],
)
def test_a_number_that_makes_no_sense_is_refused_by_its_key(override, words):
    with pytest.raises(LaunchError) as refused:
        Shape.of(config("launcher=slurm", override))
    assert words in str(refused.value)


def test_a_site_profile_is_found_among_ours_and_in_the_users_own_folder(tmp_path, monkeypatch):
    assert Site.of(config()).partition is None
    assert Site.of(config("site=loopback")).partition == "main"
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "mine.yaml").write_text(
        "defaults: [none]\npartition: gpu\nextra: {exclusive: true}\n"
    )
    monkeypatch.setenv("CHEMSCALE_CONFIG", str(tmp_path))
    assert site_folders() == [tmp_path, own_folder()]
    mine = Site.of(config("site=mine"))
    assert (mine.partition, mine.extra, mine.modules) == ("gpu", {"exclusive": True}, ())


def test_every_profile_of_ours_has_the_keys_that_a_profile_has(monkeypatch):
    monkeypatch.setenv("CHEMSCALE_IMAGE", "/images/chemscale.sif")
    known = set(yaml.safe_load((own_folder() / "site" / "none.yaml").read_text()))
    for path in (own_folder() / "site").glob("*.yaml"):
        assert set(yaml.safe_load(path.read_text())) - {"defaults"} <= known
        Site.of(config(f"site={path.stem}"))
    with pytest.raises(LaunchError, match=r"site\.walltime"):
        Site.of({"site": {"walltime": 3}})


def test_one_sweep_has_one_launcher():
    assert launcher_name([job(), job()]) == "slurm"
    with pytest.raises(LaunchError, match="local and slurm"):
        launcher_name([job(), job(launcher=config()["launcher"])])


def test_only_points_of_one_trunk_wait_for_each_other():
    def point(order: int, width: int, tokens: float) -> PointJob:
        found = config("launcher=slurm", f"model.width={width}")
        return job(order, model=found["model"], budget=found["budget"] | {"tokens": tokens})

    chain = [point(0, 16, 1e5), point(80, 16, 2e5), point(160, 16, 4e5)]
    other = [point(0, 32, 1e5), point(99, 32, 2e5)]
    assert levels([*chain, *other]) == [0, 1, 2, 0, 1]
    assert levels([chain[2], other[1]]) == [0, 0]


def test_an_error_that_only_says_that_another_rank_is_gone_is_told_from_others():
    assert lost_peer(RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:2"))
    wrapped = RuntimeError("in a step")
    wrapped.__cause__ = ConnectionResetError("Connection reset by peer")
    assert lost_peer(wrapped)
    assert not lost_peer(ValueError("loss is not finite"))


WHERE = "from importlib.util import find_spec; print(find_spec('chemscale.train').origin)"


def test_a_snapshot_is_named_by_its_content_and_says_what_it_is_of(tmp_path):
    first, again = take_snapshot(tmp_path), take_snapshot(tmp_path)
    assert first == again
    assert (first / "REVISION").read_text().strip()
    assert (first / "launch" / "site" / "none.yaml").exists()
    assert not list(first.rglob("*.pyc"))
    found = subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlib.util import find_spec as f; print(f('chemscale.train').origin)",
        ],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(first), "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == str(first / "chemscale" / "train.py")


def test_more_nodes_than_this_machine_is_are_refused(tmp_path, smiles_file):
    arguments = sweep(smiles_file, "model.width=8,16", "budget.steps=8", "launcher.nodes=2")
    assert "this machine is one node" in run(tmp_path, *arguments, status=2)
    assert not list(tmp_path.rglob("record.json"))


def test_without_slurm_the_error_says_how_to_try(tmp_path, smiles_file, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    arguments = sweep(smiles_file, "launcher=slurm", "model.width=8,16", "budget.steps=8")
    assert "chemscale launch cluster up" in run(tmp_path, *arguments, status=2)


def test_verbs_of_launch_say_where_nothing_was_launched(tmp_path):
    for verb in ("status", "cancel", "requeue-failed"):
        assert "nothing was launched here" in launch(tmp_path, verb, "runs/none", status=2)


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


def start(folder: Path, arguments: list[str]) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "chemscale.train", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def rank_of(root: Path, width: int) -> int:
    """Process id of the rank that trains this width, once all running points have logged something."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            ledger = load(root)
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


def test_a_reason_with_brackets_in_it_is_shown_as_it_is(capsys):
    reason = "failed: [/src/gloo/pair.cc:553] Connection closed by peer [127.0.0.1]:2"
    row = Row("n", "id", reason, "", "", "1 of 3", "7_0", "FAILED", "node1", "")
    shown = console()
    shown.width = 240
    shown.print(table([row]))
    assert reason in capsys.readouterr().err


def test_gpus_are_named_by_what_they_are_and_divided_ones_by_their_parts():
    told = (
        "GPU 0: NVIDIA H100 (UUID: GPU-aaa)\n"
        "  MIG 3g.40gb     Device  0: (UUID: MIG-bbb)\n"
        "  MIG 3g.40gb     Device  1: (UUID: MIG-ccc)\n"
        "GPU 1: NVIDIA H100 (UUID: GPU-ddd)\n"
    )
    assert read_gpus(told) == ["MIG-bbb", "MIG-ccc", "GPU-ddd"]


def test_elements_of_an_array_that_never_began_are_told_apart():
    found = read_accounting("7_[1-3,6%2]|CANCELLED by 1000|0:0|None assigned\n7_0|COMPLETED|0:0|node1\n")
    assert {job: state.state for job, state in found.items()} == {
        **{f"7_{n}": "CANCELLED" for n in (1, 2, 3, 6)},
        "7_0": "COMPLETED",
    }


def test_a_job_sees_nothing_of_the_allocation_it_was_submitted_from():
    around = {
        "SLURM_CONF": "/etc/slurm.conf",
        "SLURM_JOB_ID": "7",
        "SLURM_CPU_BIND": "cores",
        "SBATCH_ACCOUNT": "mine",
        "SBATCH_PARTITION": "debug",
        "MASTER_ADDR": "node1",
        "HOME": "/home/me",
    }
    assert set(foreign(around, ["partition"])) == {
        "SLURM_JOB_ID",
        "SLURM_CPU_BIND",
        "SBATCH_PARTITION",
        "MASTER_ADDR",
    }
