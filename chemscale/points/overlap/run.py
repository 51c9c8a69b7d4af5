"""A training set compared with benchmarks, of molecules or of structures, and written down."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chemscale.common.locks import file_lock
from chemscale.common.parallel import worker_count
from chemscale.molecules.corpus import MANIFEST
from chemscale.molecules.overlap.search import search
from chemscale.molecules.overlap.sets import CorpusMolecules, MoleculeSet
from chemscale.molecules.overlap.targets import OverlapError, Targets
from chemscale.points.overlap.molecules import CLEAN, HEADER, NONE, Comparison, describe_molecules
from chemscale.points.overlap.named import kind_of, molecules_named, parent_named
from chemscale.points.overlap.page import CLEAN_ROWS, FIGURES, ROWS, write_page, write_rows
from chemscale.points.overlap.texts import lines_of

STATE = ".state"
"""Folder of a comparison that is not written down yet."""


@dataclass(frozen=True)
class Options:
    """How sets are compared.

    Args:
        column: of molecules in the files of benchmarks; None to find it.
        training_column: likewise in those of the training set.
        sample: distinct molecules, or frames, of each benchmark whose nearest neighbours are looked for.
        seed: of the sample.
        near: Å: frames are nearly alike whose interatomic distances differ by at most so much (RMS).
        workers: processes; None for one a core.
    """

    column: str | None = None
    training_column: str | None = None
    sample: int = 10_000
    seed: int = 0
    near: float = 0.02
    workers: int | None = None


@dataclass(frozen=True)
class Written:
    """A comparison that was written down.

    Args:
        page: to look at.
        content: what it says.
    """

    page: Path
    content: dict[str, Any]

    def lines(self) -> list[str]:
        """What it says in a few lines."""
        return lines_of(self.content)


def compare(training: str, benchmarks: Sequence[str], out: Path | None, options: Options) -> Written:
    """Compare a training set with benchmarks; without any, its training part with its own other parts.

    Args:
        training: files, a corpus or store, a run, or an option of ``data=``.
        benchmarks: likewise.
        out: folder that is written to; None for one named after the training set, with a number where others
            were compared with it before.
        options: how.

    Raises:
        OverlapError: sets that cannot be compared, or `out` has the comparison of others.
        FileNotFoundError: a name means nothing.
        ValueError: a file is refused.
    """
    kinds = {
        name: kind_of(name, "TRAIN" if name == training else "BENCHMARK") for name in (training, *benchmarks)
    }
    known = {kind for kind in kinds.values() if kind is not None}
    if len(known) > 1:
        listed = ", ".join(f"{name} is of {kind}" for name, kind in kinds.items() if kind)
        raise OverlapError(f"Molecules are not compared with structures: {listed}.")
    asked = [training, *benchmarks]
    for folder in _folders(training) if out is None else [out]:
        folder.mkdir(parents=True, exist_ok=True)
        with file_lock(folder / ".lock"):
            held = _asked(folder)
            if held not in (None, asked):
                continue
            if "structures" in known:
                from chemscale.points.overlap.structures import compare_structures  # loads torch

                return Written(*compare_structures(training, benchmarks, folder, options))
            return Written(*_molecules(training, benchmarks, folder, options))
    raise OverlapError(
        f"--out {out}: the comparison of {' with '.join(held or ())} is there. Choose another folder."
    )


def _folders(training: str) -> Iterator[Path]:
    """Names of folders for comparisons of a training set, one after another."""
    named = Path(f"overlap-{re.sub(r'[^A-Za-z0-9._-]+', '_', Path(training).name) or 'sets'}")
    yield named
    for number in itertools.count(2):
        yield named.with_name(f"{named.name}-{number}")


def _asked(folder: Path) -> list[str] | None:
    """The sets whose comparison is in a folder; None where there is none."""
    try:
        found = json.loads((folder / FIGURES).read_text())["asked"]
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        return ["other sets"]
    return [str(each) for each in found]


def _molecules(
    training: str, benchmarks: Sequence[str], folder: Path, options: Options
) -> tuple[Path, dict[str, Any]]:
    trained = molecules_named(
        training, "TRAIN", options.training_column, trained_on=True, column_key="--train-column"
    )
    sets: list[MoleculeSet] = [
        molecules_named(name, "BENCHMARK", options.column, column_key="--column") for name in benchmarks
    ]
    if not sets:
        sets = [_held_out(training, trained)]
    workers = worker_count(options.workers)
    targets = Targets.read(sets, most=options.sample, seed=options.seed, workers=workers)
    found = search(trained, targets, folder / STATE, workers=workers)
    comparison = Comparison(trained, targets, found)
    content = describe_molecules(comparison, list(_notes(training, trained, comparison)))
    write_rows(
        folder / ROWS, HEADER, (cells for leaked, cells in _rows(comparison) if leaked or cells[5] != NONE)
    )
    write_rows(
        folder / CLEAN_ROWS, CLEAN, (_clean(cells) for leaked, cells in _rows(comparison) if not leaked)
    )
    content["asked"] = [training, *benchmarks]
    page = write_page(folder, content)
    shutil.rmtree(folder / STATE)  # last: until all is written, nothing needs to be looked at again
    return page, content


def _rows(comparison: Comparison) -> Iterator[tuple[bool, list[Any]]]:
    for benchmark in comparison.targets.benchmarks:
        yield from comparison.rows(benchmark)


def _clean(cells: list[Any]) -> list[Any]:
    return [*cells[:5], "yes" if cells[5] == "scaffold" else "no", cells[10]]


def _held_out(training: str, trained: MoleculeSet) -> MoleculeSet:
    """The validation part of the corpus that was trained on."""
    if isinstance(trained, CorpusMolecules):
        return CorpusMolecules(f"validation part of {training}", trained.path, ("validation",))
    raise OverlapError(
        f"{training}: name a benchmark to compare it with; without one, the parts of a prepared corpus or "
        "store are compared with each other."
    )


def _notes(training: str, trained: MoleculeSet, comparison: Comparison) -> Iterator[str]:
    """What a reader should know of how the sets were compared."""
    if parent := parent_named(training):
        yield (
            f"{training} was fine-tuned from {parent}: these are its own training molecules. What {parent} "
            "was trained on is compared by naming it."
        )
    if isinstance(trained, CorpusMolecules):
        policy = json.loads((trained.path / MANIFEST).read_text())["policy"]
        if policy.get("stereo") == "strip":
            yield (
                "The corpus has no stereo (data.stereo=strip): molecules with stereo can only be found from "
                "the level connectivity on, which is what the model has seen of them."
            )
        if policy.get("salts") == "largest" or policy.get("charge") == "neutralize":
            yield (
                "The corpus holds parents (data.salts, data.charge): salts and ions are found from the level "
                "parent on, which is what the model has seen of them."
            )
    for benchmark in comparison.targets.benchmarks:
        refused = sum(benchmark.refused.values())
        if refused:
            rows = refused + len(benchmark.rows)
            yield f"{benchmark.name}: {refused:,} of {rows:,} rows are no molecules; they are in no share."
        unlooked = len(benchmark.distinct()) - len(benchmark.sample)
        if not len(benchmark.sample):
            yield f"{benchmark.name}: nearest neighbours were not looked for (--sample 0)."
        elif unlooked:
            yield (
                f"{benchmark.name}: nearest neighbours are those of a random sample of "
                f"{len(benchmark.sample):,} of {len(benchmark.distinct()):,} distinct molecules (--sample); "
                f"the other {unlooked:,} may be nearly alike and still stand in {CLEAN_ROWS}."
            )
