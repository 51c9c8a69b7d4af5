"""What a comparison of training and benchmark sets costs, and how often its levels are wrong on real data.

    python benchmarks/overlap.py rate TRAINING BENCHMARK [--molecules 20000] [--rows 10000]
    python benchmarks/overlap.py levels FILE FILE … [--molecules 50000]
    python benchmarks/overlap.py frames TRAINING BENCHMARK … [--near 0.01 0.02 0.05]

``rate`` times one process (CPU seconds, so that other work on the machine does not show): reading the
benchmark; of a training molecule its canonical SMILES, its keys, its fingerprint, and its comparison with
every benchmark molecule. It counts the pairs that the bound on numbers of bits would have looked at.
``levels`` joins files of SMILES, takes all pairs whose parents have one graph of elements, and asks RDKit's
tautomer enumerator, which goes through the tautomers one by one, which of them are the same: beside the hash
that the level ``parent`` goes by, InChI's first block and RDKit's older hash. ``frames`` says how near frames
of other sets are by chance.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem import rdMolHash
from rdkit.Chem.MolStandardize import rdMolStandardize

from chemscale.molecules.overlap.keys import Compared, Level
from chemscale.molecules.overlap.neighbours import Nearest
from chemscale.molecules.overlap.search import search
from chemscale.molecules.overlap.sets import MoleculeFiles
from chemscale.molecules.overlap.targets import Targets
from chemscale.molecules.preparation.sources import Reading
from chemscale.molecules.preparation.standardize import ANY_LENGTH, Molecule, standardize
from chemscale.points.overlap.frames import frames_named
from chemscale.structures.overlap.comparing import Benchmarks, compare_frames, levels_of, neighbours

MAX_TAUTOMERS = 500
HASHES = {
    "RDKit HetAtomTautomerv2 (the level parent)": rdMolHash.HashFunction.HetAtomTautomerv2,
    "RDKit HetAtomTautomer": rdMolHash.HashFunction.HetAtomTautomer,
}


def texts_of(path: Path, most: int, skip: int = 0) -> list[str]:
    """SMILES of a file, so many after those that are skipped."""
    rows = (text for _, chunk in Reading([path]).chunks(4096) for _, text, _ in chunk)
    return list(itertools.islice(rows, skip, skip + most))


class Clock:
    """CPU seconds of this process by what they were spent on."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = defaultdict(float)
        self._last = time.process_time()

    def lap(self, what: str) -> None:
        now = time.process_time()
        self.spent[what] += now - self._last
        self._last = now


def rate(training: Path, benchmark: Path, molecules: int, rows: int) -> None:
    """Seconds by step, pairs a second, and what 10⁷ training molecules would take."""
    folder = Path(tempfile.mkdtemp())
    (folder / "training.smi").write_text("\n".join(texts_of(training, molecules)) + "\n")
    (folder / "benchmark.smi").write_text("\n".join(texts_of(benchmark, rows)) + "\n")
    trained, bench = (MoleculeFiles(name, [folder / name]) for name in ("training.smi", "benchmark.smi"))
    started = time.process_time()
    targets = Targets.read([bench], most=rows, silent=True)
    reading = time.process_time() - started
    print(f"benchmark: {len(targets.smiles):,} molecules read in {reading:.1f} s CPU")
    clock, nearest, within = Clock(), Nearest(targets.bits), 0
    looked = 0
    for number, text in enumerate(texts_of(training, min(molecules, 5000))):
        clock.lap("rest")
        result = standardize(text, ANY_LENGTH)
        clock.lap("canonical SMILES")
        assert isinstance(result, Molecule)
        molecule = Compared(result.smiles)
        molecule.key(Level.IDENTICAL)
        known = molecule.formula in targets.formulas
        looked += known
        clock.lap("parent and formula")
        if known:
            molecule.key(Level.CONNECTIVITY)
            molecule.key(Level.PARENT)
        clock.lap("connectivity and parent, of those with a formula of the benchmark")
        molecule.key(Level.SCAFFOLD)
        clock.lap("scaffold")
        bits = molecule.bits
        clock.lap("fingerprint")
        nearest.add(bits, number)
        clock.lap("neighbours")
        # Columns whose number of bits allows a nearer neighbour than they have (Swamidass and Baldi 2007).
        counts = targets.bits.counts
        allowed = np.minimum(counts, len(bits)) / np.maximum(1, np.maximum(counts, len(bits)))
        within += int((allowed > nearest.best).sum())
        clock.lap("counting what bounds would leave out")
    seen = number + 1
    for what, seconds in clock.spent.items():
        print(f"  {1e6 * seconds / seen:8.1f} µs a molecule: {what}")
    print(f"  {looked / seen:.1%} of the molecules have a formula of the benchmark")
    print(f"  {within / seen / len(targets.bits):.1%} of the pairs are within the bound of numbers of bits")
    pairs = len(targets.bits) * seen / clock.spent["neighbours"]
    print(f"  {pairs:.3g} pairs of fingerprints a second and core")
    started = time.process_time()
    found = search(trained, targets, folder / "state", silent=True)
    speed = found.rows / (time.process_time() - started)
    print(f"whole: {speed:,.0f} training molecules a second and core")
    print(f"10⁷ training molecules × {len(targets.smiles):,}: {1e7 / speed / 3600:.2f} core hours")
    print({level.value: found.agreeing[level] for level in Level})


