"""Training on a large corpus: how long to the first step, and what memory a rank has, by the molecules.

    python benchmarks/large_corpus.py make FOLDER --molecules 10_000_000 [--like FILE] [--sparse]
    python benchmarks/large_corpus.py start FOLDER [--repeats 3] [key=value …]
    python benchmarks/large_corpus.py open FOLDER [--late 0.9] [--cold] [--fresh] [--sampled]

``make`` writes a corpus without any chemistry: the molecules of FILE (without it, starter molecules) are
drawn with replacement and written as shards with a valid manifest, beside a file of as many lines of SMILES
that a run names as ``data.path`` and hashes as it would any. ``--sparse`` leaves tokens and heavy atoms as
holes, so that 10⁹ molecules take the 2 GB of their lengths; there the file of SMILES stays small.

``start`` runs ``chemscale.train`` with a small model to its first optimizer step, in a process of its own,
and says where wall and CPU time went. ``open`` is one rank without training: it opens the corpus, builds
the first batch and one late in the first epoch, as a run that is resumed there does, and prints private
memory (RssAnon and the page tables), the pages that it shares (RssFile), and open files. ``--cold`` first
drops the shards and the index from the page cache; ``--fresh`` removes what was kept of the corpus before,
its index and the counts of its blocks; ``--sampled`` leaves out the count of all blocks.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

STARTED = "CHEMSCALE_BENCHMARK_STARTED"
MARK = "large_corpus "
SMALL = [
    "model.width=32", "model.layers=2", "model.heads=4", "batch.tokens=8192", "trainer.accelerator=cpu",
    "trainer.threads=1", "logger=jsonl", "budget.steps=null", "budget.epochs=1",
]  # fmt: skip
SAMPLE = 2000
"""Starter molecules that a corpus is made of."""


def make(arguments: argparse.Namespace) -> None:
    """Write the file of SMILES and the corpus of it."""
    from chemscale.molecules.preparation.build import build_corpus, corpus_key
    from chemscale.molecules.starter.recombine import starter_smiles
    from tests.helpers.large_corpora import repeated

    folder, wanted = arguments.folder, arguments.molecules
    folder.mkdir(parents=True)
    if arguments.like:
        opened = gzip.open if arguments.like.suffix == ".gz" else open
        with opened(arguments.like, "rt") as file:
            smiles = [line.split()[0] for line in file if line.strip()][:20_000]
    else:
        smiles = starter_smiles(SAMPLE, workers=1)
    small = folder / "small.smi"
    small.write_text("".join(f"{line}\n" for line in smiles))
    corpus = build_corpus([small], folder / "small", workers=1)
    source = folder / "molecules.smi"
    text = small.read_text()
    with open(source, "w") as out:
        for _ in range(1 if arguments.sparse else -(-wanted // len(smiles))):
            out.write(text)
    key = corpus_key([source])
    held_out = wanted // 50
    counts = {"train": wanted - held_out, "validation": held_out}
    started = time.perf_counter()
    path = repeated(corpus, folder / "corpora" / f"molecules-{key}", counts, key=key, sparse=arguments.sparse)
    print(f"{path}: {wanted:,} molecules in {time.perf_counter() - started:.1f} s")


def start(arguments: argparse.Namespace) -> None:
    """Run to the first step some times, and show the median of each stage."""
    runs = []
    for number in range(arguments.repeats):
        runs_folder = arguments.folder / f"runs-{number}"
        shutil.rmtree(runs_folder, ignore_errors=True)
        keys = [
            "data=smiles", f"data.path={arguments.folder / 'molecules.smi'}",
            f"corpora={arguments.folder / 'corpora'}", f"runs={runs_folder}", *SMALL, *arguments.keys,
        ]  # fmt: skip
        done = subprocess.run(
            [sys.executable, __file__, "child", *keys],
            env=os.environ | {STARTED: repr(time.time())},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        lines = [line for line in done.stdout.splitlines() if line.startswith(MARK)]
        if not lines:
            raise RuntimeError(done.stdout)
        runs.append(json.loads(lines[-1].removeprefix(MARK)))
        shutil.rmtree(runs_folder, ignore_errors=True)
    print(f"{'':24} {'wall s':>8} {'CPU s':>8}   median of {len(runs)}; least wall")
    for stage in runs[0]:
        wall, cpu = ([run[stage][n] for run in runs] for n in (0, 1))
        print(f"{stage:24} {statistics.median(wall):8.2f} {statistics.median(cpu):8.2f}   {min(wall):.2f}")


def child(keys: Sequence[str]) -> None:
    """The process that ``start`` looks at: the command ``chemscale.train`` with clocks around its stages."""
    began = float(os.environ[STARTED])
    spent: dict[str, list[float]] = {"Python": [time.time() - began, time.process_time()]}
    clock = [time.perf_counter(), time.process_time()]

    def mark(stage: str) -> None:
        now = [time.perf_counter(), time.process_time()]
        before = spent.get(stage, [0.0, 0.0])
        spent[stage] = [before[n] + now[n] - clock[n] for n in (0, 1)]
        clock[:] = now

    def staged(owner: Any, name: str, stage: str, rest: str) -> None:
        plain: Callable[..., Any] = getattr(owner, name)

        @wraps(plain)
        def timed(*given: Any, **named: Any) -> Any:
            mark(rest)
            try:
                return plain(*given, **named)
            finally:
                mark(stage)

        setattr(owner, name, timed)

    from chemscale.cli import train_application

    mark("imports: Hydra")
    import chemscale.launchers.run
    import chemscale.points.cost
    import chemscale.points.language
    import chemscale.points.run
    from chemscale.molecules.batches import TrainingBatches
    from chemscale.points.shared_data import SharedData
    from chemscale.training.session import TrainingSession
    from chemscale.training.step_boundary import StepBoundary

    mark("imports: all else")

    def first_step(self: Any, *given: Any, **named: Any) -> None:
        mark("first step")
        total = [time.time() - began, time.process_time()]
        memory = Path("/proc/self/status").read_text().split("RssAnon:")[1].split()[0]
        print(
            MARK + json.dumps({**spent, "TOTAL": total, "RssAnon, MB": [int(memory) / 1024, 0]}), flush=True
        )
        os._exit(0)

    StepBoundary.on_train_batch_end = first_step  # type: ignore[method-assign]
    staged(chemscale.points.cost, "resolve_config", "check of keys", "compose")
    staged(SharedData, "corpus", "open: hash and corpus", "plan: rest")
    staged(chemscale.points.language, "_epoch", "plan: blocks", "plan: rest")
    staged(chemscale.points.language, "time_trial", "plan: trial step", "plan: rest")
    staged(chemscale.points.run, "open_record", "record", "plan: rest")
    staged(TrainingSession, "open", "session", "session")
    staged(TrainingBatches, "__getitem__", "batches", "session")
    sys.argv = ["chemscale.train", *keys]
    train_application.main()


def opened(arguments: argparse.Namespace) -> None:
    """One rank without training: times and memory of opening, of the first batch, and of a late one."""
    from chemscale.molecules.corpus import MANIFEST, Corpus
    from chemscale.molecules.data_module import BatchShape, MoleculeDataModule
    from chemscale.molecules.storage.index_file import index_folders

    (path,) = (file.parent for file in (arguments.folder / "corpora").glob(f"*/{MANIFEST}"))
    manifest = json.loads((path / MANIFEST).read_text())
    if arguments.fresh:
        for folder in index_folders(path, manifest["corpus_hash"]):
            shutil.rmtree(folder, ignore_errors=True)
    if arguments.cold:
        for file in (*path.glob("*.bin"), *path.glob("index/*")):
            drop(file)
    show("imports done")
    clock = time.perf_counter(), time.process_time()

    def stage(name: str) -> None:
        nonlocal clock
        now = time.perf_counter(), time.process_time()
        show(name, now[0] - clock[0], now[1] - clock[1])
        clock = time.perf_counter(), time.process_time()

    corpus = Corpus.open(path)
    stage("corpus")
    data = MoleculeDataModule(corpus, BatchShape(1 << 16, 512), seed=0)
    stage("data module")
    about = data.plan.about_blocks_of_epoch()
    stage("blocks, estimated")
    batches = data.training_batches(0, 8)
    _ = batches[0]
    stage("first batch")
    for number in range(1, 51):
        _ = batches[number]
    stage("50 batches more")
    late = int(arguments.late * about) // (1 << 7)
    _ = batches[late]
    stage(f"batch {late:,}")
    again = MoleculeDataModule(corpus, BatchShape(1 << 16, 512), seed=0)
    _ = again.training_batches(0, 8)[late]
    stage("the same, resumed")
    if not arguments.sampled:
        blocks = data.plan.blocks_of_epoch()
        stage("blocks of the epoch")
        print(f"{blocks:,} blocks, estimated {about:,}: {about / blocks - 1:+.1e}")


def show(stage: str, wall: float = 0.0, cpu: float = 0.0) -> None:
    """One line of times and memory."""
    text = Path("/proc/self/status").read_text()
    of = {key: int(text.split(f"{key}:")[1].split()[0]) / 1024 for key in ("RssAnon", "RssFile", "VmPTE")}
    files = len(os.listdir("/proc/self/fd"))
    faults = resource.getrusage(resource.RUSAGE_SELF)
    memory = f"private {of['RssAnon']:7.1f} + {of['VmPTE']:5.1f} MB   shared {of['RssFile']:8.1f} MB"
    rest = f"{files} files   faults {faults.ru_majflt:,} / {faults.ru_minflt:,}"
    print(f"{stage:24} {wall:8.2f} s wall {cpu:8.2f} s CPU   {memory}   {rest}", flush=True)


def drop(file: Path) -> None:
    """Take a file out of the page cache, as far as the system does so."""
    descriptor = os.open(file, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def main() -> None:
    """Read the command line."""
    if sys.argv[1:2] == ["child"]:
        child(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb in ("make", "start", "open"):
        verbs.add_parser(verb).add_argument("folder", type=Path)
    verbs.choices["make"].add_argument("--molecules", type=int, default=10_000_000)
    verbs.choices["make"].add_argument("--like", type=Path)
    verbs.choices["make"].add_argument("--sparse", action="store_true")
    verbs.choices["start"].add_argument("--repeats", type=int, default=3)
    verbs.choices["start"].add_argument("keys", nargs="*")
    verbs.choices["open"].add_argument("--late", type=float, default=0.9)
    verbs.choices["open"].add_argument("--cold", action="store_true")
    verbs.choices["open"].add_argument("--fresh", action="store_true")
    verbs.choices["open"].add_argument("--sampled", action="store_true", help="do not count the whole epoch")
    arguments = parser.parse_args()
    {"make": make, "start": start, "open": opened}[arguments.verb](arguments)


if __name__ == "__main__":
    main()
