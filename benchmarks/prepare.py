"""Preparation beside the bare SELFIES encoder: time, CPU time, memory of all processes, disk, same bytes.

    python -m benchmarks.prepare [FILE] [--molecules 100000] [--workers 1 2] [--folder DIR]
        [--respelled | --spliced]

FILE holds SMILES, one a line. ``--molecules`` takes so many of them, or makes as many different ones first,
before anything is measured: each further time round, every molecule is given another group at another atom
and written as RDKit's canonical SMILES, as collections are; ``--respelled`` writes atoms in another order,
which preparation must read twice. That takes a third of a millisecond a molecule; ``--spliced`` takes seconds
for all: groups are written before molecules as text, and the share that RDKit would write so is said. Without
FILE they are made of starter molecules, every eleventh with a counter-ion. ``--folder`` keeps the made file
and the corpora for another call; it needs some 250 bytes a molecule.

Each preparation is the command ``chemscale.prepare`` in processes of its own. CPU time and memory are those
of all its processes, read from /proc (Linux) ten times a second: memory is the sum of proportional set sizes,
in which pages that processes share count once. Rates a core are by CPU time, so that other work on the
machine does not show; the wall time does.
"""

from __future__ import annotations

import argparse
import collections
import gzip
import itertools
import os
import shutil
import sys
import tempfile
import time
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import selfies
from rdkit import Chem, rdBase

from benchmarks.processes import Processes, run_measured, size
from chemscale.common.parallel import process_pool
from chemscale.common.progress import ProgressBar
from chemscale.molecules.corpus import Corpus
from chemscale.molecules.starter.recombine import starter_smiles

GROUPS = [
    *(
        "F",
        "Cl",
        "Br",
        "C",
        "O",
        "N",
        "C#N",
        "CC",
        "OC",
        "NC",
        "C=O",
        "C(=O)O",
        "C(=O)N",
        "C(F)(F)F",
        "C(C)C",
    ),
    *("CO", "CN", "SC", "S(=O)(=O)C", "OCC", "CCO", "N(C)C", "NC(=O)C", "OC(F)F", "C1CC1", "c1ccccc1", "C#C"),
]
ENDS = [
    *("C", "CC", "CCC", "CCCC", "CO", "CCO", "CN", "CCN", "CS", "F", "Cl", "Br", "N#C", "O=C(O)", "NC(=O)"),
    *("CC(=O)", "CC(C)", "CC(C)(C)", "O", "N", "FC(F)(F)", "CN(C)", "COC(=O)", "CCOC(=O)", "CS(=O)(=O)"),
    *("NS(=O)(=O)", "CNC(=O)", "C#C", "C=C", "C1CC1", "c1ccc(cc1)"),
]
LINKS = [
    *(
        "",
        "C",
        "CC",
        "O",
        "CO",
        "OC",
        "N",
        "CN",
        "NC",
        "C(=O)",
        "C(=O)N",
        "NC(=O)",
        "S",
        "CCC",
        "CCO",
        "CS",
        "OCC",
    )
]
SALTS = ["Cl", "Br", "O=C(O)C(F)(F)F", "CS(=O)(=O)O"]
AT_ONCE = 1 << 12
ROOT = Path(__file__).resolve().parents[1]