def levels(files: list[Path], molecules: int) -> None:
    """Pairs that tautomer hashes join or part, beside the tautomer enumerator."""
    groups: dict[str, dict[str, Chem.Mol]] = defaultdict(dict)
    total = 0
    for text in itertools.chain.from_iterable(texts_of(path, molecules) for path in files):
        result = standardize(text, ANY_LENGTH)
        if isinstance(result, Molecule):
            base = Compared(result.smiles)._base
            graph = rdMolHash.MolHash(Chem.Mol(base), rdMolHash.HashFunction.ElementGraph)
            groups[graph][Chem.MolToSmiles(base)] = base
            total += 1
    print(f"{total:,} molecules, {sum(map(len, groups.values())):,} parents before tautomers")
    enumerator = rdMolStandardize.TautomerEnumerator()
    enumerator.SetMaxTautomers(MAX_TAUTOMERS)
    keys = {name: lambda m, of=of: rdMolHash.MolHash(Chem.Mol(m), of) for name, of in HASHES.items()} | {
        "InChI's first block": lambda m: Chem.MolToInchiKey(m)[:14]
    }
    counts: dict[str, Counter[tuple[bool, bool]]] = {name: Counter() for name in keys}
    for members in groups.values():
        for one, other in itertools.combinations(members.values(), 2):
            with rdBase.BlockLogs():
                same = len({Chem.MolToSmiles(enumerator.Canonicalize(m), False) for m in (one, other)}) == 1
                for name, key in keys.items():
                    counts[name][same, key(one) == key(other)] += 1
                if counts and same != (keys[next(iter(HASHES))](one) == keys[next(iter(HASHES))](other)):
                    print(
                        "  enumerator" if same else "  hash", Chem.MolToSmiles(one), Chem.MolToSmiles(other)
                    )
    for name, found in counts.items():
        print(
            f"{name}: joins {found[True, True]} of {found[True, True] + found[True, False]} pairs that the "
            f"enumerator joins, and {found[False, True]} of {found[False, True] + found[False, False]} others"
        )


def frames(training: str, names: list[str], near: list[float]) -> None:
    """Frames of other sets that are nearly the same, by the distance that counts as that."""
    trained = frames_named(training, "TRAINING", trained_on=True)
    started = time.process_time()
    known = Benchmarks([frames_named(name, "BENCHMARK") for name in names], most=10_000, silent=True)
    found = compare_frames(trained, known, silent=True)
    seconds = time.process_time() - started
    print(
        f"{found.frames:,} training frames and {sum(map(len, known.members)):,} others in {seconds:.1f} s CPU"
    )
    distances = {frame: (far, away) for frame, far, away, _, _ in neighbours(known)}
    for member in known.members:
        values = np.array([distances[frame] for frame in member.sample.tolist()])
        copies = levels_of(member, found)[member.sample - member.first] == 0
        far, away = values[~copies].T
        print(
            f"{member.of.name}: {len(member):,} frames, {copies.sum():,} copies; of the {len(far):,} others"
        )
        for limit in near:
            close = far <= limit
            shown = f", largest RMSD {np.nanmax(away[close]):.3f} Å" if np.isfinite(away[close]).any() else ""
            print(f"  D ≤ {limit:g} Å: {close.sum():,} ({close.mean():.2%}){shown}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    one = verbs.add_parser("rate")
    one.add_argument("training", type=Path)
    one.add_argument("benchmark", type=Path)
    one.add_argument("--molecules", type=int, default=20_000)
    one.add_argument("--rows", type=int, default=10_000)
    two = verbs.add_parser("levels")
    two.add_argument("files", type=Path, nargs="+")
    two.add_argument("--molecules", type=int, default=50_000)
    three = verbs.add_parser("frames")
    three.add_argument("training")
    three.add_argument("benchmarks", nargs="+")
    three.add_argument("--near", type=float, nargs="+", default=[0.005, 0.01, 0.02, 0.05])
    given = parser.parse_args()
    if given.verb == "rate":
        rate(given.training, given.benchmark, given.molecules, given.rows)
    elif given.verb == "levels":
        levels(given.files, given.molecules)
    else:
        frames(given.training, given.benchmarks, given.near)


if __name__ == "__main__":
    main()
