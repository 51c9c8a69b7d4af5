"""Running a block of commands as a reader would."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers.documents.blocks import ROOT, Block

SECONDS = 600


def plain_environment(home: Path) -> dict[str, str]:
    """Of a shell with the interpreter's commands first in PATH, one thread, and no settings of the user."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("CHEMSCALE_", "SLURM_"))}
    return {
        **kept,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}",
        "HOME": str(home),
        "MPLCONFIGDIR": str(home),
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "WANDB_MODE": "disabled",
        "NO_COLOR": "1",
    }


def execute(block: Block, folder: Path, environment: dict[str, str]) -> None:
    """Run a block, or write its file; what it said is in the failure."""
    if block.marker == "file":
        path = folder / block.said
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text)
        return
    command = ["bash", "-e", "-o", "pipefail", "-c", block.script()]
    if block.language == "python":
        (folder / ".block.py").write_text(block.text)
        command = ["python", ".block.py"]
    started = time.monotonic()
    done = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        said, _ = done.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(done.pid, 9)
        said, _ = done.communicate()
        pytest.fail(f"{block}: longer than {SECONDS} s\n{block.script()}\n{said[-4000:]}", pytrace=False)
    print(f"{block}: {time.monotonic() - started:.1f} s")
    if done.returncode:
        told = f"{block}: status {done.returncode}\n{block.script()}\n{said[-4000:]}"
        pytest.fail(told, pytrace=False)
