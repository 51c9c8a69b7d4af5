"""What tests of launching share: small sweeps, and a SLURM of this machine."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from chemscale.common.paths import CONFIG_DIRECTORY
from chemscale.launchers.ledger import load_ledger
from chemscale.launchers.settings import PointJob
from chemscale.records import PointPlan, RunRecord, find_records
from tests.helpers.preloaded import python
from tests.helpers.runs import SMALL

SLURM = ["launcher=slurm", "site=loopback", "launcher.signal_seconds=30"]


def run(
    folder: Path, *arguments: str, status: int = 0, module: str = "chemscale.train", timeout: float = 300
):
    """Output of a verb that ended with this status."""
    done = subprocess.run(
        [python(), "-m", module, *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        env=dict(os.environ),
        check=False,
    )
    assert done.returncode == status, done.stdout
    return done.stdout


def sweep(smiles_file: Path, *arguments: str) -> list[str]:
    return [*SMALL, "data=smiles", f"data.path={smiles_file}", *arguments]


def launch(folder: Path, *arguments: str, status: int = 0) -> str:
    return run(folder, *arguments, status=status, module="chemscale.launch")


def records(root: Path) -> dict[int, RunRecord]:
    """By width."""
    return {record.config["model"]["width"]: record for _, record in find_records(root)}


def directory(root: Path, width: int) -> Path:
    return next(d for d, r in find_records(root) if r.config["model"]["width"] == width)


def slurm(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def job_field(job: str, field: str) -> str:
    line = slurm("scontrol", "show", "job", "-o", job)
    return next(part.split("=", 1)[1] for part in line.split() if part.startswith(f"{field}="))


def batch_script(cluster: Path, job: str) -> int:
    """Process id of the script of a job that runs, of a cluster in a folder."""
    number = int(job_field(job, "JobId"))
    found = subprocess.run(
        ["pgrep", "-f", rf"{cluster}/spool/.*/job{number:05d}/slurm_script"],
        capture_output=True,
        text=True,
        check=True,
    )
    return int(found.stdout.split()[0])


def wait(what: str, ready, seconds: float = 180):
    """Until `ready` gives something true, which is returned."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = ready()
        if found:
            return found
        time.sleep(0.2)
    raise AssertionError(f"after {seconds} s: not {what}\n{slurm('squeue', '-r', '-t', 'all')}")


def wait_for_end(root: Path, seconds: float = 240) -> str:
    """Until the newest finish job has ended; its state."""

    def ended():
        state = job_field(load_ledger(root).finish_jobs[-1], "JobState")
        waiting = slurm("squeue", "-h", "-r", "-o", "%i").split()
        return state not in ("PENDING", "RUNNING", "COMPLETING") and not waiting and state

    return wait("the sweep ended", ended, seconds)


def wait_for_step(folder: Path, step: int) -> None:
    def reached():
        path = folder / "metrics.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        seen = [json.loads(line)["step"] for line in lines if line.endswith("}")]
        return bool(seen) and seen[-1] >= step

    wait(f"{folder} at step {step}", reached)


def config(*overrides: str) -> dict:
    with initialize_config_dir(str(CONFIG_DIRECTORY), version_base=None):
        found = OmegaConf.to_container(compose("train", list(overrides)), resolve=True)
    assert isinstance(found, dict)
    return found


def job(order: int = 0, **changes) -> PointJob:
    plan = PointPlan("id", Path("runs/x/id"), "n", 1, 1, 1, 1, 1, order=order)
    return PointJob(plan, {**config("launcher=slurm"), **changes}, [])


def start(folder: Path, arguments: list[str]) -> subprocess.Popen:
    """The command that trains, in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "chemscale.train", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
