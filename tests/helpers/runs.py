"""Runs as a user starts them: processes in a folder, and what they leave."""

import json
import os
import subprocess
import time
from pathlib import Path

from chemscale.records import RunRecord
from tests.helpers.preloaded import python

SMALL = [
    "+sweep=chemgpt_sizes",
    "model.layers=2",
    "model.heads=4",
    "batch.tokens=512",
    "data.block=256",
    "data.validation_fraction=0.1",
    "trainer.accelerator=cpu",
    "trainer.log_every=4",
    "trainer.validate_every=8",
    "trainer.threads=1",
    "data.prepare_workers=1",
    "logger=jsonl",
]


COMPARED = ("train", "validation")


def train(
    folder: Path, smiles_file: Path, *arguments: str, small: list[str] = SMALL, interpreter: str | None = None
):
    """Start ``python -m chemscale.train`` on small settings; ``interpreter=sys.executable`` to kill it."""
    command = [interpreter or python(), "-m", "chemscale.train", *small, *arguments]
    return start(folder, [*command, "data=smiles", f"data.path={smiles_file}"])


def start(folder: Path, command: list[str]) -> subprocess.Popen:
    return subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=dict(os.environ)
    )


def finish(process, status: int = 0) -> str:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == status, output
    return output


def rows(directory: Path) -> list[dict]:
    lines = (directory / "metrics.jsonl").read_text().splitlines()
    return [row for line in lines if (row := json.loads(line))["kind"] in COMPARED]


def wait_for_step(folder: Path, step: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for path in folder.glob("runs/*/*/metrics.jsonl"):
            seen = [json.loads(line)["step"] for line in path.read_text().splitlines() if line.endswith("}")]
            if seen and seen[-1] >= step:
                return
        time.sleep(0.05)
    raise AssertionError(f"no run in {folder} reached step {step}")


def assert_same_run(whole: Path, cut: Path) -> None:
    """Weights and every logged number are the same to the bit."""
    assert (whole / "model" / "model.safetensors").read_bytes() == (
        cut / "model" / "model.safetensors"
    ).read_bytes()
    assert rows(whole) == rows(cut)
    a, b = RunRecord.load(whole), RunRecord.load(cut)
    assert (a.data, a.final, a.best, a.compute.flops) == (b.data, b.final, b.best, b.compute.flops)
