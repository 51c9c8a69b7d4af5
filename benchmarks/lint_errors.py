"""False errors of the data linter on sound data, and its power on spoiled data, by number of frames.

    python -m benchmarks.lint_errors FILE [FILE …] [--frames 2 3 5 …] [--subsets 300] [--spoiled 40]
        [--json OUT]

Of each file subsets of every size are drawn, half of them at random, half as a stretch of the file. A subset
of sound data on which the linter finds an error is a false error: in one part, or, of leakage alone,
cut into a training and a validation part. Subsets are then spoiled, one fault at a time, and it is counted
how often an error is found. An older linter is measured by running this file in its checkout.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from ase import units

from chemscale.structures.blocks import Block
from chemscale.structures.lint import Finding, lint
from chemscale.structures.sources import open_source

FRAMES = (2, 3, 5, 10, 20, 30, 50, 100, 300, 1000)
Blocks = list[Block]
KCAL = units.mol / units.kcal


def scaled(
    energies: float, forces: float, positions: float = 1.0
) -> Callable[[Blocks, np.random.Generator], Blocks]:
    """A fault that multiplies labels.

    Args:
        energies: factor.
        forces: factor.
        positions: factor of positions and cells.
    """

    def spoil(blocks: Blocks, _: np.random.Generator) -> Blocks:
        return [
            replace(
                b,
                energies=b.energies * energies,
                forces=b.forces * forces,
                positions=b.positions * positions,
                cells=None if b.cells is None else b.cells * positions,
            )
            for b in blocks
        ]

    return spoil


def shuffled_energies(blocks: Blocks, random: np.random.Generator) -> Blocks:
    """Energies of one composition in another order."""
    return [replace(b, energies=random.permutation(b.energies)) for b in blocks]


def shuffled_forces(blocks: Blocks, random: np.random.Generator) -> Blocks:
    """Forces of one composition in another order."""
    return [replace(b, forces=b.forces[random.permutation(len(b))]) for b in blocks]


def one_atom_fixed(blocks: Blocks, _: np.random.Generator) -> Blocks:
    """No force on the first atom."""
    return [replace(b, forces=b.forces * (np.arange(len(b.numbers)) > 0)[None, :, None]) for b in blocks]


def zero_but_two(blocks: Blocks, _: np.random.Generator) -> Blocks:
    """Forces of two frames only."""
    left, spoiled = 2, []
    for b in blocks:
        kept = np.arange(len(b)) < left
        left -= int(kept.sum())
        spoiled.append(replace(b, forces=np.where(kept[:, None, None], b.forces, 0.0)))
    return spoiled


def halves(blocks: Blocks, _: np.random.Generator) -> Blocks:
    """Energies as 16-bit numbers."""
    with np.errstate(over="ignore"):
        return [replace(b, energies=b.energies.astype(np.float16).astype(float)) for b in blocks]


FAULTS: dict[str, Callable[[Blocks, np.random.Generator], Blocks]] = {
    "gradients as forces": scaled(1, -1),
    "energies shuffled": shuffled_energies,
    "forces shuffled": shuffled_forces,
    "kcal/mol as eV": scaled(KCAL, KCAL),
    "Hartree as eV": scaled(1 / units.Hartree, 1 / units.Hartree),
    "energies alone in kcal/mol": scaled(KCAL, 1),
    "energies alone in Hartree": scaled(1 / units.Hartree, 1),
    "forces in eV/Bohr": scaled(1, units.Bohr),
    "Bohr as Å": scaled(1, units.Bohr, 1 / units.Bohr),
    "all forces zero": scaled(1, 0),
    "zero forces but in two frames": zero_but_two,
    "one atom without force": one_atom_fixed,
    "one energy for all": scaled(0, 1),
    "energies in 16 bits": halves,
}


def without_copies(blocks: Blocks) -> Blocks:
    """Blocks less frames with exactly the energy of an earlier one: files hold a few true copies."""
    seen: set[float] = set()
    kept = []
    for b in blocks:
        new = np.array([not (e in seen or seen.add(e)) for e in b.energies.tolist()])  # type: ignore[func-returns-value]
        if new.any():
            kept.append(b.select(new))
    return kept


def subset(blocks: Blocks, number: int, random: np.random.Generator, stretch: bool) -> Blocks:
    """Some frames of a file, those of one block together.

    Args:
        blocks: of the file.
        number: of frames.
        random: which.
        stretch: whether they follow each other in the file.
    """
    sizes = np.array([len(b) for b in blocks])
    total = int(sizes.sum())
    start = int(random.integers(0, total - number + 1))
    chosen = (
        np.arange(start, start + number) if stretch else np.sort(random.choice(total, number, replace=False))
    )
    block = np.searchsorted(np.cumsum(sizes), chosen, side="right")
    first = np.cumsum(sizes) - sizes
    return [blocks[b].select(chosen[block == b] - first[b]) for b in np.unique(block)]


def split(blocks: Blocks, random: np.random.Generator) -> tuple[Blocks, Blocks]:
    """Four fifths and one fifth of the frames."""
    sides: tuple[Blocks, Blocks] = ([], [])
    for b in blocks:
        kept = random.random(len(b)) < 0.8
        for side, mask in zip(sides, (kept, ~kept), strict=True):
            if mask.any():
                side.append(b.select(mask))
    return sides


def errors(*parts: Blocks) -> list[Finding]:
    """Errors of the linter on a training part, and a validation part.

    Args:
        parts: their blocks.
    """
    named = dict(zip(("train", "validation"), parts, strict=False))
    found = lint({name: lambda blocks=blocks: iter(blocks) for name, blocks in named.items()})  # type: ignore[misc]
    return [f for f in found if f.severity == "error"]


def measure(path: Path, frames: Sequence[int], subsets: int, spoiled: int) -> list[dict[str, object]]:
    """False errors and power on subsets of one file.

    Args:
        path: of structures with sound labels.
        frames: sizes of subsets.
        subsets: how many of each size, fewer of large ones.
        spoiled: of them are spoiled with every fault.
    """
    blocks = without_copies(list(open_source(path).blocks()))
    total = sum(map(len, blocks))
    rows: list[dict[str, object]] = []
    for number in (n for n in frames if n <= total):
        random = np.random.default_rng(number)
        false: Counter[str] = Counter()
        found: Counter[str] = Counter()
        tried = max(10, min(subsets, subsets * 100 // number))
        broken = max(5, min(spoiled, spoiled * 100 // number))
        wrong, started = 0, time.perf_counter()
        for draw in range(tried):
            sound = subset(blocks, number, random, stretch=draw % 2 == 1)
            checks = {f.check for f in errors(sound)}
            train, validation = split(sound, random)
            if train and validation:
                checks |= {f.check for f in errors(train, validation) if f.check == "leakage"}
            wrong += bool(checks)
            false.update(checks)
        seconds = (time.perf_counter() - started) / tried
        for _ in range(broken):
            sound = subset(blocks, number, random, stretch=False)
            found.update(name for name, spoil in FAULTS.items() if errors(spoil(sound, random)))
            copies = [replace(b.select(np.array([0])), positions=b.positions[:1] + 3.0) for b in sound]
            found["a copy in the validation part"] += any(f.check == "leakage" for f in errors(sound, copies))
        rows.append(
            {
                "file": path.name,
                "frames": number,
                "subsets": tried,
                "false": wrong,
                "checks": dict(false),
                "spoiled": broken,
                "found": dict(found),
                "seconds": round(seconds, 3),
            }
        )
        print(
            f"{path.name:44} {number:5} frames: {wrong:3} of {tried} false {dict(false) or ''} "
            f"{seconds:.2f} s each",
            flush=True,
        )
    return rows


def tables(rows: list[dict[str, object]]) -> str:
    """Both tables in Markdown: false errors and power, by number of frames over all files."""
    sizes = sorted({int(r["frames"]) for r in rows})  # type: ignore[call-overload]
    head = "| | " + " | ".join(map(str, sizes)) + " |\n|---|" + "---|" * len(sizes)

    def line(name: str, value: Callable[[int], str]) -> str:
        return f"| {name} | " + " | ".join(value(size) for size in sizes) + " |"

    def share(size: int, of: str, count: Callable[[dict[str, object]], int]) -> str:
        chosen = [r for r in rows if r["frames"] == size]
        return f"{100 * sum(map(count, chosen)) / sum(int(r[of]) for r in chosen):.3g}"  # type: ignore[call-overload]

    files = sorted({str(r["file"]) for r in rows})
    lines = ["False errors on sound data, % of subsets, by number of frames", "", head]
    lines += [line("all files", lambda size: share(size, "subsets", lambda r: int(r["false"])))]  # type: ignore[call-overload]
    for file in files:
        counts = {r["frames"]: f"{r['false']}/{r['subsets']}" for r in rows if r["file"] == file}
        lines.append(line(file, lambda size, counts=counts: counts.get(size, "")))  # type: ignore[misc]
    lines += ["", "Faults found, % of spoiled subsets, by number of frames", "", head]
    for name in [*FAULTS, "a copy in the validation part"]:
        lines.append(
            line(
                name,
                lambda size, name=name: share(size, "spoiled", lambda r: r["found"].get(name, 0)),  # type: ignore
            )
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--frames", nargs="+", type=int, default=FRAMES)
    parser.add_argument("--subsets", type=int, default=300)
    parser.add_argument("--spoiled", type=int, default=40)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = [
        row
        for file in arguments.files
        for row in measure(file, arguments.frames, arguments.subsets, arguments.spoiled)
    ]
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))
    print(tables(rows))


if __name__ == "__main__":
    main()
