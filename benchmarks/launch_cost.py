"""What launching through SLURM adds to a sweep, against the same ranks started by `launcher=local`.

    python benchmarks/launch_cost.py FOLDER [--points 4] [--repeats 2]

starts a SLURM of two nodes on this machine and trains the same sweep, every point on two ranks, all points at
once: as processes of this machine, and as an array whose points take both nodes, to the fitted law by the
dependent job. Prints the seconds from the command to its end, and for SLURM where they went.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

from chemscale.launchers.ledger import load_ledger
from chemscale.launchers.testbed.cluster import down, up
from chemscale.launchers.testbed.config import Cluster

WIDTHS = [8, 12, 16, 20, 24, 28, 32]
SETTINGS = [
    "+sweep=chemgpt_sizes",
    "model.layers=2",
    "model.heads=4",
    "batch.tokens=1024",
    "data.block=256",
    "data.molecules=1000",
    "data.prepare_workers=1",
    "trainer.accelerator=cpu",
    "trainer.threads=1",
    "trainer.validate_every=100",
    "logger=jsonl",
]


def train(folder: Path, *arguments: str) -> tuple[float, str]:
    """Seconds that the command took, and what it printed."""
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "chemscale.train", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stdout)
    return time.monotonic() - started, done.stdout


def stamps(job: str) -> dict[str, float]:
    """When SLURM was given a job, started it and saw it end."""
    line = subprocess.run(
        ["scontrol", "show", "job", "-o", job], capture_output=True, text=True, check=True
    ).stdout
    found = re.findall(r"(SubmitTime|StartTime|EndTime)=(\S+)", line)
    return {key: datetime.fromisoformat(value).timestamp() for key, value in found}


def parts(root: Path, started: float, ended: float) -> dict[str, float]:
    """Where the seconds of a sweep through SLURM went."""
    ledger = load_ledger(root)
    jobs = [stamps(entry.jobs[-1]) for entry in ledger.points.values()]
    law = stamps(ledger.finish_jobs[-1])
    last = max(job["EndTime"] for job in jobs)
    return {
        "plan and submit": min(job["SubmitTime"] for job in jobs) - started,
        "wait for nodes": max(job["StartTime"] for job in jobs) - min(job["SubmitTime"] for job in jobs),
        "points": last - max(job["StartTime"] for job in jobs),
        "wait for the law's job": law["StartTime"] - last,
        "law": law["EndTime"] - law["StartTime"],
        "notice the end": ended - law["EndTime"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="new, for the cluster and the runs")
    parser.add_argument("--points", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--corpora", type=Path, help="prepared corpora; default: in the folder")
    arguments = parser.parse_args()
    folder = arguments.folder.absolute()
    folder.mkdir(parents=True)
    corpora = (arguments.corpora or folder / "corpora").absolute()
    widths = ",".join(str(width) for width in WIDTHS[: arguments.points])
    common = [*SETTINGS, f"model.width={widths}", f"budget.steps={arguments.steps}", f"corpora={corpora}"]
    cluster = Cluster(folder / "cluster", nodes=2, cpus=max(4, arguments.points))
    up(cluster)
    os.environ["SLURM_CONF"] = str(cluster.conf)
    seconds: dict[str, list[float]] = {"local": [], "slurm": []}
    try:
        train(
            folder, *common, f"runs={folder}/warm", "launcher.gpus_per_node=2"
        )  # the corpus, compiled modules
        for repeat in range(arguments.repeats):
            runs = folder / f"local-{repeat}"
            local = ["launcher.gpus_per_node=2", f"launcher.parallel={arguments.points}", f"runs={runs}"]
            seconds["local"].append(train(folder, *common, *local)[0])
            runs = folder / f"slurm-{repeat}"
            slurm = [
                "launcher=slurm",
                "site=loopback",
                "launcher.nodes=2",
                "launcher.wait=true",
                f"runs={runs}",
            ]
            started = time.time()
            seconds["slurm"].append(train(folder, *common, *slurm)[0])
            found = parts(runs / "chemgpt_sizes", started, time.time())
            told = " · ".join(f"{name} {value:.1f}" for name, value in found.items())
            print(
                f"local {seconds['local'][-1]:.1f} s, slurm {seconds['slurm'][-1]:.1f} s ({told})", flush=True
            )
            shutil.rmtree(folder / f"local-{repeat}")
    finally:
        down(cluster.folder)
    added = statistics.median(seconds["slurm"]) - statistics.median(seconds["local"])
    print(f"{arguments.points} points × 2 ranks: SLURM adds {added:.1f} s (median of {arguments.repeats})")


if __name__ == "__main__":
    main()
