"""A training set of frames compared with benchmarks: one pass, of which no frame is kept.

Memory grows with the benchmarks, and with the names of training frames that share a composition with them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from chemscale.common.progress import ProgressBar
from chemscale.structures.blocks import Block, SourceError
from chemscale.structures.overlap.closeness import Lengths, rmsd, sorted_distances
from chemscale.structures.overlap.frame_sets import FrameSet
from chemscale.structures.overlap.identity import among, formula_of, geometry_prints, graph_of, is_periodic
from chemscale.structures.preparation.molecules import SAMPLE

LEVELS = {
    "identical": "the same geometry: interatomic distances agree within 10⁻³ Å (of three atoms 10⁻⁴, of two "
    "10⁻⁶ Å), copies that are turned, moved, mirrored, wrapped or reordered included",
    "molecule": "a training frame shows the same molecule: the same elements and bonds, those of "
    f"{SAMPLE} frames of each name and composition; where bonds say nothing (crystals, what falls apart), "
    "the same composition",
    "composition": "a training frame has the same composition; of a crystal the same reduced formula",
}
"""How alike a frame and a training frame are, the strictest first; each holds for those above it too."""
GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@dataclass
class Sampled:
    """Sampled benchmark frames of one composition, as others are compared with them.

    Args:
        frames: (m,) their numbers over all benchmarks.
        numbers: (m, n) atomic numbers in the order of the atoms.
        positions: (m, n, 3) Å.
        lengths: their sorted distances.
        best: (m,) Å to the nearest training frame; infinite where there is none.
        nearest: name and row of that one.
        rmsd: (m,) Å after superposition; NaN where the atoms are in another order.
    """

    frames: np.ndarray
    numbers: np.ndarray
    positions: np.ndarray
    lengths: Lengths
    best: np.ndarray
    nearest: list[tuple[str, int]]
    rmsd: np.ndarray

    def add(self, block: Block) -> None:
        """Compare a block of training frames; of equally near ones the first stays."""
        for at, far in self.lengths.compare(block.numbers, block.positions):
            place = far.argmin(axis=0)
            found = far[place, np.arange(len(self.best))]
            for column in np.flatnonzero(found < self.best).tolist():
                frame = at.start + int(place[column])
                self.best[column] = found[column]
                self.nearest[column] = (block.name, int(block.rows[frame]))
                same = np.array_equal(block.numbers, self.numbers[column])
                self.rmsd[column] = rmsd(block.positions[frame], self.positions[column]) if same else np.nan


@dataclass
class Benchmark:
    """One benchmark; F frames of two atoms or more.

    Args:
        of: where its frames are from.
        first: number of its first frame over all benchmarks.
        prints: (F, 2) hashes of geometries.
        groups: (F,) number of each frame's name and composition.
        rows: (F,) of the frames in their files.
        names: of the groups.
        formulas: of the groups.
        graphs: of the groups: bonds of some of their frames, None where these say nothing.
        single: frames of single atoms, which are not compared.
        periodic: frames of crystals, whose nearest frames are not looked for.
        sample: (m,) numbers of the frames whose nearest training frame is looked for.
    """

    of: FrameSet
    first: int
    prints: np.ndarray
    groups: np.ndarray
    rows: np.ndarray
    names: list[str]
    formulas: list[int]
    graphs: list[set[int | None]]
    single: int
    periodic: int
    sample: np.ndarray

    def __len__(self) -> int:
        return len(self.prints)


@dataclass(slots=True)
class _Group:
    """Frames of one name and composition."""

    name: str
    formula: int
    graphs: set[int | None] = field(default_factory=set)
    seen: int = 0

    def look(self, block: Block, most: int = SAMPLE) -> None:
        """Look at the bonds of the next frames, up to as many as suffice."""
        for frame in range(min(len(block), most - self.seen)):
            self.graphs.add(graph_of(block, frame))
            self.seen += 1


class Benchmarks:
    """Benchmarks in memory.

    Args:
        sets: of frames.
        most: frames of each whose nearest training frames are looked for, drawn at random.
        seed: of the draw.
        bonds: frames of each name and composition whose bonds are looked at.
        silent: show no progress.

    Raises:
        SourceError: one has no frame of two atoms or more, or cannot be read.
    """

    def __init__(
        self,
        sets: Sequence[FrameSet],
        *,
        most: int,
        seed: int = 0,
        bonds: int = SAMPLE,
        silent: bool = False,
    ):
        self._bonds = bonds
        self.members: list[Benchmark] = []
        self.sampled: dict[int, list[Sampled]] = {}
        first = 0
        for of in sets:
            member = self._read(of, first, most, seed, silent)
            self.members.append(member)
            first += len(member)
        self.prints = [
            np.unique(np.concatenate([member.prints[:, column] for member in self.members]))
            for column in (0, 1)
        ]
        self.formulas = {formula for member in self.members for formula in member.formulas}

    def _read(self, of: FrameSet, first: int, most: int, seed: int, silent: bool) -> Benchmark:
        prints: list[np.ndarray] = []
        groups: dict[tuple[str, int], int] = {}
        described: list[_Group] = []
        columns: list[list[np.ndarray]] = [[], []]
        kept = _Draw(most, seed)
        single = periodic = frames = 0
        with ProgressBar(f"read {of.name}", of.total, "frames", silent=silent) as progress:
            for block in of.blocks():
                progress.advance(len(block))
                if len(block.numbers) < 2 and not is_periodic(block):
                    single += len(block)
                    continue
                key = (block.name, formula_of(block))
                number = groups.setdefault(key, len(groups))
                if number == len(described):
                    described.append(_Group(*key))
                described[number].look(block, self._bonds)
                found = geometry_prints(block)
                prints.append(found)
                columns[0].append(np.full(len(block), number))
                columns[1].append(block.rows)
                if is_periodic(block):
                    periodic += len(block)
                else:
                    kept.add(block, key[1], first + frames + np.arange(len(block)), found[:, 0])
                frames += len(block)
        if not frames:
            raise SourceError(f"{of.name}: there is no frame of two atoms or more in it.")
        sample = self._keep(kept)
        return Benchmark(
            of,
            first,
            np.concatenate(prints),
            np.concatenate(columns[0]),
            np.concatenate(columns[1]),
            [group.name for group in described],
            [group.formula for group in described],
            [group.graphs for group in described],
            single,
            periodic,
            sample,
        )

    def _keep(self, kept: _Draw) -> np.ndarray:
        """Take in the sample of a benchmark; the numbers of its frames."""
        by_formula: dict[int, list[tuple[int, np.ndarray, np.ndarray]]] = {}
        for _, frame, formula, numbers, positions in sorted(kept.members, key=lambda each: each[:2]):
            by_formula.setdefault(formula, []).append((frame, numbers, positions))
        for formula, members in by_formula.items():
            numbers = np.stack([each[1] for each in members])
            positions = np.stack([each[2] for each in members])
            lengths = np.concatenate(
                [sorted_distances(z, x[None]) for z, x in zip(numbers, positions, strict=True)]
            )
            m = len(members)
            frames = np.array([each[0] for each in members])
            best, away = np.full(m, np.inf), np.full(m, np.nan)
            self.sampled.setdefault(formula, []).append(
                Sampled(frames, numbers, positions, Lengths(lengths), best, [("", -1)] * m, away)
            )
        return np.array(sorted(each[1] for each in kept.members), np.int64)


class _Draw:
    """A random sample of frames that depends on the geometries only: those of the lowest mixed hashes."""

    def __init__(self, most: int, seed: int):
        self.most, self.seed = most, seed
        self.members: list[tuple[int, int, int, np.ndarray, np.ndarray]] = []
        self._limit = np.uint64(2**64 - 1)

    def add(self, block: Block, formula: int, frames: np.ndarray, prints: np.ndarray) -> None:
        if not self.most:
            return
        with np.errstate(over="ignore"):
            mixed = (prints ^ (np.uint64(self.seed + 1) * GOLDEN)) * GOLDEN
            mixed ^= mixed >> np.uint64(29)
        for i in np.flatnonzero(mixed <= self._limit).tolist():
            frame = block.positions[i].copy()
            self.members.append((int(mixed[i]), int(frames[i]), formula, block.numbers, frame))
        if len(self.members) > self.most:
            self.members = sorted(self.members, key=lambda each: each[:2])[: self.most]
            self._limit = np.uint64(self.members[-1][0])


@dataclass
class Found:
    """What a training set has in common with benchmarks.

    Args:
        frames: of the training set.
        single: of them of single atoms, which are not compared.
        copies: by column and hash of a geometry: training frames that have it, name and row of the first.
        groups: training names by composition, with the bonds of some of their frames.
        agreeing: training frames that have a benchmark frame's geometry, as "identical".
    """

    frames: int = 0
    single: int = 0
    copies: list[dict[int, tuple[int, str, int]]] = field(default_factory=lambda: [{}, {}])
    groups: dict[int, dict[str, _Group]] = field(default_factory=dict)
    agreeing: Counter[str] = field(default_factory=Counter)

    def graphs(self, formula: int) -> set[int | None]:
        """Bonds of training frames of a composition; None among them where these say nothing."""
        return {graph for group in self.groups.get(formula, {}).values() for graph in group.graphs}


def compare_frames(training: FrameSet, benchmarks: Benchmarks, *, silent: bool = False) -> Found:
    """Compare every training frame with the benchmarks.

    Args:
        training: the frames that stream by.
        benchmarks: in memory.
        silent: show no progress.

    Raises:
        SourceError: the training set has no frame, or cannot be read.
    """
    found = Found()
    with ProgressBar(f"compare {training.name}", training.total, "frames", silent=silent) as progress:
        for block in training.blocks():
            found.frames += len(block)
            progress.advance(len(block))
            if len(block.numbers) < 2 and not is_periodic(block):
                found.single += len(block)
                continue
            formula = formula_of(block)
            if formula not in benchmarks.formulas:
                continue
            group = found.groups.setdefault(formula, {}).setdefault(block.name, _Group(block.name, formula))
            group.look(block)
            _add_copies(found, block, benchmarks)
            if not is_periodic(block):
                for sampled in benchmarks.sampled.get(formula, []):
                    sampled.add(block)
    if not found.frames:
        raise SourceError(f"{training.name}: there is no frame in it.")
    return found


def _add_copies(found: Found, block: Block, benchmarks: Benchmarks) -> None:
    prints = geometry_prints(block)
    any_of = np.zeros(len(block), bool)
    for column in (0, 1):
        known = among(prints[:, column], benchmarks.prints[column])
        any_of |= known
        for i in np.flatnonzero(known).tolist():
            key = int(prints[i, column])
            count, name, row = found.copies[column].get(key, (0, block.name, int(block.rows[i])))
            found.copies[column][key] = (count + 1, name, row)
    found.agreeing["identical"] += int(any_of.sum())


def levels_of(benchmark: Benchmark, found: Found) -> np.ndarray:
    """Number of the strictest level of each frame, (F,); the number of levels where it agrees at none.

    Args:
        benchmark: of the comparison.
        found: what the training set has in common with it.
    """
    of_group = np.full(len(benchmark.names), len(LEVELS), np.int64)
    for number, (formula, graphs) in enumerate(zip(benchmark.formulas, benchmark.graphs, strict=True)):
        if formula not in found.groups:
            continue
        others = found.graphs(formula)
        undecided = None in graphs or None in others
        of_group[number] = 1 if graphs & others or undecided else 2
    levels = of_group[benchmark.groups]
    for column in (0, 1):
        known = np.array(sorted(found.copies[column]), np.uint64)
        levels[among(benchmark.prints[:, column], known)] = 0
    return levels


def undecided(benchmark: Benchmark, found: Found) -> int:
    """Frames whose molecule is told by the composition: bonds say nothing of them, or of training frames.

    Args:
        benchmark: of the comparison.
        found: what the training set has in common with it.
    """
    doubtful = []
    for formula, graphs in zip(benchmark.formulas, benchmark.graphs, strict=True):
        others = found.graphs(formula)
        shared = (graphs & others) - {None}
        doubtful.append(formula in found.groups and None in graphs | others and not shared)
    return int(np.array(doubtful, bool)[benchmark.groups].sum())


def several_molecules(benchmark: Benchmark, found: Found) -> int:
    """Names of a benchmark in which different bonds were seen, or in training frames of their composition.

    Args:
        benchmark: of the comparison.
        found: what the training set has in common with it.
    """
    count = 0
    for formula, graphs in zip(benchmark.formulas, benchmark.graphs, strict=True):
        groups = [graphs, *(group.graphs for group in found.groups.get(formula, {}).values())]
        count += formula in found.groups and any(len(each - {None}) > 1 for each in groups)
    return count


def copy_of(benchmark: Benchmark, found: Found, frame: int) -> tuple[int, str, int] | None:
    """How many training frames have the geometry of a frame, and name and row of the first; None for none.

    Args:
        benchmark: that it is in.
        found: what the training set has in common with it.
        frame: its place in the benchmark.
    """
    hits = [found.copies[column].get(int(benchmark.prints[frame, column])) for column in (0, 1)]
    known = [hit for hit in hits if hit]
    return max(known, key=lambda hit: hit[0]) if known else None


def neighbours(benchmarks: Benchmarks) -> Iterator[tuple[int, float, float, str, int]]:
    """Number over all benchmarks, D and RMSD in Å, and name and row of the nearest, of each sampled frame."""
    for members in benchmarks.sampled.values():
        for each in members:
            for i, frame in enumerate(each.frames.tolist()):
                yield frame, float(each.best[i]), float(each.rmsd[i]), *each.nearest[i]
