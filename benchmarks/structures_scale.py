"""Millions of frames in the layout of ANI-1x: preparation, and how training begins and waits, by commands.

    python -m benchmarks.structures_scale [--frames 200000] [--groups 3000] [--folder DIR] [--memory 1000]
                                          [--steps 300] [--seconds SECONDS] [--report] [KEY=VALUE …]

The file is made first, before anything is measured: groups of 2 to 63 atoms (15 on average), each with a few
isomers whose atoms lie at bond lengths, and frames around them whose energies and forces are those of springs
to the isomers; a hundredth of the rows has no label, as most levels of the release. Then the commands
``chemscale.prepare`` and ``chemscale.train`` (PaiNN of width 64 and 3 layers, 64 frames a step, 5 Å) run in
processes of their own. CPU time and memory are those of all their processes, read from /proc ten times a
second; memory is the sum of proportional set sizes, and what of it is no page of a file: pages of mapped
files are given back whenever something else needs them. The share of time that training waited for data is
of the run's own metrics.

``--memory MIB`` runs both in a control group of the kernel with so much memory, pages of files counted: a
store larger than memory. It needs the right to make one. ``--folder`` keeps file and stores for another call;
a million frames need 1.2 GB. ``KEY=VALUE`` are added to the training.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import h5py
import numpy as np

from benchmarks.processes import Usage, run_measured, size
from chemscale.common.progress import ProgressBar
from chemscale.structures.batches import BatchBudget
from chemscale.structures.data_module import StructureDataModule
from chemscale.structures.sources.base import formula
from chemscale.structures.store import FrameStore

ROOT = Path(__file__).resolve().parents[1]
ATOMIC = {1: -0.5, 6: -37.8, 7: -54.5, 8: -75.0}
"""Hartree of an atom, about."""
SPRING = 0.5
"""Hartree/Å²."""
HEAVY = np.array([6, 7, 8])
CONTROL_GROUPS = Path("/sys/fs/cgroup")
TRAINING = [
    *(
        "task=potential",
        "model=painn",
        "model.width=64",
        "model.layers=3",
        "model.cutoff=5",
        "batch.frames=64",
    ),
    *("data.validation_frames=200", "trainer.threads=1", "logger=none", "hydra.run.dir=."),
]


def isomer(numbers: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Positions of atoms each at a bond length of an earlier one and far enough from all others, (n, 3) Å."""
    n, heavy = len(numbers), int((numbers > 1).sum())
    positions = np.zeros((n, 3))
    for atom in range(1, n):
        length, apart = (1.45, 1.3) if numbers[atom] > 1 else (1.09, 0.95)
        for _ in range(200):
            partner = random.integers(min(atom, max(heavy, 1)))
            step = random.normal(size=3)
            positions[atom] = positions[partner] + length * step / np.linalg.norm(step)
            if np.linalg.norm(positions[:atom] - positions[atom], axis=1).min() > apart:
                break
            apart -= 0.001
    return positions


