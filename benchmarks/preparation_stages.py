"""What preparing very many molecules costs beside the chemistry: reading, visits, merging, shards.

    python -m benchmarks.preparation_stages [--parts 3000] [--rows 32768] [--workers 2] [--plan 1e9]
                                            [--folder DIR]

Made part files stand for those of stage 1: of the real dtype, with hashes and text at random, 45 characters a
row. No molecule is in them. Timed are, by CPU time of all processes:

- reading rows, which every process that shares a build does for all of them (a made file of SMILES, gzip);
- visits: what one bucket of stage 2 spends on all parts, over a sample, before and after the merge;
- the merge of parts to runs, by the workers, with the memory of all processes;
- stage 3: made buckets to shards, with their checksums, and the table of dropped rows.

``--plan N`` extrapolates each to N rows: visits go with parts times buckets, all others with the rows.
``--folder`` needs 71 bytes a row of room for the parts, and as much for what a worker merges at a time.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.processes import Processes, size
from chemscale.molecules.preparation import merging
from chemscale.molecules.preparation.build import BUCKET_BYTES
from chemscale.molecules.preparation.dropped import write_dropped_rows, write_dropped_table
from chemscale.molecules.preparation.merging import merge_parts
from chemscale.molecules.preparation.shards import ShardWriter, validation_limit, write_bucket
from chemscale.molecules.preparation.sharing.work import Alone
from chemscale.molecules.preparation.sources import Reading
from chemscale.molecules.preparation.stages import (
    BUCKET_DTYPE,
    PART_DTYPE,
    Bucket,
    Sources,
    _members,
    bucket_path,
    part_path,
)
from chemscale.molecules.preparation.standardize import Policy
from chemscale.molecules.starter.recombine import starter_smiles
from chemscale.molecules.tokenizers.opening import tokenizer_of

CHARACTERS, SYMBOLS = 45, 40
"""Of a molecule: those of PubChem."""
DUPLICATES = 0.01
SAMPLED = 24
"""Buckets whose visits are timed."""
FULL_ROWS = 32_768
"""Rows of a part of a large build."""


@dataclass
class Cost:
    """Seconds of CPU time of this process and those it started, seconds of wall time, and peak memory."""

    cpu: float
    wall: float
    memory: int


def timed(call: Callable[[], object]) -> Cost:
    """Cost of a call."""
    used, ended = Processes(os.getpid()), threading.Event()
    used.look()
    before, started = sum(used.cpu.values()), time.perf_counter()
    used.peak = 0

    def look() -> None:
        while not ended.wait(0.2):
            used.look()

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        call()
    finally:
        ended.set()
        watcher.join()
        used.look()
    return Cost(sum(used.cpu.values()) - before, time.perf_counter() - started, used.peak)


def make_part(folder: Path, number: int, rows: int, chance: np.random.Generator) -> None:
    """One part of made rows."""
    path = part_path(folder, number)
    index = np.zeros(rows, PART_DTYPE)
    index["hash"] = np.sort(chance.integers(0, 1 << 64, rows, dtype=np.uint64))
    index["row"] = chance.permutation(rows) + 1 + number * rows
    index["length"] = chance.integers(CHARACTERS - 20, CHARACTERS + 21, rows)
    index["start"] = np.cumsum(index["length"]) - index["length"]
    index["heavy"] = 25
    text = chance.integers(65, 91, int(index["length"].sum()), dtype=np.uint8)
    np.save(path, index)
    path.with_suffix(".smi").write_bytes(text.tobytes())
    path.with_suffix(".dropped").write_text("")


def visits(sources: Sources, buckets: int) -> float:
    """CPU seconds that one bucket spends on all sorted files, the molecules in it included."""
    width = (1 << 64) // buckets
    started = time.process_time()
    for n in np.linspace(0, buckets - 1, SAMPLED).astype(int).tolist():
        for _ in _members(Bucket(n, n * width, (n + 1) * width, sources, Policy())):
            pass
    return (time.process_time() - started) / SAMPLED


def make_buckets(folder: Path, buckets: int, rows: int, chance: np.random.Generator) -> list[Path]:
    """Made buckets of so many rows each."""
    vocabulary = [f"[C{n}]" for n in range(200)]
    paths = []
    for number in range(buckets):
        path = bucket_path(folder, number)
        index = np.zeros(rows, BUCKET_DTYPE)
        index["hash"] = np.sort(chance.integers(0, 1 << 64, rows, dtype=np.uint64))
        index["length"], index["heavy"] = chance.integers(SYMBOLS - 20, SYMBOLS + 21, rows), 25
        np.save(path, index)
        tokens = chance.integers(0, len(vocabulary), int(index["length"].sum())).astype("<u2")
        path.with_suffix(".tokens").write_bytes(tokens.tobytes())
        path.with_suffix(".vocabulary").write_text(json.dumps(vocabulary))
        dropped = [[int(r), "duplicate", "C" * CHARACTERS, "of row 1"] for r in range(int(rows * DUPLICATES))]
        write_dropped_rows(path.with_suffix(".dropped"), dropped)
        paths.append(path)
    return paths


def write_shards(folder: Path, paths: list[Path]) -> None:
    """Stage 3 without its manifest."""
    by_hash = [path.with_suffix(".dropped") for path in paths]
    write_dropped_table(folder / "dropped.csv.gz", [], by_hash, lambda row: ("made.smi", row))
    tokenizer = tokenizer_of({f"[C{n}]" for n in range(200)}, "selfies", stereo=True)
    limit = validation_limit(folder, len(paths), 0.02)
    writers = {split: ShardWriter(folder, split) for split in ("train", "validation")}
    for path in paths:
        write_bucket(path, tokenizer, limit, writers)
    for writer in writers.values():
        writer.close()


def read(path: Path) -> None:
    """All rows of a file, as chunks."""
    for _ in Reading([path]).chunks(4096, 8):
        pass


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", type=int, default=3000)
    parser.add_argument("--rows", type=int, default=FULL_ROWS, help="of a part")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--plan", type=float, default=1e9, help="rows to extrapolate to")
    parser.add_argument("--folder", type=Path, default=None, help="for the files, which are removed")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=options.folder))
    try:
        measure(folder, options)
    finally:
        shutil.rmtree(folder)


def measure(folder: Path, options: argparse.Namespace) -> None:
    """Make files, time what is done with them, and print a line for each."""
    chance, plan = np.random.default_rng(0), options.plan
    rows = options.parts * options.rows
    smiles = folder / "made.smi.gz"
    with gzip.open(smiles, "wt", compresslevel=6) as file:
        file.write("".join(f"{text}\n" for text in starter_smiles(2000, workers=1)) * 200)
    show("reading, each process", timed(lambda: read(smiles)), 400_000, plan)
    smiles.unlink()
    for number in range(options.parts):
        make_part(folder, number, options.rows, chance)
    before = size(folder)
    print(f"{options.parts:,} parts of {options.rows:,} rows: {before / rows:.0f} bytes a row", flush=True)
    buckets = 1 << ((rows * CHARACTERS) // BUCKET_BYTES).bit_length()
    full = 1 << (int(plan * CHARACTERS) // BUCKET_BYTES).bit_length()
    of_plan = plan / FULL_ROWS
    of_parts = visits(Sources(folder, options.parts), buckets)
    found: list[Sources] = []
    merging.MERGE_ABOVE = 0
    cost = timed(lambda: found.append(merge_parts(folder, options.parts, options.workers, Alone())))
    show(f"merge to {found[0].count} runs, {options.workers} workers", cost, rows, plan)
    print(f"    disk after it {size(folder) / rows:.0f} bytes a row", flush=True)
    runs = found[0].count
    of_runs = visits(found[0], buckets)
    # Both have the same rows: what differs is the number of files.
    each = (of_parts - of_runs) / (options.parts - runs)
    of_row = (of_runs - each * runs) / (rows / buckets)
    hours = [each * full * of_plan / group / 3600 for group in (1, merging.GROUP)]
    print(
        f"visits: {1e6 * each:.0f} µs each, {1e6 * of_row:.2f} µs a row; here {buckets:,} buckets x "
        f"{options.parts:,} parts {each * buckets * options.parts:,.0f} core s, x {runs} runs "
        f"{each * buckets * runs:,.1f} core s; {plan:.0e} rows: {full:,} x {of_plan:,.0f} "
        f"{hours[0]:.1f} core h, merged {hours[1]:.2f} core h",
        flush=True,
    )
    for path in folder.glob("run-*"):
        path.unlink()
    of_bucket = BUCKET_BYTES * 3 // 4 // CHARACTERS
    paths = make_buckets(folder, 64, of_bucket, chance)
    print(f"64 buckets of {of_bucket:,} rows: {size(folder) / (64 * of_bucket):.0f} bytes a row", flush=True)
    show("shards", timed(lambda: write_shards(folder, paths)), 64 * of_bucket, plan)


def show(title: str, cost: Cost, rows: int, plan: float) -> None:
    """Print what a stage cost, and what it would cost for more rows."""
    each = cost.cpu / rows
    print(
        f"{title}: {1e6 * each:.2f} µs a row by CPU time ({cost.wall:,.1f} s wall, {cost.cpu:,.1f} s CPU), "
        f"memory {cost.memory / 2**20:,.0f} MiB; {plan:.0e} rows: {each * plan / 3600:.2f} core h",
        flush=True,
    )


if __name__ == "__main__":
    main()
