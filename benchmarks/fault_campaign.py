"""A sweep of ChemGPTs on a real SLURM with faults injected into every point, beside one without.

    python benchmarks/fault_campaign.py FOLDER

starts a SLURM of four nodes on this machine (Debian: slurm-wlm), trains points on one and two ranks under
single, ddp and zero2 without a fault, then again with faults at set steps, and compares: every point must
end, every logged loss and every weight must be equal to the bit, and no row, record or point may be lost or
doubled. A second, small sweep lies on a file system that is filled up while it trains (needs root).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from chemscale.launchers.ledger import load_ledger
from chemscale.launchers.testbed.cluster import down, up
from chemscale.launchers.testbed.config import Cluster
from chemscale.records import RunRecord, State, find_records

NODES = 4
POINTS = {
    "single-a": ("single", 1, 1, 8, 1600),
    "single-b": ("single", 1, 1, 12, 1600),
    "ddp-nodes": ("ddp", 2, 1, 16, 480),
    "ddp-node": ("ddp", 1, 2, 20, 480),
    "zero2-nodes": ("zero2", 2, 1, 24, 280),
    "clock-single": ("single", 1, 1, 28, 1600),
    "clock-ddp": ("ddp", 2, 1, 32, 480),
}
"""Name: strategy, nodes, ranks a node, width, steps."""

MINUTES = {"clock-single": 1, "clock-ddp": 1}
"""Time limits that these points reach again and again; the others have hours."""

FAULTS = {
    "single-a": [
        "usr2",
        "term",
        "kill rank 0",
        "requeue",
        "truncated checkpoint",
        "kill script",
    ],
    "single-b": ["usr1", "kill rank 0", "preemption", "requeue", "term", "wall time unheeded"],
    "ddp-nodes": [
        "usr2",
        "kill rank 0",
        "node down",
        "requeue",
        "kill rank 1",
        "truncated checkpoint",
        "hang",
    ],
    "ddp-node": ["usr1", "term", "kill rank 1", "requeue", "usr2"],
    "zero2-nodes": ["usr2", "kill rank 0", "corrupted shard", "preemption", "kill rank 1", "kill script"],
}
DISK = {"disk-single": ("single", 1, 1, 8, 4000), "disk-zero2": ("zero2", 2, 1, 16, 120)}
SETTINGS = [
    "launcher=slurm",
    "site=loopback",
    "launcher.signal_seconds=30",
    "launcher.max_attempts=40",
    "strategy.hang_minutes=1",
    "model.layers=2",
    "model.heads=4",
    "batch.tokens=512",
    "data.block=256",
    "data.molecules=1000",
    "data.prepare_workers=1",
    "trainer.accelerator=cpu",
    "trainer.threads=1",
    "trainer.log_every=10",
    "trainer.validate_every=100",
    "trainer.checkpoint_steps=25",
    "logger=jsonl",
]


# --- the cluster and its jobs -------------------------------------------------------------------------------


def slurm(*command: str, check: bool = True) -> str:
    """What a SLURM command prints."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def fields(job: str) -> dict[str, str]:
    """Of `scontrol show job`."""
    line = slurm("scontrol", "show", "job", "-o", job).splitlines()[0]
    return dict(re.findall(r"(\w+)=(\S*)", line))


def wait_until(what: str, ready: Callable[[], object], seconds: float = 600) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise RuntimeError(f"after {seconds:g} s: not {what}\n{slurm('squeue', '-r')}")
        time.sleep(0.3)


def processes() -> Iterator[tuple[int, dict[str, str]]]:
    """Ranks on this machine: process id and environment."""
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if b"submitit.core._submit" not in (path / "cmdline").read_bytes():
                continue
            pairs = (path / "environ").read_bytes().decode(errors="replace").split("\0")
            yield int(path.name), dict(pair.split("=", 1) for pair in pairs if "=" in pair)


