"""A real SLURM on one machine: several nodes that are daemons on loopback, for trying and for tests.

No root and no munge needed, unless accounting is asked for. Every daemon belongs to one folder and is
ended by the process id that it left there; two clusters in two folders do not see each other.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from chemscale.launchers.section import LaunchError
from chemscale.launchers.testbed.config import (
    ACCOUNTING_PORT,
    CONF,
    DATABASE_PORT,
    Cluster,
    free_base,
    hostname,
    write_configuration,
)

PACKAGES = "apt-get install slurm-wlm (and munge slurmdbd mariadb-server for --accounting)"
NEEDED = ("slurmctld", "slurmd", "sinfo", "scancel")


def up(cluster: Cluster) -> str:
    """Start it.

    Returns:
        What sinfo says of its nodes.

    Raises:
        LaunchError: programs are missing, the folder holds a running cluster, or a daemon did not start.
    """
    munge = cluster.munge or cluster.accounting
    wanted = [*NEEDED, *(["munged"] if munge else [])]
    wanted += (
        ["slurmdbd", "mariadbd", "mariadb", "mariadb-install-db", "sacctmgr"] if cluster.accounting else []
    )
    missing = [name for name in wanted if shutil.which(name) is None]
    if missing:
        raise LaunchError(f"{', '.join(missing)} not found: {PACKAGES}.")
    if cluster.conf.exists() and running(cluster.folder):
        raise LaunchError(f"{cluster.folder}: a cluster runs here already. cluster down ends it.")
    cluster = Cluster(**{**vars(cluster), "munge": munge, "base": free_base(cluster.nodes)})
    for name in ("state", "log", "run", "spool"):
        (cluster.folder / name).mkdir(parents=True, exist_ok=True)
    write_configuration(cluster)
    if munge:
        start_munge(cluster)
    if cluster.accounting:
        start_accounting(cluster)
    daemon(cluster, "slurmctld", "-c")
    for number in range(1, cluster.nodes + 1):
        daemon(cluster, "slurmd", "-N", f"node{number}", "-c")
    wait_for(cluster, lambda: len(idle(cluster)) == cluster.nodes, "its nodes are not all idle")
    return ask(cluster, "sinfo", "-o", "%P %D %t %c %G")


def down(folder: Path) -> list[str]:
    """End what ``up`` started in a folder, jobs first.

    Returns:
        Names of the daemons that were ended.

    Raises:
        LaunchError: there is no cluster.
    """
    folder = Path(folder).absolute()
    cluster = Cluster(folder)
    if not cluster.conf.exists():
        raise LaunchError(f"{folder}: no cluster was started here ({CONF} is missing).")
    with contextlib.suppress(LaunchError):
        ask(cluster, "scancel", "--quiet", "-u", getpass.getuser())
    ended = []
    for group in (("slurmd",), ("slurmctld",), ("slurmdbd",), ("mariadbd", "munged")):
        found = {name: pid for name, pid in running(folder).items() if program(pid) in group}
        for pid in found.values():
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 20
        while any(program(pid) in group for pid in found.values()) and time.monotonic() < deadline:
            time.sleep(0.05)
        ended += list(found)
    return ended


def running(folder: Path) -> dict[str, int]:
    """Name and process id of the daemons of a folder that are alive."""
    found = {}
    for path in sorted((Path(folder) / "run").glob("*.pid")):
        text = path.read_text().strip()
        if text.isdigit() and program(int(text)) in ("slurmctld", "slurmd", "slurmdbd", "mariadbd", "munged"):
            found[path.stem] = int(text)
    return found


def program(pid: int) -> str:
    """What a process runs, empty if there is none: a process id may have been given to another program."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    name, _, rest = state.partition("(")[2].rpartition(")")
    return "" if rest.split()[0] == "Z" else name


# --- daemons ------------------------------------------------------------------------------------------------


def start_munge(cluster: Cluster) -> None:
    """A munged of the cluster's own."""
    folder, run = cluster.folder, cluster.folder / "run"
    key = folder / "munge.key"
    folder.chmod(0o755)
    if not key.exists():
        key.touch(0o600)
        key.write_bytes(secrets.token_bytes(1024))
    options = {
        "key-file": key,
        "socket": run / "munge.sock",
        "pid-file": run / "munged.pid",
        "log-file": folder / "log" / "munged.log",
        "seed-file": run / "munged.seed",
        "num-threads": 2,
    }
    daemon(cluster, "munged", "--force", *(f"--{name}={value}" for name, value in options.items()))


