"""Two gloo ranks on this machine, as submitit would start them."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tests.helpers.paths import ROOT
from tests.helpers.preloaded import python


def run_two_ranks(folder: Path, module: str, *arguments: str) -> Any:
    """What rank 0 prints last, as JSON, of a module that both ranks run."""
    started = []
    for rank in range(2):
        ids = {"JOB_ID": os.getpid(), "NTASKS": 2, "LOCALID": rank, "GLOBALID": rank}
        ids |= {"NNODES": 1, "NODEID": 0}
        place = {"SUBMITIT_EXECUTOR": "local", **{f"SUBMITIT_LOCAL_{k}": str(v) for k, v in ids.items()}}
        started.append(
            subprocess.Popen(
                [python(), "-m", module, str(folder), *arguments],
                env={**os.environ, **place, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                cwd=folder,
            )
        )
    ends = [process.communicate(timeout=300) for process in started]
    assert [process.returncode for process in started] == [0, 0], ends[0][1] + ends[1][1]
    return json.loads(ends[0][0].strip().splitlines()[-1])