def made(first: int, base: list[str], last: int, respelled: bool) -> list[str]:
    """Molecules of a range of numbers: a pure function of them.

    Args:
        first: number, of at most ``AT_ONCE``.
        base: molecules that they are made of.
        last: end of the numbers.
        respelled: write atoms in another order than RDKit's.
    """
    with rdBase.BlockLogs():
        numbers = range(first, min(first + AT_ONCE, last))
        return [variant(base[n % len(base)], n // len(base), n, respelled) for n in numbers]


def variant(smiles: str, turn: int, number: int, respelled: bool) -> str:
    """A molecule with another group at another atom each turn; itself at the first, and where none fits."""
    molecule = Chem.MolFromSmiles(smiles) if turn or respelled else None
    if molecule is None:
        return smiles
    sites = [
        atom.GetIdx()
        for atom in molecule.GetAtoms()
        if atom.GetAtomicNum() == 6 and atom.GetNumImplicitHs() and not atom.GetNumExplicitHs()
    ]
    if turn and sites:
        which, where = (turn - 1) % len(GROUPS), (turn - 1) // len(GROUPS)
        site, group = sites[where % len(sites)], Chem.MolFromSmiles(GROUPS[which])
        changed = Chem.RWMol(molecule)
        changed.InsertMol(group)
        changed.AddBond(site, molecule.GetNumAtoms(), Chem.BondType.SINGLE)
        if Chem.SanitizeMol(changed, catchErrors=True) == Chem.SanitizeFlags.SANITIZE_NONE:
            molecule = changed
    if respelled:
        return Chem.MolToRandomSmilesVect(molecule, 1, randomSeed=number + 1)[0]
    return Chem.MolToSmiles(molecule)


def write_spliced(path: Path, base: list[str], count: int) -> None:
    """Write different molecules, one a line, as text: groups before those whose first atom has a hydrogen.

    The groups are those before which most molecules stay as RDKit writes them.
    """
    with rdBase.BlockLogs():
        read = [(text, Chem.MolFromSmiles(text)) for text in base]
        base = [text for text, m in read if m is not None and m.GetAtomWithIdx(0).GetTotalNumHs()]
        before = {end + link for end in ENDS for link in LINKS}
        best = sorted(before, key=lambda group: (-canonical([group + text for text in base[::500]]), group))
        best = best[: -(-count // len(base))]
        if len(best) * len(base) < count:
            sys.exit(f"--spliced: at most {len(before) * len(base):,} molecules can be made of the file's.")
        temporary = path.with_suffix(".part")
        with open(temporary, "w") as file:
            made = (group + text for group in best for text in base)
            file.writelines(f"{text}\n" for text in itertools.islice(made, count))
        some = [group + text for group in best for text in base[::2000]]
        print(f"{canonical(some):.1%} of the molecules are as RDKit writes them", flush=True)
        temporary.rename(path)


def canonical(smiles: list[str]) -> float:
    """Share of texts that are RDKit's canonical SMILES."""
    found = [(text, Chem.MolFromSmiles(text)) for text in smiles]
    return sum(m is not None and Chem.MolToSmiles(m) == text for text, m in found) / len(found)


def write_molecules(path: Path, base: list[str], count: int, respelled: bool) -> None:
    """Write made molecules, one a line, on all cores."""
    make = partial(made, base=base, last=count, respelled=respelled)
    cores = len(os.sched_getaffinity(0))
    temporary = path.with_suffix(".part")
    with (
        open(temporary, "w") as file,
        process_pool(cores, with_main=True) as pool,
        ProgressBar("made", count, "molecules") as progress,
    ):
        waiting: collections.deque[Future[list[str]]] = collections.deque()
        tasks = iter(range(0, count, AT_ONCE))
        while True:
            waiting.extend(
                pool.submit(make, first) for first in itertools.islice(tasks, 2 * cores - len(waiting))
            )
            if not waiting:
                break
            lines = waiting.popleft().result()
            file.write("\n".join(lines) + "\n")
            progress.advance(len(lines))
    temporary.rename(path)


def bare(smiles: list[str]) -> float:
    """Molecules a second of CPU time of a loop that does nothing but encode."""
    started = time.process_time()
    for text in smiles:
        try:
            selfies.encoder(text)
        except selfies.EncoderError:
            continue
    return len(smiles) / (time.process_time() - started)


@dataclass
class Outcome:
    """Of one preparation: its corpus, seconds of wall and CPU time, memory, and bytes of disk at most."""

    corpus: Corpus
    wall: float
    cpu: float
    processes: Processes
    disk: int


def prepare(file: Path, target: Path, workers: int) -> Outcome:
    """Prepare a file by the command, in another process."""
    command = [sys.executable, "-m", "chemscale.prepare", "data=smiles", f"data.path={file.resolve()}"]
    command += [f"data.prepare_workers={workers}", f"corpora={target.resolve()}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    used = run_measured(command, target.with_suffix(".log"), environment, lambda: size(target))
    folder = next(path.parent for path in target.rglob("manifest.json"))
    return Outcome(Corpus.open(folder), used.wall, used.cpu, used.processes, used.watched)


def show(outcome: Outcome, workers: int, encoder: float) -> None:
    """Print the figures of a preparation."""
    rows = outcome.corpus.manifest["counts"]["rows"]
    rate = rows / outcome.cpu
    print(
        f"{workers} worker(s): {outcome.wall:,.1f} s, {rows / outcome.wall:,.0f} molecules/s; by CPU time "
        f"{rate:,.0f} molecules/s/core, {rate / encoder:.2f}x the bare encoder; "
        f"{outcome.cpu:,.1f} core seconds\n"
        f"    memory {outcome.processes.peak / 2**20:,.0f} MiB in {outcome.processes.most} processes, disk "
        f"{outcome.disk / 2**20:,.0f} MiB while it ran, corpus {size(outcome.corpus.path) / 2**20:,.0f} MiB "
        f"({size(outcome.corpus.path) / rows:.0f} bytes/row), hash {outcome.corpus.hash[:16]}",
        flush=True,
    )


def source(options: argparse.Namespace, folder: Path) -> Path:
    """The file that is prepared."""
    if options.file is None:
        enough = min(100_000, max(20_000, (options.molecules or 0) // 150))
        base = starter_smiles(enough, workers=len(os.sched_getaffinity(0)))
        base = [f"{text}.{SALTS[i % len(SALTS)]}" if i % 11 == 0 else text for i, text in enumerate(base)]
        base = [Chem.CanonSmiles(text) for text in base]
    else:
        opener = gzip.open if options.file.suffix == ".gz" else open
        with opener(options.file, "rt") as file:
            base = [line.split()[0] for line in file if line.strip()]
    count = options.molecules or len(base)
    spelled = "-respelled" if options.respelled else "-spliced" if options.spliced else ""
    path = folder / f"{options.file.name.split('.')[0] if options.file else 'starter'}-{count}{spelled}.smi"
    if not path.exists():
        if options.spliced:
            write_spliced(path, base, count)
        else:
            write_molecules(path, base, count, options.respelled)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, nargs="?")
    parser.add_argument("--molecules", type=int, default=None, help="so many, made of those of FILE")
    parser.add_argument("--respelled", action="store_true", help="atoms in another order than RDKit's")
    parser.add_argument("--spliced", action="store_true", help="made of text, in seconds")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--folder", type=Path, default=None, help="kept; else a temporary one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        path = source(options, folder)
        with open(path) as file:
            some = [
                line.strip() for line in itertools.islice(file, 0, None, max(1, line_count(path) // 10_000))
            ]
        encoder = bare(some)
        print(
            f"{line_count(path):,} molecules; bare selfies.encoder {encoder:,.0f} molecules/s/core",
            flush=True,
        )
        hashes = set()
        for workers in options.workers:
            target = folder / f"corpora-{workers}"
            shutil.rmtree(target, ignore_errors=True)
            outcome = prepare(path, target, workers)
            show(outcome, workers, encoder)
            hashes.add(outcome.corpus.hash)
            print(f"    bare encoder now {bare(some):,.0f} molecules/s/core", flush=True)
        print("the same bytes" if len(hashes) == 1 else "DIFFERENT BYTES")


def line_count(path: Path) -> int:
    """Lines of a file."""
    with open(path, "rb") as file:
        return sum(1 for _ in file)


if __name__ == "__main__":
    main()