def start_accounting(cluster: Cluster) -> None:
    """A database, and slurmdbd on it."""
    folder, run, user = cluster.folder, cluster.folder / "run", getpass.getuser()
    data, here = folder / "mysql", ["--no-defaults", f"--socket={run}/mysql.sock"]
    if not (data / "mysql").is_dir():
        method = ["--skip-test-db", "--auth-root-authentication-method=normal"]
        daemon(cluster, "mariadb-install-db", "--no-defaults", f"--user={user}", f"--datadir={data}", *method)
    with (folder / "log" / "mariadbd.log").open("ab") as log:
        subprocess.Popen(
            [
                "mariadbd",
                *here,
                f"--user={user}",
                f"--datadir={data}",
                f"--pid-file={run}/mariadbd.pid",
                f"--port={cluster.base + DATABASE_PORT}",
                "--bind-address=127.0.0.1",
                "--innodb-buffer-pool-size=64M",
                "--innodb-lock-wait-timeout=900",
                "--skip-log-bin",
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    client = ["mariadb", *here, "-u", "root", "-e"]
    wait_for(cluster, lambda: succeeds(cluster, *client, "select 1"), "its database does not answer")
    grants = "".join(
        f"create user if not exists 'slurm'@'{host}' identified by 'slurm';"
        f"grant all on slurm_acct_db.* to 'slurm'@'{host}';"
        for host in ("127.0.0.1", "localhost")
    )
    ask(cluster, *client, f"create database if not exists slurm_acct_db; {grants}")
    conf = folder / "slurmdbd.conf"
    conf.touch(0o600)
    settings = {
        "AuthType": "auth/munge",
        "AuthInfo": f"socket={run}/munge.sock",
        "DbdHost": hostname(),
        "DbdAddr": "127.0.0.1",
        "DbdPort": cluster.base + ACCOUNTING_PORT,
        "SlurmUser": user,
        "LogFile": f"{folder}/log/slurmdbd.log",
        "PidFile": f"{run}/slurmdbd.pid",
        "StorageType": "accounting_storage/mysql",
        "StorageHost": "127.0.0.1",
        "StoragePort": cluster.base + DATABASE_PORT,
        "StorageUser": "slurm",
        "StoragePass": "slurm",
        "StorageLoc": "slurm_acct_db",
    }
    conf.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
    daemon(cluster, "slurmdbd")
    wait_for(
        cluster, lambda: succeeds(cluster, "sacctmgr", "-n", "list", "cluster"), "slurmdbd does not answer"
    )
    succeeds(cluster, "sacctmgr", "-i", "add", "cluster", "chemscale")  # fails where it exists


def daemon(cluster: Cluster, *command: str) -> None:
    """Start a program that puts itself into the background.

    Raises:
        LaunchError: it ended with a status other than 0.
    """
    path = cluster.folder / "log" / "start.log"
    with path.open("ab") as log:  # a file: a daemon that kept a pipe would hang its reader
        done = subprocess.run(
            command, env=cluster.environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False
        )
    if done.returncode != 0:
        tail = " ".join(path.read_text(errors="replace").splitlines()[-3:])
        raise LaunchError(f"{' '.join(command[:3])} did not start: {tail} (logs: {path.parent})")


def ask(cluster: Cluster, *command: str, seconds: float = 10) -> str:
    """What a client of the cluster prints.

    Raises:
        LaunchError: it failed.
    """
    try:
        done = subprocess.run(
            command,
            env=cluster.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        raise LaunchError(f"{command[0]}: no answer in {seconds:g} s (logs: {cluster.folder}/log).") from None
    if done.returncode != 0:
        raise LaunchError(f"{command[0]}: {done.stderr.strip()}")
    return done.stdout


def succeeds(cluster: Cluster, *command: str) -> bool:
    """Whether a client's command ends with status 0."""
    try:
        ask(cluster, *command, seconds=3)
    except LaunchError:
        return False
    return True


def idle(cluster: Cluster) -> Sequence[str]:
    """Nodes that take jobs."""
    try:
        listed = ask(cluster, "sinfo", "-h", "-N", "-p", "main", "-o", "%N %t", seconds=3)
    except LaunchError:
        return []
    return [line for line in listed.splitlines() if line.split()[1] in ("idle", "mix", "alloc")]


def wait_for(cluster: Cluster, ready: object, what: str, seconds: float = 30) -> None:
    """Ask until it is so.

    Raises:
        LaunchError: it is not so in time.
    """
    assert callable(ready)
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise LaunchError(f"{cluster.folder}: {what} after {seconds:g} s (logs: {cluster.folder}/log).")
        time.sleep(0.1)