def compositions(groups: int, random: np.random.Generator) -> Iterator[np.ndarray]:
    """Atomic numbers of so many molecules, no composition twice: the smallest and the largest first."""
    seen = set()
    sizes = iter([2, 63])
    while len(seen) < groups:
        n = next(sizes, 0) or int(np.clip(np.round(random.lognormal(2.6, 0.42)), 2, 63))
        heavy = np.sort(random.choice(HEAVY, random.integers(max(1, n // 4), n // 2 + 1), p=[0.6, 0.2, 0.2]))
        numbers = np.concatenate([heavy, np.ones(n - len(heavy), int)]).astype(np.uint8)
        if bytes(numbers) not in seen:
            seen.add(bytes(numbers))
            yield numbers


def write_frames(path: Path, frames: int, groups: int, seed: int = 0) -> None:
    """Write a file of the layout of ANI-1x."""
    random = np.random.default_rng(seed)
    molecules = list(compositions(groups, random))
    share = random.lognormal(0.0, 1.2, groups) * np.array([len(numbers) for numbers in molecules]) ** -1.8
    counts = np.maximum(1, np.round(frames * share / share.sum())).astype(int)
    counts[np.argmax(counts)] += frames - counts.sum()
    temporary = path.with_suffix(".part")
    with h5py.File(temporary, "w") as file, ProgressBar("made", frames, "frames") as progress:
        for number, (k, numbers) in enumerate(zip(counts, molecules, strict=True)):
            isomers = np.stack([isomer(numbers, random) for _ in range(1 + number % 3)])
            which = np.sort(random.integers(len(isomers), size=k))
            moved = random.standard_normal((k, len(numbers), 3), np.float32) * np.float32(0.08)
            moved -= moved.mean(axis=1, keepdims=True)
            energies = 0.5 * SPRING * np.square(moved, dtype=np.float64).sum(axis=(1, 2))
            energies += sum(ATOMIC[int(z)] for z in numbers) + 0.01 * which
            missing = random.random(k) < 0.01
            energies[missing], forces = np.nan, np.float32(-SPRING) * moved
            forces[missing] = np.nan
            few = np.full(k, np.nan)
            few[: k // 10] = energies[: k // 10]
            group = file.create_group(formula(numbers))
            group["atomic_numbers"] = numbers
            group["coordinates"] = isomers.astype(np.float32)[which] + moved
            group["wb97x_dz.energy"], group["wb97x_dz.forces"] = energies, forces
            group["ccsd(t)_cbs.energy"] = few
            progress.advance(k)
    temporary.rename(path)


class MemoryLimit:
    """A control group of the kernel with so much memory, which a command is started in; nothing if None."""

    def __init__(self, mebibytes: int | None):
        self.folder: Path | None = None
        if mebibytes is None:
            return
        old = CONTROL_GROUPS / "memory"  # version 1
        self.folder = (old if old.exists() else CONTROL_GROUPS) / f"frames-{os.getpid()}"
        self.limit, self.peak = (
            ("memory.limit_in_bytes", "memory.max_usage_in_bytes")
            if old.exists()
            else ("memory.max", "memory.peak")
        )
        self.folder.mkdir()
        (self.folder / self.limit).write_text(str(mebibytes << 20))

    def command(self, command: list[str]) -> list[str]:
        """The command, begun within the group."""
        if self.folder is None:
            return command
        return ["sh", "-c", f'echo $$ > {self.folder}/cgroup.procs && exec "$@"', "sh", *command]

    def close(self) -> str:
        """Remove the group; what the kernel counted at most, pages of files among it."""
        if self.folder is None:
            return ""
        peak, limit = (int((self.folder / name).read_text()) >> 20 for name in (self.peak, self.limit))
        self.folder.rmdir()
        return f"; limited to {limit:,} MiB, {peak:,} in use at most with pages of files"


def forget(folder: Path) -> None:
    """Let the kernel forget the pages of all files: those of another command would not be counted."""
    for path, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(path, name), "rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def show(title: str, usage: Usage, limited: str) -> None:
    """Print time and memory of a command."""
    used = usage.processes
    print(
        f"{title}: {usage.wall:,.1f} s, {usage.cpu:,.1f} core seconds; memory {used.peak / 2**20:,.0f} MiB, "
        f"{used.peak_private / 2**20:,.0f} MiB of it no pages of files, in {used.most} processes{limited}",
        flush=True,
    )


def prepare(file: Path, folder: Path, report: bool, memory: int | None, environment: dict[str, str]) -> Path:
    """Prepare the file and print the figures; the store."""
    structures = folder / "structures"
    command = [sys.executable, "-m", "chemscale.prepare", "data=structures", f"data.path={file}"]
    command += [f"structures={structures}", f"report={str(report).lower()}"]
    if memory is not None:
        forget(folder)
    limit = MemoryLimit(memory)
    usage = run_measured(
        limit.command(command), folder / "prepare.log", environment, lambda: size(structures)
    )
    store = FrameStore(next(structures.glob("*/manifest.json")).parent)
    counts = store.manifest["counts"]
    show("prepare", usage, limit.close())
    arrays = sum(
        path.stat().st_size for path in store.path.iterdir() if path.suffix not in (".json", ".html")
    )
    megabytes = file.stat().st_size / 1e6
    print(
        f"    {counts['frames'] / usage.wall:,.0f} frames/s, {megabytes / usage.wall:,.1f} MB/s of the file; "
        f"{counts['frames'] / usage.cpu:,.0f} frames/s/core\n"
        f"    store {arrays / 1e6:,.0f} MB, {arrays / counts['atoms']:.1f} bytes/atom, disk while it ran "
        f"{usage.watched / 1e6:,.0f} MB, hash {store.hash[:16]}",
        flush=True,
    )
    started = time.perf_counter()
    FrameStore(store.path)
    print(f"    opened in {time.perf_counter() - started:.2f} s", flush=True)
    return store.path


def train(file: Path, folder: Path, options: argparse.Namespace, environment: dict[str, str]) -> None:
    """Train for some steps and print how long it took to begin, and how long it waited for data."""
    runs = folder / "runs"
    shutil.rmtree(runs, ignore_errors=True)
    command = [sys.executable, "-m", "chemscale.train", *TRAINING, f"data.path={file}", "data=structures"]
    command += [f"budget.steps={options.steps}", f"structures={folder / 'structures'}", f"runs={runs}"]
    command += [f"trainer.log_every={max(1, options.steps // 5)}", *options.keys]
    for again in ("first", "again"):
        shutil.rmtree(runs, ignore_errors=True)
        if options.memory is not None:
            forget(folder)
        limit = MemoryLimit(options.memory)
        began = datetime.now(UTC)
        usage = run_measured(limit.command(command), folder / "train.log", environment)
        show(f"train, {again}", usage, limit.close())
        record = json.loads(next(runs.rglob("record.json")).read_text())
        begun, line = datetime.fromisoformat(record["started"]) - began, record["truth"]
        print(
            f"    {record['state']}; began to train after {begun.total_seconds():,.0f} s, then "
            f"{line['frames_per_second']:,.1f} frames/s, data wait {line['data_wait_percent']:.2f} %",
            flush=True,
        )


def load(store: FrameStore, batches: int = 300) -> None:
    """Print how fast one core makes batches of 64 frames in the order of training, with neighbours known."""
    data = StructureDataModule(store, BatchBudget(frames=64), 5.0, seed=0)
    made = data.training_batches()
    spent, wall, frames, edges = time.process_time(), time.perf_counter(), 0, 0
    for number in range(batches):
        counts = made[number].counts
        frames, edges = frames + counts["frames"], edges + counts["edges"]
    spent, wall = time.process_time() - spent, time.perf_counter() - wall
    known = 4 * int(data.train_edges.offsets[-1])
    print(
        f"loader: {frames / spent:,.0f} frames/s/core, {1e3 * spent / batches:.2f} ms a batch of 64 frames "
        f"and {edges / batches:,.0f} edges ({1e3 * wall / batches:.2f} ms by the clock)\n"
        f"    neighbours on disk {known / 1e6:,.0f} MB, {known / int(data.plan.atoms.sum()):.1f} bytes/atom",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("keys", nargs="*", help="of the training, KEY=VALUE")
    parser.add_argument("--frames", type=int, default=200_000)
    parser.add_argument("--groups", type=int, default=3000)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--memory", type=int, default=None, help="MiB that both commands may use")
    parser.add_argument("--report", action="store_true", help="with report=true")
    parser.add_argument("--only", choices=("make", "prepare", "train", "load"), default=None)
    parser.add_argument("--folder", type=Path, default=None, help="kept; else a temporary one")
    options = parser.parse_args()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"frames-{options.frames}-{options.groups}.h5"
        if not file.exists():
            write_frames(file, options.frames, options.groups)
        print(f"{options.frames:,} frames, {file.stat().st_size / 1e6:,.0f} MB", flush=True)
        if options.only in (None, "prepare"):
            shutil.rmtree(folder / "structures", ignore_errors=True)
            prepare(file, folder, options.report, options.memory, environment)
        if options.only in (None, "train"):
            train(file, folder, options, environment)
        if options.only in (None, "load"):
            load(FrameStore(next((folder / "structures").glob("*/manifest.json")).parent))


if __name__ == "__main__":
    main()
