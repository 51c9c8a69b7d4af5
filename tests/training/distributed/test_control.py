"""Ranks that meet at step boundaries, and one that does not come."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

import pytest

from chemscale.records import State, find_records
from tests.helpers.preloaded import python

RANK = """
import os, signal, sys, time, torch.distributed as dist
from datetime import timedelta
import torch
from chemscale.training.distributed.control import Control, Watchdog
from chemscale.training.distributed.ranks import join, this_rank

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


def start(
    rank: int,
    world: int,
    trouble: str,
    host: Sequence[str] = (),
    script: str = RANK,
    arguments: Sequence[str] = (),
    **more: str,
) -> subprocess.Popen:
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
        [*host, sys.executable, "-c", script.replace("TROUBLE", trouble), *arguments],
        env={**os.environ, **told, **more},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
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


@pytest.fixture
def two_hosts() -> Iterator[tuple[str, str]]:
    """Two hosts with a cable between them: network namespaces of this machine."""
    hosts = (f"chemscale-a-{os.getpid()}", f"chemscale-b-{os.getpid()}")
    commands = [
        *(f"ip netns add {host}" for host in hosts),
        f"ip link add csa netns {hosts[0]} type veth peer name csb netns {hosts[1]}",
        *(
            f"ip -n {host} {what}"
            for host, end, address in zip(hosts, ("csa", "csb"), ("10.77.0.1", "10.77.0.2"), strict=True)
            for what in (f"addr add {address}/24 dev {end}", f"link set {end} up", "link set lo up")
        ),
    ]
    try:
        for command in commands:
            try:
                made = subprocess.run(command.split(), capture_output=True, text=True)
            except FileNotFoundError:
                pytest.skip("network namespaces need iproute2")
            if made.returncode:
                pytest.skip(f"no network namespaces here: {made.stderr.strip()}")
        yield hosts
    finally:
        for host in hosts:
            subprocess.run(["ip", "netns", "delete", host], capture_output=True)


@pytest.mark.slow
def test_ranks_whose_network_is_cut_end_within_the_set_time(two_hosts):
    rendezvous = {"MASTER_ADDR": "10.77.0.1", "MASTER_PORT": "29777"}
    ranks = [
        start(
            rank,
            2,
            "time.sleep(60)",
            ("ip", "netns", "exec", host),
            **rendezvous,
            GLOO_SOCKET_IFNAME=end,
        )
        for rank, (host, end) in enumerate(zip(two_hosts, ("csa", "csb"), strict=True))
    ]
    assert ranks[0].stdout.readline().startswith("1 [2.0, 1.0]")
    assert ranks[0].stdout.readline().startswith("2 [2.0, 1.0]")
    subprocess.run(["ip", "-n", two_hosts[0], "link", "set", "csa", "down"], check=True)
    cut = time.monotonic()
    told = [rank.communicate(timeout=60)[1] for rank in ranks]
    assert time.monotonic() - cut < 20
    assert [rank.returncode for rank in ranks] == [75, 75], told
    assert "rank 1 shows no sign of life" in told[0]
    assert "Rank 0, who keeps the store, does not answer" in told[1]


LIMITED = """
import os, resource, sys
from chemscale.training.checkpointing.checkpoints import Checkpoints
from chemscale.points.build import resolve_config
from chemscale.points.run import run_rank
from hydra import compose, initialize_config_dir
from chemscale.common.paths import CONFIG_DIRECTORY
if os.environ["SUBMITIT_LOCAL_GLOBALID"] == "1":
    save = Checkpoints.save
    def limited(self, trainer, step, control=None):
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096 if step == 5 else hard, hard))
        return save(self, trainer, step, control)
    Checkpoints.save = limited
with initialize_config_dir(config_dir=str(CONFIG_DIRECTORY), version_base=None):
    config = resolve_config(compose("train", overrides=sys.argv[1:]), sys.argv[1:])
run_rank(config, sys.argv[1:])
"""


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["zero2", "fsdp2"])
def test_one_rank_whose_disk_is_full_costs_a_checkpoint_and_not_the_run(tmp_path, smiles_file, strategy):
    overrides = [
        *("data=smiles", f"data.path={smiles_file}", "data.block=256", "data.validation_fraction=0.1"),
        *("data.prepare_workers=1", "model.width=16", "model.layers=2", "model.heads=2", "batch.tokens=1024"),
        *(f"runs={tmp_path}/runs", f"corpora={tmp_path}/corpora", "logger=jsonl", "trainer.accelerator=cpu"),
        *(
            "budget.steps=15",
            "trainer.checkpoint_steps=5",
            f"strategy={strategy}",
            "launcher.gpus_per_node=2",
        ),
    ]
    prepare = [python(), "-m", "chemscale.prepare", *(o for o in overrides[:6] if o.startswith("data"))]
    subprocess.run([*prepare, f"corpora={tmp_path}/corpora"], check=True, capture_output=True)
    ranks = [start(rank, 2, "", script=LIMITED, arguments=overrides) for rank in range(2)]
    told = [rank.communicate(timeout=200) for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], told
    assert "step-000000005.ckpt could not be written (rank " in told[0][1]
    ((directory, record),) = find_records(tmp_path / "runs")
    assert record.state is State.DONE
    assert [p.name for p in sorted((directory / "checkpoints").glob("*.ckpt"))] == [
        "step-000000010.ckpt",
        "step-000000015.ckpt",
    ]


SUMS = """
import os
from datetime import timedelta
import torch
from chemscale.training.distributed.control import Control
from chemscale.training.distributed.ranks import join, this_rank

ranks = this_rank()
join(torch.device("cpu"), timedelta(seconds=60))
control = Control(ranks, 60)
control.open()
mine = [1.0, 2.0**53, -(2.0**53)][ranks.rank]
print({sum for count in (1, 2, 7, 1000) for sum in control.total([mine] * count)}, flush=True)
print({sum for row in control.total_rows([[mine] * 5] * 100) for sum in row}, flush=True)
os._exit(0)  # gloo's threads may abort a rank whose peers left before it
"""


@pytest.mark.slow
def test_a_sum_over_ranks_does_not_depend_on_what_is_summed_with_it():
    """Of three numbers whose sum depends on their order."""
    ranks = [start(rank, 3, "", script=SUMS) for rank in range(3)]
    for process in ranks:
        said, told = process.communicate(timeout=120)
        assert process.returncode == 0, told
        assert said.splitlines() == ["{0.0}", "{0.0}"]
