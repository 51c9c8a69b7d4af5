"""Ranks that meet at step boundaries, and one that does not come."""

import os
import subprocess
import sys

import pytest

RANK = """
import os, signal, sys, time, torch.distributed as dist
from datetime import timedelta
import torch
from chemscale.training.control import Control, Watchdog
from chemscale.training.ranks import join, this_rank

ranks = this_rank()
join(torch.device("cpu"), timedelta(seconds=60))
control, watchdog = Control(ranks, 60), Watchdog(ranks, 2.0)
control.open()
watchdog.start(0)
for step in range(1, 4):
    if step == 3 and ranks.rank == 1:
        TROUBLE
    watchdog.tick()
    sums = control.total([1.0, float(ranks.rank)])
    print(step, sums, control.any(ranks.rank == 1), control.share(ranks.rank), flush=True)
    watchdog.reached(step)
"""


def start(rank: int, world: int, trouble: str) -> subprocess.Popen:
    told = {
        "SUBMITIT_EXECUTOR": "local",
        "SUBMITIT_LOCAL_JOB_ID": f"control-{os.getpid()}",
        "SUBMITIT_LOCAL_NTASKS": str(world),
        "SUBMITIT_LOCAL_JOB_NUM_NODES": "1",
        "SUBMITIT_LOCAL_NODEID": "0",
        "SUBMITIT_LOCAL_GLOBALID": str(rank),
        "SUBMITIT_LOCAL_LOCALID": str(rank),
    }
    return subprocess.Popen(
        [sys.executable, "-c", RANK.replace("TROUBLE", trouble)],
        env={**os.environ, **told},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    ("trouble", "said_of_it"),
    [
        ("time.sleep(60)", "rank 1 is behind, in the step after 2"),
        ("os.kill(os.getpid(), signal.SIGSTOP)", "rank 1 shows no sign of life"),
    ],
)
def test_a_rank_that_hangs_ends_the_run_within_the_set_time_and_is_named(trouble, said_of_it):
    first, second = (start(rank, 2, trouble) for rank in range(2))
    said, told = first.communicate(timeout=60)
    second.kill()
    second.communicate()
    assert first.returncode == 75, told
    assert said.splitlines() == [f"{step} [2.0, 1.0] True 0" for step in (1, 2)]
    assert "no step finished for 2 s" in told
    assert said_of_it in told