def rank_process(job_id: str, rank: int) -> int:
    """Process id of a rank of a running job; the step daemon's child, not a helper of the data loader."""
    found = [
        pid
        for pid, environment in processes()
        if environment.get("SLURM_JOB_ID") == job_id and environment.get("SLURM_PROCID") == str(rank)
    ]
    if not found:
        raise LookupError(f"job {job_id}: no process of rank {rank}")
    return min(found)


def processes_of_node(node: str) -> set[int]:
    """Everything that runs for jobs on a node: ranks, batch scripts, and the step daemons above them."""
    found = set()
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"SLURMD_NODENAME={node}\0".encode() in (path / "environ").read_bytes():
                parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
                found.add(int(path.name))
                if Path(f"/proc/{parent}/comm").read_text().startswith("slurmstepd"):
                    found.add(parent)
    return found


# --- a sweep ------------------------------------------------------------------------------------------------


@dataclass
class Sweep:
    """A sweep that was submitted, and what is known of its points by name."""

    root: Path
    cluster: Cluster
    identities: dict[str, str] = field(default_factory=dict)

    def read(self) -> None:
        self.identities = {
            entry.plan["name"]: identity for identity, entry in load_ledger(self.root).points.items()
        }

    def directory(self, name: str) -> Path:
        return self.root / self.identities[name]

    def job(self, name: str) -> str:
        return load_ledger(self.root).points[self.identities[name]].jobs[-1]

    def step(self, name: str) -> int:
        """The newest step that is logged."""
        path = self.directory(name) / "metrics.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        steps = [json.loads(line)["step"] for line in lines if line.endswith("}")]
        return max(steps, default=0)

    def record(self, name: str) -> RunRecord | None:
        try:
            return RunRecord.load(self.directory(name))
        except ValueError:
            return None

    def at_rest(self) -> bool:
        """Whether nothing of this cluster waits or runs."""
        return not slurm("squeue", "-h", "-r").strip()


