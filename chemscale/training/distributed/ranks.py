"""Who this process is among the ranks of a point: as the launcher sets it, locally and under SLURM alike.

Ranks are tasks of a submitit job. Lightning never starts one itself: under Hydra it would run the whole
sweep again in each of them.
"""

from __future__ import annotations

import hashlib
import os
import socket
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import submitit
import torch
import torch.distributed as dist
from lightning_fabric.plugins.environments import ClusterEnvironment, LightningEnvironment

from chemscale.hardware.devices import set_backends
from chemscale.training.distributed.interfaces import choose_gloo_interface

PORTS = range(20_000, 32_000)
"""Below the range that Linux hands out itself, so that the port of a job is not taken by chance."""


class WorldError(ValueError):
    """Another number of ranks than the checkpoint has."""


@dataclass(frozen=True)
class Ranks:
    """This process among the ranks of its point.

    Args:
        rank: among all.
        world: number of ranks.
        local_rank: among those of this node.
        per_node: number of ranks on a node.
        node: of this rank.
        nodes: number of nodes.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    per_node: int = 1
    node: int = 0
    nodes: int = 1

    def same_world(self, before: int, elastic: bool) -> None:
        """Refuse to go on from a run on another number of ranks, unless that is wanted.

        Args:
            before: ranks that wrote the checkpoint.
            elastic: ``strategy.elastic``.

        Raises:
            WorldError: with the setting that allows it.
        """
        if before != self.world and not elastic:
            raise WorldError(
                f"The checkpoint was written by {before} ranks, and there are {self.world} now. It can go "
                "on, its losses then agree to rounding and not to the bit: set strategy.elastic=true, or use "
                "as many ranks as before."
            )

    @property
    def is_first(self) -> bool:
        """Whether this rank writes record, metrics and model."""
        return self.rank == 0


def inside_job() -> bool:
    """Whether this process was started by a launcher as one of the ranks of a point."""
    return "SUBMITIT_EXECUTOR" in os.environ


def this_rank(accelerator: str = "auto") -> Ranks:
    """This process's place as submitit gives it; one rank alone outside a job.

    Args:
        accelerator: ``trainer.accelerator``: ranks on ``cpu`` are not divided by the GPUs that they see.
    """
    if not inside_job():
        return Ranks()
    job = submitit.JobEnvironment()
    per_node = max(1, job.num_tasks // job.num_nodes)
    if per_node > 1 and visible_gpus(accelerator) == 1:
        # Tasks that see one GPU each (gpus-per-task, gpu-bind): every rank is alone on a node of its own.
        return Ranks(rank=job.global_rank, world=job.num_tasks, node=job.global_rank, nodes=job.num_tasks)
    return Ranks(
        rank=job.global_rank,
        world=job.num_tasks,
        local_rank=job.local_rank,
        per_node=per_node,
        node=job.node,
        nodes=job.num_nodes,
    )


def visible_gpus(accelerator: str) -> int:
    """GPUs that this process may train on.

    Args:
        accelerator: ``trainer.accelerator``.
    """
    return torch.cuda.device_count() if accelerator != "cpu" and torch.cuda.is_available() else 0


class RankEnvironment(ClusterEnvironment):
    """What Lightning asks of a cluster, read from submitit.

    Args:
        accelerator: ``trainer.accelerator``.
    """

    def __init__(self, accelerator: str = "auto") -> None:
        super().__init__()
        self.ranks = this_rank(accelerator)
        self.job = submitit.JobEnvironment()

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        return main_address(self.job.hostnames if self.job.num_nodes > 1 else [])

    @property
    def main_port(self) -> int:
        return main_port(self.job.job_id)

    @staticmethod
    def detect() -> bool:
        return inside_job()

    def world_size(self) -> int:
        return self.ranks.world

    def set_world_size(self, size: int) -> None:
        """Fixed by the job."""

    def global_rank(self) -> int:
        return self.ranks.rank

    def set_global_rank(self, rank: int) -> None:
        """Fixed by the job."""

    def local_rank(self) -> int:
        return self.ranks.local_rank

    def node_rank(self) -> int:
        return self.ranks.node


def main_address(hosts: list[str] | Any) -> str:
    """Where rank 0 listens: MASTER_ADDR if set, else the first node, by address where its name is unknown.

    A cluster may run several nodes under names that no resolver knows; the rendezvous would wait for minutes.
    """
    if "MASTER_ADDR" in os.environ and "SUBMITIT_EXECUTOR" in os.environ:
        return os.environ["MASTER_ADDR"]
    if not hosts:
        return "127.0.0.1"
    try:
        socket.getaddrinfo(hosts[0], None)
    except socket.gaierror:
        return os.environ.get("SLURM_LAUNCH_NODE_IPADDR", "127.0.0.1")
    return str(hosts[0])


def main_port(job_id: str) -> int:
    """The same on every rank of a job and attempt, different for jobs that share a node (most likely)."""
    if "MASTER_PORT" in os.environ:
        return int(os.environ["MASTER_PORT"])
    point = os.environ.get("CHEMSCALE_TASK", "")  # several points may share a job
    name = f"{job_id}.{os.environ.get('SLURM_RESTART_COUNT', '0')}{point and f'.{point}'}"
    return PORTS[int(hashlib.sha256(name.encode()).hexdigest(), 16) % len(PORTS)]


def environment(accelerator: str = "auto") -> ClusterEnvironment:
    """The cluster environment of this process.

    Args:
        accelerator: ``trainer.accelerator``.
    """
    return RankEnvironment(accelerator) if inside_job() else LightningEnvironment()


def join(device: torch.device, timeout: timedelta) -> None:
    """Join the process group of all ranks, once in the life of this process.

    Args:
        device: of this rank.
        timeout: of collectives.
    """
    if dist.is_initialized():
        return
    cluster = environment(device.type)
    ranks = this_rank(device.type)
    os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = cluster.main_address, str(cluster.main_port)
    if ranks.world > 1:
        choose_gloo_interface(cluster.main_address)
    cuda = device.type == "cuda"
    dist.init_process_group(
        "nccl" if cuda else "gloo",
        rank=ranks.rank,
        world_size=ranks.world,
        timeout=timeout,
        device_id=device if cuda else None,
    )


def take_gpu(ranks: Ranks, accelerator: str, share: int = 1) -> None:
    """Make this rank's GPU the current one, before anything is tried on "the" GPU.

    Args:
        ranks: of this process.
        accelerator: ``trainer.accelerator``.
        share: points that train on the GPU at the same time; each may take this part of its memory.

    Raises:
        WorldError: the rank sees some of its node's GPUs, and not enough to know its own among them.
    """
    set_backends()
    seen = visible_gpus(accelerator)
    if not seen:
        return
    if ranks.local_rank >= seen:
        raise WorldError(
            f"Rank {ranks.local_rank} of {ranks.per_node} on its node sees {seen} GPUs: with a part of a "
            "node's GPUs no rank knows its own. Let every rank see all of them (srun --gpu-bind=none; "
            "site.extra.gpu_bind=none), or one each."
        )
    torch.cuda.set_device(ranks.local_rank)
    if share > 1:
        torch.cuda.set_per_process_memory_fraction(1 / share)
