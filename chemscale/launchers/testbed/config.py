"""The configuration of a one-machine SLURM: slurm.conf and what it refers to."""

from __future__ import annotations

import getpass
import os
import socket
import stat
from dataclasses import dataclass
from pathlib import Path

from chemscale.launchers.section import LaunchError

PORTS = range(16_800, 19_000, 100)
"""Bases of a hundred ports each, below what the system hands out itself."""
CONF = "slurm.conf"
DATABASE_PORT, ACCOUNTING_PORT = 90, 91


@dataclass(frozen=True)
class Cluster:
    """What is started in a folder.

    Args:
        nodes: daemons, ``node1`` and on.
        cpus: of a node; may exceed the machine's.
        gpus: of a node, not real: requests for them are granted and CUDA_VISIBLE_DEVICES is set.
        munge: authentication as on a real cluster; without it a shared secret is not needed.
        accounting: slurmdbd on a database of its own, so that sacct answers; needs munge and usually root.
    """

    folder: Path
    nodes: int = 4
    cpus: int = 4
    memory_mib: int = 8000
    gpus: int = 0
    munge: bool = False
    accounting: bool = False
    base: int = PORTS[0]

    @property
    def conf(self) -> Path:
        return self.folder / CONF

    def environment(self) -> dict[str, str]:
        """For every SLURM command that is to speak to this cluster."""
        return os.environ | {"SLURM_CONF": str(self.conf)}


def write_configuration(cluster: Cluster) -> None:
    """slurm.conf and what it refers to."""
    folder, user = cluster.folder, getpass.getuser()
    auth = "munge" if cluster.munge else "none"
    socket_part = f"socket={folder}/run/munge.sock," if cluster.munge else ""
    lines = [
        "ClusterName=chemscale",
        f"SlurmctldHost={hostname()}(127.0.0.1)",
        f"SlurmctldPort={cluster.base}",
        f"SlurmUser={user}",
        f"SlurmdUser={user}",
        f"AuthType=auth/{auth}",
        f"CredType=cred/{auth}",
        # It also sets how long a requeued job waits: seconds, not two minutes.
        f"AuthInfo={socket_part}cred_expire=5",
        f"StateSaveLocation={folder}/state",
        f"SlurmdSpoolDir={folder}/spool/%n",
        f"SlurmctldPidFile={folder}/run/slurmctld.pid",
        f"SlurmdPidFile={folder}/run/%n.pid",
        f"SlurmctldLogFile={folder}/log/slurmctld.log",
        f"SlurmdLogFile={folder}/log/%n.log",
        "ProctrackType=proctrack/linuxproc",  # no cgroups needed
        "TaskPlugin=task/none",
        "JobAcctGatherType=jobacct_gather/linux",
        "MpiDefault=none",
        "ReturnToService=2",
        "SlurmdParameters=config_overrides",  # nodes may claim more cores than there are
        "SelectType=select/cons_tres",
        "SelectTypeParameters=CR_Core",
        "SchedulerType=sched/backfill",
        "SchedulerParameters=sched_interval=2,bf_interval=2,sched_min_interval=100000",
        "PreemptType=preempt/partition_prio",
        "PreemptMode=REQUEUE",
        "SlurmctldParameters=preempt_send_user_signal",
        "JobRequeue=1",
        "KillWait=10",
        "InactiveLimit=0",
        "MinJobAge=86400",
        *accounting_lines(cluster),
        *(["GresTypes=gpu"] if cluster.gpus else []),
        f"NodeName=node[1-{cluster.nodes}] NodeHostname={hostname()} NodeAddr=127.0.0.1 "
        f"Port=[{cluster.base + 1}-{cluster.base + cluster.nodes}] CPUs={cluster.cpus} "
        f"RealMemory={cluster.memory_mib} {f'Gres=gpu:{cluster.gpus} ' if cluster.gpus else ''}State=UNKNOWN",
        "PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=10 "
        "PreemptMode=REQUEUE GraceTime=10",
        "PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=100 PreemptMode=OFF",
    ]
    cluster.conf.write_text("\n".join(lines) + "\n")
    (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n")
    if cluster.gpus:
        write_gpus(cluster)


def accounting_lines(cluster: Cluster) -> list[str]:
    """Of slurm.conf."""
    if not cluster.accounting:
        return ["AccountingStorageType=accounting_storage/none"]
    return [
        "AccountingStorageType=accounting_storage/slurmdbd",
        "AccountingStorageHost=127.0.0.1",
        f"AccountingStoragePort={cluster.base + ACCOUNTING_PORT}",
        f"AccountingStoragePass={cluster.folder}/run/munge.sock",
    ]


def write_gpus(cluster: Cluster) -> None:
    """Files that stand for GPUs: SLURM counts them, nothing opens them."""
    devices = cluster.folder / "dev"
    devices.mkdir(exist_ok=True)
    for number in range(cluster.gpus):
        path = devices / f"gpu{number}"
        if path.exists():
            continue
        try:
            os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        except OSError:  # not root
            path.touch()
    last = cluster.gpus - 1
    line = f"NodeName=node[1-{cluster.nodes}] Name=gpu File={devices}/gpu[0-{last}]\n"
    (cluster.folder / "gres.conf").write_text(line)


def hostname() -> str:
    return socket.gethostname().split(".")[0]


def free_base(nodes: int) -> int:
    """The first hundred of ports of which none that a cluster needs is taken.

    Raises:
        LaunchError: none is free.
    """
    for base in PORTS:
        if all(is_free(base + offset) for offset in (*range(nodes + 1), DATABASE_PORT, ACCOUNTING_PORT)):
            return base
    raise LaunchError(f"No free ports between {PORTS.start} and {PORTS.stop}: end another cluster first.")


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
