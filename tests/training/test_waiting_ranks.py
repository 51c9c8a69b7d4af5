"""Steps that are left out on several ranks, by whoever decides: the same run."""

import json
import os
import subprocess
import sys

import pytest

from tests.helpers.paths import ROOT
from tests.helpers.sick_rank import SPOILT

pytestmark = pytest.mark.slow


def run_two_ranks(folder, smiles_file, strategy, decides):
    started = []
    for rank in range(2):
        ids = {"JOB_ID": os.getpid(), "NTASKS": 2, "LOCALID": rank, "GLOBALID": rank}
        ids |= {"NNODES": 1, "NODEID": 0}
        place = {"SUBMITIT_EXECUTOR": "local", **{f"SUBMITIT_LOCAL_{k}": str(v) for k, v in ids.items()}}
        command = [sys.executable, "-m", "tests.helpers.sick_rank"]
        started.append(
            subprocess.Popen(
                [*command, str(folder), str(smiles_file), strategy, decides],
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


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_ranks_leave_the_same_steps_out_whether_the_host_or_the_optimizers_kernel_decides(
    tmp_path, smiles_file, strategy
):
    runs = {}
    for decides in ("host", "device"):
        folder = tmp_path / decides
        folder.mkdir()
        runs[decides] = run_two_ranks(folder, smiles_file, strategy, decides)
    assert runs["host"] == runs["device"]
    assert runs["device"][0] == len(SPOILT)
