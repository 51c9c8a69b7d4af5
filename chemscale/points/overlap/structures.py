"""What a training set and benchmarks of frames have in common, in numbers and rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chemscale.molecules.metrics.intervals import share
from chemscale.molecules.overlap.targets import OverlapError
from chemscale.points.overlap.frames import filled, frames_named
from chemscale.points.overlap.named import parent_named
from chemscale.points.overlap.page import CLEAN_ROWS, ROWS, write_page, write_rows
from chemscale.structures.overlap.comparing import (
    LEVELS,
    Benchmark,
    Benchmarks,
    Found,
    compare_frames,
    copy_of,
    levels_of,
    neighbours,
    several_molecules,
    undecided,
)
from chemscale.structures.overlap.frame_sets import FrameSet, StoreFrames
from chemscale.structures.preparation.molecules import SAMPLE
from chemscale.structures.store import PARTS

if TYPE_CHECKING:
    from chemscale.points.overlap.run import Options

SCHEMA_VERSION = 1
NONE = "none"
EXAMPLES = 8
BARS = 30
HEADER = (
    "benchmark", "name", "row", "level", "training_frames", "training_name", "training_row", "distance",
    "rmsd", "nearest_name", "nearest_row",
)  # fmt: skip
CLEAN = ("benchmark", "name", "row", "level", "distance")


def compare_structures(
    training: str, names: Sequence[str], folder: Path, options: Options
) -> tuple[Path, dict[str, Any]]:
    """Compare a training set with benchmarks, and write it down.

    Args:
        training: files, a store, a run, or an option of ``data=``.
        names: of benchmarks, likewise; none to compare the parts of a store.
        folder: that is written to.
        options: how they are compared.

    Returns:
        The page, and its content.

    Raises:
        OverlapError: there is nothing to compare with.
        FileNotFoundError: a set is not here.
        ValueError: files are refused.
    """
    trained = frames_named(training, "TRAIN", trained_on=True)
    sets = [frames_named(name, "BENCHMARK") for name in names] or _held_out(training, trained)
    benchmarks = Benchmarks(sets, most=options.sample, seed=options.seed)
    found = compare_frames(trained, benchmarks)
    near: Near = {frame: rest for frame, *rest in neighbours(benchmarks)}
    content = {
        "schema_version": SCHEMA_VERSION,
        "kind": "structures",
        "asked": [training, *names],
        "training": {
            "name": trained.name,
            "read": trained.describe(),
            "frames": found.frames,
            "copies": found.agreeing["identical"],
        },
        "levels": LEVELS,
        "near": options.near,
        "benchmarks": [_benchmark(each, found, near, options.near) for each in benchmarks.members],
        "notes": list(_notes(training, found, benchmarks)),
    }
    every = [(each, levels_of(each, found)) for each in benchmarks.members]
    rows = (row for each, levels in every for row in _found_rows(each, levels, found, near, options.near))
    write_rows(folder / ROWS, HEADER, rows)
    clean = (row for each, levels in every for row in _clean_rows(each, levels, near, options.near))
    write_rows(folder / CLEAN_ROWS, CLEAN, clean)
    return write_page(folder, content), content


def _held_out(training: str, trained: FrameSet) -> list[FrameSet]:
    """The other parts of the store that was trained on."""
    if not isinstance(trained, StoreFrames):
        raise OverlapError(
            f"{training}: name a benchmark to compare it with; without one, the parts of a prepared corpus "
            "or store are compared with each other."
        )
    parts = filled(trained.store, PARTS[1:])
    if not parts:
        raise OverlapError(f"{training}: the store has no part beside the training part: name a benchmark.")
    return [StoreFrames.parts(f"{part} part of {training}", trained.store, (part,)) for part in parts]


Near = dict[int, list[Any]]
"""D and RMSD in Å, name and row of the nearest training frame, by number over all benchmarks."""


def _benchmark(benchmark: Benchmark, found: Found, near: Near, limit: float) -> dict[str, Any]:
    levels = levels_of(benchmark, found)
    names = list(LEVELS)
    of_groups = [benchmark.groups[levels <= number] for number in range(len(names))]
    return {
        "name": benchmark.of.name,
        "read": benchmark.of.describe(),
        "frames": len(benchmark),
        "single": benchmark.single,
        "periodic": benchmark.periodic,
        "groups": len(benchmark.names),
        "undecided": undecided(benchmark, found),
        "levels": {
            name: {
                "frames": int((levels <= number).sum()),
                "share": float((levels <= number).mean()),
                "groups": len(np.unique(of_groups[number])),
            }
            for number, name in enumerate(names)
        },
        "distances": _distances(benchmark, near, limit),
        "nearest": _nearest(benchmark, near),
    }


def _distances(benchmark: Benchmark, near: Near, limit: float) -> dict[str, Any] | None:
    """Distribution of D of the nearest training frame, of the sampled frames that have one."""
    values = np.array([near[frame][0] for frame in benchmark.sample.tolist()])
    if not len(values):
        return None
    finite = values[np.isfinite(values)]
    exact = len(values) == len(benchmark) - benchmark.periodic
    close = share(int((values <= limit).sum()), len(values)).to_dict()
    if exact:
        close |= {"low": None, "high": None}
    shown: dict[str, Any] = {"edges": None, "shares": None, "quantiles": None}
    if len(finite):
        top = float(max(np.quantile(finite, 0.998), limit, 1e-3))
        edges = np.linspace(0, top, BARS + 1)
        shares = np.histogram(np.clip(finite, 0, top), edges)[0] / len(values)
        quantiles = {str(q): float(np.quantile(finite, q)) for q in (0.05, 0.25, 0.5, 0.75, 0.95)}
        shown = {"edges": edges.tolist(), "shares": shares.tolist(), "quantiles": quantiles}
    return {"frames": len(values), "compared": len(finite), "exact": exact, "close": close, **shown}


def _nearest(benchmark: Benchmark, near: Near) -> list[dict[str, Any]]:
    """The sampled frames that are nearest to a training frame."""
    ranked = sorted((near[f][0], f) for f in benchmark.sample.tolist() if np.isfinite(near[f][0]))
    shown = []
    for distance, frame in ranked[:EXAMPLES]:
        place = frame - benchmark.first
        _, away, name, row = near[frame]
        shown.append(
            {
                "where": _where(benchmark, place),
                "training": f"{name}, row {row}",
                "distance": distance,
                "rmsd": away if np.isfinite(away) else None,
            }
        )
    return shown


def _where(benchmark: Benchmark, frame: int) -> str:
    return f"{benchmark.names[benchmark.groups[frame]]}, row {benchmark.rows[frame]}"


def _is_near(near: Near, number: int, limit: float) -> bool:
    return number in near and near[number][0] <= limit


def _found_rows(
    benchmark: Benchmark, levels: np.ndarray, found: Found, near: Near, limit: float
) -> Iterator[list[Any]]:
    names = [*LEVELS, NONE]
    for frame, level in enumerate(levels.tolist()):
        number = benchmark.first + frame
        if level == len(LEVELS) and not _is_near(near, number, limit):
            continue
        cells: list[Any] = [
            benchmark.of.name,
            benchmark.names[benchmark.groups[frame]],
            benchmark.rows[frame],
        ]
        cells.append(names[level])
        cells += copy_of(benchmark, found, frame) or [0, "", ""]
        distance, away, name, row = near.get(number, [np.inf, np.nan, "", -1])
        cells += [
            f"{distance:.5f}" if np.isfinite(distance) else "",
            f"{away:.5f}" if np.isfinite(away) else "",
        ]
        yield [*cells, name, row if name else ""]


def _clean_rows(benchmark: Benchmark, levels: np.ndarray, near: Near, limit: float) -> Iterator[list[Any]]:
    names = [*LEVELS, NONE]
    for frame, level in enumerate(levels.tolist()):
        number = benchmark.first + frame
        if level == 0 or _is_near(near, number, limit):
            continue
        distance = near[number][0] if number in near else np.inf
        told = f"{distance:.5f}" if np.isfinite(distance) else ""
        name = benchmark.names[benchmark.groups[frame]]
        yield [benchmark.of.name, name, benchmark.rows[frame], names[level], told]


def _notes(training: str, found: Found, benchmarks: Benchmarks) -> Iterator[str]:
    """What a reader should know of how the sets were compared."""
    if parent := parent_named(training):
        yield (
            f"{training} was fine-tuned from {parent}: these are its own training frames. What {parent} "
            "was trained on is compared by naming it."
        )
    if found.single:
        yield f"{found.single:,} training frames of single atoms are not compared."
    for each in benchmarks.members:
        if each.single:
            yield f"{each.of.name}: {each.single:,} frames of single atoms are not compared."
        if each.periodic:
            yield (
                f"{each.of.name}: {each.periodic:,} frames are periodic; their nearest training frames "
                "are not looked for, copies and compositions are."
            )
        unsure = undecided(each, found)
        if unsure:
            yield (
                f"{each.of.name}: of {unsure:,} frames the composition decides whether the molecule was "
                "trained on: bonds say nothing of crystals and of what falls apart."
            )
        if several := several_molecules(each, found):
            yield (
                f"{each.of.name}: {several:,} names stand for several molecules, here or in the training "
                f"set, and the bonds of {SAMPLE} frames of each name were looked at: the level molecule is "
                "a guess for their frames, the level composition is not."
            )
        unlooked = len(each) - each.periodic - len(each.sample)
        if unlooked and not len(each.sample):
            yield f"{each.of.name}: nearest frames were not looked for (--sample 0)."
        elif unlooked:
            yield (
                f"{each.of.name}: nearest frames are those of a random sample of {len(each.sample):,} of "
                f"{len(each) - each.periodic:,} frames (--sample); the other {unlooked:,} may be nearly "
                f"alike and still stand in {CLEAN_ROWS}."
            )