def submit(
    folder: Path,
    runs: Path,
    name: str,
    points: dict,
    cluster: Cluster,
    corpora: Path,
    minutes: dict[str, int] | None = None,
) -> Sweep:
    """Queue a sweep of points; returns at once."""
    limits = minutes or {}
    listed = [
        f"{{point_name:{label},strategy:{strategy},launcher.nodes:{nodes},launcher.gpus_per_node:{ranks},"
        f"model.width:{width},budget.steps:{steps},launcher.minutes:{limits.get(label, 120)}}}"
        for label, (strategy, nodes, ranks, width, steps) in points.items()
    ]
    arguments = [
        "hydra/sweeper=chemscale",
        "hydra.mode=MULTIRUN",
        f"hydra.sweeper.points=[{','.join(listed)}]",
        "budget.epochs=null",
        "budget.tokens=null",
        *SETTINGS,
        f"sweep_name={name}",
        f"runs={runs}",
        f"corpora={corpora}",
    ]
    command = [sys.executable, "-m", "chemscale.launch", "submit", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{done.stdout}{done.stderr}")
    sweep = Sweep(runs / name, cluster)
    sweep.read()
    return sweep


# --- faults -------------------------------------------------------------------------------------------------


class Injector:
    """Brings one fault over one running point."""

    def __init__(self, sweep: Sweep):
        self.sweep = sweep

    def inject(self, fault: str, name: str) -> str:
        """What was done, in a few words."""
        job = self.sweep.job(name)
        known = fields(job)
        kind, _, rest = fault.partition(" ")
        if kind in ("usr1", "usr2", "term"):
            slurm("scancel", f"--signal={kind.upper()}", job)
            return f"SIG{kind.upper()} to all ranks"
        if fault.startswith("kill rank"):
            os.kill(rank_process(known["JobId"], int(rest.split()[1])), signal.SIGKILL)
            return f"SIGKILL to rank {rest.split()[1]}"
        return {
            "kill script": self.kill_script,
            "requeue": self.requeue,
            "preemption": self.preempt,
            "node down": self.node_down,
            "truncated checkpoint": self.truncate,
            "corrupted shard": self.corrupt,
            "wall time unheeded": self.wall_time_unheeded,
            "hang": self.hang,
        }[fault](name, job, known)

    def kill_script(self, name: str, job: str, known: dict[str, str]) -> str:
        pattern = rf"{self.sweep.cluster.folder}/spool/.*/job{int(known['JobId']):05d}/slurm_script"
        found = slurm("pgrep", "-f", pattern).split()
        os.kill(int(found[0]), signal.SIGKILL)
        return "SIGKILL to the batch script"

    def requeue(self, name: str, job: str, known: dict[str, str]) -> str:
        slurm("scontrol", "requeue", job)
        return "scontrol requeue"

    def preempt(self, name: str, job: str, known: dict[str, str]) -> str:
        node = known["BatchHost"]
        slurm("sbatch", "-p", "urgent", "-w", node, "--exclusive", "-o", "/dev/null", "--wrap", "sleep 3")
        return f"an urgent job takes {node}"

    def node_down(self, name: str, job: str, known: dict[str, str]) -> str:
        """The daemon of a node and all that ran there are gone; it comes back after a while."""
        node, folder = known["BatchHost"], self.sweep.cluster.folder
        os.kill(int((folder / "run" / f"{node}.pid").read_text()), signal.SIGKILL)
        for pid in sorted(processes_of_node(node)):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        slurm("scontrol", "update", f"nodename={node}", "state=down", "reason=fault")
        time.sleep(3)
        subprocess.run(["slurmd", "-N", node, "-c"], check=True, stdin=subprocess.DEVNULL)
        slurm("scontrol", "update", f"nodename={node}", "state=resume")
        return f"{node} down for 3 s"

    def held(self, name: str, job: str) -> Path:
        """Stop a point, keep it from starting, and give its newest checkpoint."""
        slurm("scontrol", "requeuehold", job)
        wait_until("held", lambda: fields(job)["JobState"] in ("PENDING", "REQUEUE_HOLD", "SPECIAL_EXIT"))
        time.sleep(1)
        return max((self.sweep.directory(name) / "checkpoints").glob("step-*.ckpt"))

    def truncate(self, name: str, job: str, known: dict[str, str]) -> str:
        newest = self.held(name, job)
        part = newest if newest.is_file() else max(newest.rglob("*.pt"), key=lambda p: p.stat().st_size)
        os.truncate(part, part.stat().st_size // 2)
        slurm("scontrol", "release", job)
        return f"{newest.name} cut to half"

    def corrupt(self, name: str, job: str, known: dict[str, str]) -> str:
        newest = self.held(name, job)
        shard = max(newest.rglob("*optim_states.pt"), key=lambda p: str(p))
        content = bytearray(shard.read_bytes())
        content[len(content) // 2] ^= 0xFF
        shard.write_bytes(bytes(content))
        slurm("scontrol", "release", job)
        return f"a bit pattern of {shard.name} turned"

    def wall_time_unheeded(self, name: str, job: str, known: dict[str, str]) -> str:
        """The point is stopped in its tracks and cannot save itself before the limit."""
        os.kill(rank_process(known["JobId"], 0), signal.SIGSTOP)
        self._limit(job, known)
        return "time limit, nothing saved"

    def _limit(self, job: str, known: dict[str, str]) -> None:
        hours, minutes, seconds = (int(part) for part in fields(job)["RunTime"].split(":"))
        elapsed = 60 * hours + minutes + (seconds > 30)
        slurm("scontrol", "update", f"JobId={job}", f"TimeLimit={elapsed + 1}")

    def hang(self, name: str, job: str, known: dict[str, str]) -> str:
        os.kill(rank_process(known["JobId"], 1), signal.SIGSTOP)
        return "rank 1 stands still"


@dataclass
class Fault:
    """One fault, and what became of it."""

    number: int
    point: str
    kind: str
    at: int
    step: int = 0
    done: str = ""
    attempt: int = 0


def campaign(sweep: Sweep, points: dict, faults: dict[str, list[str]]) -> list[Fault]:
    """Inject each point's faults at equal distances of its steps; until the sweep has ended."""
    waiting = {
        name: [
            Fault(0, name, kind, round((n + 1) * points[name][4] / (len(kinds) + 1)))
            for n, kind in enumerate(kinds)
        ]
        for name, kinds in faults.items()
    }
    done: list[Fault] = []
    injector = Injector(sweep)
    deadline = time.monotonic() + 3600
    while not sweep.at_rest() or any(waiting.values()):
        if time.monotonic() > deadline:
            raise RuntimeError("the campaign did not end within an hour\n" + slurm("squeue", "-r"))
        if sweep.at_rest():
            left = [fault for queue in waiting.values() for fault in queue]
            raise RuntimeError(f"the sweep ended before {left} were injected")
        for name, queue in waiting.items():
            if not queue or sweep.step(name) < queue[0].at or not trains(sweep, name, done):
                continue
            fault = queue[0]
            record = sweep.record(name)
            fault.step, fault.attempt = sweep.step(name), record.attempts if record else 0
            try:
                fault.done = injector.inject(fault.kind, name)
            except (LookupError, RuntimeError) as error:
                print(f"  not yet: {fault.kind} at {name}: {error}", flush=True)
                continue
            queue.pop(0)
            done.append(fault)
            fault.number = len(done)
            print(f"{fault.number:3d} {name:12s} step {fault.step:5d} {fault.kind}: {fault.done}", flush=True)
        time.sleep(0.3)
    return done


def trains(sweep: Sweep, name: str, done: list[Fault]) -> bool:
    """Whether a point runs, has been started since its last fault, and has gone on beyond it."""
    if fields(sweep.job(name))["JobState"] != "RUNNING":
        return False
    record = sweep.record(name)
    mine = [fault for fault in done if fault.point == name]
    if record is None or record.state is not State.RUNNING:
        return False
    return not mine or (record.attempts > mine[-1].attempt and sweep.step(name) > mine[-1].step)


def clocks(sweep: Sweep) -> list[Fault]:
    """The time limits that were reached, from what the batch scripts wrote."""
    found = []
    for name in MINUTES:
        jobs = load_ledger(sweep.root).points[sweep.identities[name]].jobs
        logs = [
            (load_ledger(sweep.root).folder / f"{job}_0_log.out").read_text(errors="replace") for job in jobs
        ]
        steps = [int(step) for log in logs for step in re.findall(r"stopped \(SIGUSR2 at step (\d+)", log)]
        found += [Fault(0, name, "wall time", 0, step, "announced by USR2") for step in steps]
    return found


# --- the disk -----------------------------------------------------------------------------------------------


def fill_disk(folder: Path, cluster: Cluster, corpora: Path, points: dict) -> tuple[Sweep, list[Fault]]:
    """Two points on a file system of 24 MiB that fills up; then it is freed and they are requeued."""
    disk = folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(disk)], check=True)
    sweep = submit(folder, disk, "disk", points, cluster, corpora)
    for name in points:
        wait_until(f"{name} trains", lambda name=name: sweep.step(name) >= 50)
    steps = {name: sweep.step(name) for name in points}
    filler = disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(b"\0" * 65536)
    wait_until("the sweep has ended on a full disk", sweep.at_rest)
    states = {name: (record.state.value if (record := sweep.record(name)) else "none") for name in points}
    filler.unlink()
    if "done" in states.values():
        raise RuntimeError(f"a point ended before the disk was full: {states}")
    command = [sys.executable, "-m", "chemscale.launch", "requeue-failed", str(sweep.root)]
    told = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout
    print(told, flush=True)
    wait_until("the sweep has ended", sweep.at_rest)
    faults = [
        Fault(0, name, "full disk", 50, steps[name], f"ended {states[name]}, freed, requeue-failed")
        for name in points
    ]
    return sweep, faults


# --- the comparison -----------------------------------------------------------------------------------------


def rows(directory: Path) -> list[dict]:
    """What was logged of the losses."""
    lines = (directory / "metrics.jsonl").read_text().splitlines()
    return [row for line in lines if (row := json.loads(line))["kind"] in ("train", "validation")]


def compare(disturbed: Sweep, whole: Sweep, points: dict) -> list[str]:
    """Differences between a sweep with faults and the same without, in words; empty where there is none."""
    wrong = []
    found = [record for _, record in find_records(disturbed.root)]
    if len(found) != len(points) or len({record.identity for record in found}) != len(points):
        wrong.append(f"{len(found)} records of {len(points)} points")
    for name in points:
        one, other = disturbed.directory(name), whole.directory(name)
        record = RunRecord.load(one)
        reference = RunRecord.load(other)
        if record.state is not State.DONE:
            wrong.append(f"{name} is {record.state.value}: {record.reason}")
            continue
        keys = [(row["kind"], row["step"]) for row in rows(one)]
        if len(keys) != len(set(keys)):
            wrong.append(f"{name}: doubled rows")
        if rows(one) != rows(other):
            wrong.append(f"{name}: other losses")
        if (record.data, record.final, record.best) != (reference.data, reference.final, reference.best):
            wrong.append(f"{name}: another record")
        weights = [(d / "model" / "model.safetensors").read_bytes() for d in (one, other)]
        if weights[0] != weights[1]:
            wrong.append(f"{name}: other weights")
    if not (disturbed.root / "law" / "law.json").exists() and len(points) > 2:
        wrong.append("no law")
    return wrong


def show(faults: list[Fault], sweeps: list[tuple[Sweep, dict]]) -> None:
    """The table of faults, and of points."""
    print("\n| # | point | step | fault | what was done |\n|---|---|---|---|---|")
    for number, fault in enumerate(faults, 1):
        print(f"| {number} | {fault.point} | {fault.step} | {fault.kind} | {fault.done} |")
    print("\n| point | ranks | strategy | starts | state |\n|---|---|---|---|---|")
    for sweep, points in sweeps:
        for name, (strategy, nodes, ranks, _, _) in points.items():
            record = RunRecord.load(sweep.directory(name))
            print(f"| {name} | {nodes} × {ranks} | {strategy} | {record.attempts} | {record.state.value} |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="new, for the cluster and both sweeps")
    parser.add_argument("--corpora", type=Path, help="prepared corpora; default: in the folder")
    parser.add_argument("--part", choices=["all", "faults", "disk"], default="all")
    arguments = parser.parse_args()
    folder = arguments.folder.absolute()
    folder.mkdir(parents=True)
    corpora = (arguments.corpora or folder / "corpora").absolute()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the cluster is ended on the way out
    cluster = Cluster(folder / "cluster", nodes=NODES)
    up(cluster)
    os.environ["SLURM_CONF"] = str(cluster.conf)
    started = time.monotonic()
    try:
        both = {"all": POINTS | DISK, "faults": POINTS, "disk": DISK}[arguments.part]
        whole = submit(folder, folder / "whole", "sweep", both, cluster, corpora)
        wait_until("the undisturbed sweep has ended", whole.at_rest, 1800)
        print(f"undisturbed: {time.monotonic() - started:.0f} s", flush=True)
        faults: list[Fault] = []
        wrong: list[str] = []
        sweeps: list[tuple[Sweep, dict]] = []
        if arguments.part != "disk":
            disturbed = submit(folder, folder / "disturbed", "sweep", POINTS, cluster, corpora, MINUTES)
            faults = campaign(disturbed, POINTS, FAULTS) + clocks(disturbed)
            print(f"disturbed: {time.monotonic() - started:.0f} s since the beginning", flush=True)
            wrong, sweeps = compare(disturbed, whole, POINTS), [(disturbed, POINTS)]
        if arguments.part != "faults":
            on_disk, more = fill_disk(folder, cluster, corpora, DISK)
            faults, wrong = faults + more, wrong + compare(on_disk, whole, DISK)
            sweeps.append((on_disk, DISK))
        show(faults, sweeps)
        print(f"\n{len(faults)} faults in {time.monotonic() - started:.0f} s; wrong: {wrong or 'nothing'}")
    finally:
        subprocess.run(["umount", str(folder / "disk")], capture_output=True, check=False)
        down(cluster.folder)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
