"""The whole of `python -m chemscale.fit`, from start to page: seconds by stage, and how they grow with rows.

python benchmarks/fit_speed.py [--csv CSV] [--rows 240 2000 10000]

CSV has the columns `Model Size`, `Training FLOP` and `loss` of Besiroglu et al.'s reading of the figure; its
five highest losses are left out. Each row of `--rows` is a table made here, of an additive law with 1 % of
noise. Everything runs on one core with one thread.
Processor seconds are what it worked, wall seconds also count what others did; the longest silence is the wall
time between two signs of progress.
"""

from __future__ import annotations

import argparse
import csv
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

CHINCHILLA = [
    "--columns",
    "N=Model Size,C=Training FLOP,loss=loss",
    "--flops-model",
    "6nd",
    "--exclude-highest",
    "5",
]
MADE = ["--columns", "N=N,D=D,loss=loss", "--flops-model", "6nd"]
STAGES = """
import sys, time
begun = time.process_time(), time.perf_counter()
from chemscale.analysis import fit as analysis
from chemscale.laws.data.points import PointsError
marks = [("imports", *begun)]
class Watch:
    def __init__(self):
        self.last, self.silence = time.perf_counter(), 0.0
    def beat(self):
        now = time.perf_counter()
        self.silence, self.last = max(self.silence, now - self.last), now
watch = Watch()
def stage(text):
    watch.beat()
    marks.append((text, time.process_time(), time.perf_counter()))
from chemscale.common.listening import listening
path, out, columns, exclude = sys.argv[1:5]
stage("reading")
with listening(lambda *_: watch.beat()):
    analysis.fit_csv(analysis.Path(path), columns, out=analysis.Path(out), flops_model="6nd",
                     options=analysis.Options(exclude_highest=int(exclude), progress=stage))
stage("end")
for (text, cpu, wall), (_, cpu_end, wall_end) in zip(marks, marks[1:]):
    print(f"    {text:44s} {cpu_end - cpu:8.2f} s processor {wall_end - wall:8.2f} s wall", flush=True)
print(f"    longest silence {watch.silence:.1f} s")
"""


def made(path: Path, rows: int, seed: int = 0) -> None:
    """A table of an additive law with 1 % of noise."""
    random = np.random.default_rng(seed)
    n, d = (
        np.exp(random.uniform(*np.log([1e7, 1e10]), rows)),
        np.exp(random.uniform(*np.log([1e9, 1e12]), rows)),
    )
    loss = (1.8 + 480 * n**-0.35 + 2100 * d**-0.37) * np.exp(0.01 * random.standard_normal(rows))
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([("N", "D", "loss"), *zip(n, d, loss, strict=True)])


def whole(path: Path, options: list[str], out: Path) -> tuple[float, float]:
    """(processor, wall) seconds of the verb in a process of its own."""
    before, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "chemscale.fit", path, *options, "--out", out], check=True, capture_output=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, time.perf_counter() - wall


def measure(title: str, path: Path, options: list[str], folder: Path) -> None:
    cpu, wall = whole(path, options, folder / "out")
    print(f"{title:48s} {cpu:8.2f} s processor {wall:8.2f} s wall, start to page", flush=True)
    exclude = options[-1] if "--exclude-highest" in options else "0"
    subprocess.run([sys.executable, "-c", STAGES, path, folder / "stages", options[1], exclude], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--rows", type=int, nargs="*", default=[240, 2000, 10000])
    options = parser.parse_args()
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.csv:
            measure("the Chinchilla runs, 240 rows", options.csv, CHINCHILLA, folder)
        for rows in options.rows:
            made(folder / f"made{rows}.csv", rows)
            measure(f"a table of {rows:,} rows", folder / f"made{rows}.csv", MADE, folder)


if __name__ == "__main__":
    main()
