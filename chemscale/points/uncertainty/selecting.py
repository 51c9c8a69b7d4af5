"""Frames of a pool that are worth a label, written as a file that training reads."""

from __future__ import annotations

import csv
import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import write

from chemscale.common.files import atomic_path
from chemscale.common.progress import ProgressBar
from chemscale.points.uncertainty.opening import Uncertain, open_uncertain
from chemscale.points.uncertainty.pool import PoolReader, Seen, open_pool, training_keys
from chemscale.structures.blocks import Block, Source, SourceError
from chemscale.structures.calculator import atoms_of
from chemscale.structures.uncertainty.committee import Committee
from chemscale.structures.uncertainty.features import last_layer_features
from chemscale.structures.uncertainty.selection import METHODS, farthest, most_uncertain, whitened

log = logging.getLogger(__name__)

KNOWN_FRAMES = 2000
"""Training frames from which chosen ones are kept far, at most: the first so many, a fair sample."""


@dataclass(frozen=True)
class Selection:
    """What was chosen of a pool.

    Args:
        rows: (n,) in the pool, in the order of choice.
        values: (n,) uncertainty, or distance in features, of each; NaN for random ones.
        out: file of the frames.
        index: file of the rows.
        notes: on the pool and how it was judged.
    """

    rows: np.ndarray
    values: np.ndarray
    out: Path
    index: Path
    notes: list[str]


def select_frames(
    pool: str,
    model: str | Path,
    count: int,
    out: str | Path,
    *,
    method: str = "uncertain",
    batch: int = 32,
    device: str | None = None,
    seed: int = 0,
    length_unit: str | None = None,
    progress: bool = True,
) -> Selection:
    """Choose frames of a pool and write them as extended XYZ, with an index of their rows beside.

    Frames that the model was trained on are recognised by their geometry and never chosen, nor is a copy of
    another. Distances are between the mean last-layer features of a structure's atoms, each in units of its
    standard deviation over the pool: a mean does not grow with the molecule, so that large ones are not far
    from everything for their size alone. Nothing is written before all is known.

    Args:
        pool: a file, folder or pattern of frames, labelled or not.
        model: a run (its last layer), or a sweep of seeds (a committee).
        count: frames wanted; all where the pool has fewer.
        out: the file to write; ``OUT.rows.csv`` is written beside it.
        method: ``uncertain`` (the most uncertain that differ from each other), ``farthest`` (farthest point
            sampling from what was trained on), or ``random``.
        batch: frames at once.
        device: cpu, cuda or cuda:N; the GPU if there is one where None.
        seed: of random choices.
        length_unit: of the pool's positions; None for that of its format.
        progress: whether it is shown.

    Raises:
        ValueError: `out` exists, the method is none, or the model cannot be opened.
        FileNotFoundError: there is no such pool.
        SourceError: a frame cannot be read, or none is left to choose from.
    """
    out = Path(out)
    index = out.with_name(f"{out.name}.rows.csv")
    for path in (out, index):
        if path.exists():
            raise ValueError(f"{path} exists: choose another --out or remove it.")
    if method not in METHODS:
        raise ValueError(f"--method {method}: choose one of {', '.join(METHODS)}.")
    source = open_pool(pool, length_unit)
    opened = open_uncertain(model, device=device, batch=batch)
    known, told = _known(opened)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as scratch:
        reader = PoolReader(
            opened, known, batch=batch, features=method != "random", scores=method == "uncertain"
        )
        seen = reader.read(source, Path(scratch) / "features", progress=progress)
        taken = min(count, len(seen.rows))
        if taken < count:
            told.append(f"All {taken:,} frames that there are were taken: {count:,} were wanted.")
        places, values = _choose(opened, seen, taken, method, seed, progress)
        del seen.features
    rows = seen.rows[places]
    frames = _collect(source, rows)
    with atomic_path(index) as partial_index, atomic_path(out) as partial:
        _write(partial, frames, str(model), method)
        _write_index(partial_index, frames, values, method)
    return Selection(rows, values, out, index, [*seen.lines(), *told])


def _known(opened: Uncertain) -> tuple[np.ndarray, list[str]]:
    """Hashes of the training frames, and what there is to say where they are not known."""
    if opened.record is None:
        return np.zeros((0, 2), np.uint64), [
            f"There is no record beside {opened.source}: frames that it was trained on are not recognised."
        ]
    return training_keys(opened.frames()), []


def _choose(
    opened: Uncertain, seen: Seen, count: int, method: str, seed: int, progress: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Places in the pool as it was seen, and the uncertainty or distance of each."""
    if method == "random":
        chosen = np.random.default_rng(seed).permutation(len(seen.rows))[:count]
        return chosen, np.full(count, np.nan)
    mean, deviation = whitened(seen.features)
    scaled = _Scaled(seen.features, mean, deviation)
    with ProgressBar("choosing", count, "frames", every=10.0, silent=not progress) as shown:
        if method == "uncertain":
            chosen = most_uncertain(seen.scores, scaled, count, advance=shown.advance)  # type: ignore[arg-type]
            return chosen, seen.scores[chosen]
        known = None
        if opened.record is not None:
            known = (_training_features(opened) - mean) / deviation
        return farthest(scaled, count, known=known, advance=shown.advance)  # type: ignore[arg-type]


class _Scaled:
    """Features in units of their deviation, scaled as they are read from their file.

    Args:
        features: (M, P)
        mean: (P,)
        deviation: (P,)
    """

    def __init__(self, features: np.ndarray, mean: np.ndarray, deviation: np.ndarray):
        self.features, self.mean, self.deviation = features, mean, deviation
        self.shape = features.shape

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, rows: int | slice | np.ndarray) -> np.ndarray:
        scaled: np.ndarray = (self.features[rows] - self.mean) / self.deviation
        return scaled


def _training_features(opened: Uncertain) -> np.ndarray:
    """Mean last-layer features of training frames, (T, P)."""
    found = []
    frames = opened.frames()
    for data in frames.batches("train", opened.model.cutoff, frames=KNOWN_FRAMES, title="training frames"):
        sizes = (data.ptr[1:] - data.ptr[:-1]).double()
        features = last_layer_features(opened.potential, data.clone().to(opened.device)).of_structures
        found.append((features.cpu() / sizes[:, None]).numpy())
    return np.concatenate(found)


@dataclass(frozen=True)
class _Frame:
    """A chosen frame, as it is written."""

    row: int
    name: str
    atoms: Atoms


def _collect(source: Source, rows: np.ndarray) -> list[_Frame]:
    """The chosen frames, in the order of choice, from a second pass over the pool.

    Raises:
        SourceError: the pool changed meanwhile.
    """
    wanted = {int(row): place for place, row in enumerate(rows)}
    found: list[_Frame | None] = [None] * len(rows)
    for block in source.blocks():
        for number, row in enumerate(block.rows.tolist()):
            if row in wanted:
                found[wanted[row]] = _frame(block, number)
    if any(frame is None for frame in found):
        raise SourceError("POOL changed while frames were chosen. Run the command again.")
    return [frame for frame in found if frame is not None]


def _frame(block: Block, number: int) -> _Frame:
    """One frame with its labels as REF_energy, REF_forces and REF_stress, where it has any."""
    row, atoms = int(block.rows[number]), atoms_of(block, number)
    if np.isfinite(block.energies[number]):
        atoms.info["REF_energy"] = float(block.energies[number])
    if np.isfinite(block.forces[number]).any():
        atoms.arrays["REF_forces"] = block.forces[number]
    if block.stresses is not None and np.isfinite(block.stresses[number]).all():
        atoms.info["REF_stress"] = block.stresses[number]
    return _Frame(row, block.name, atoms)


def _write(path: Path, frames: list[_Frame], model: str, method: str) -> None:
    for frame in frames:
        frame.atoms.info |= {"selected_by": model, "selected_as": method}
    write(path, [frame.atoms for frame in frames], format="extxyz")


def _write_index(path: Path, frames: list[_Frame], values: np.ndarray, method: str) -> None:
    """One line a frame: order, row in the pool, name, and uncertainty or distance."""
    value = {"uncertain": "uncertainty", "farthest": "distance", "random": "value"}[method]
    with open(path, "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["order", "row", "name", value])
        for order, (frame, number) in enumerate(zip(frames, values.tolist(), strict=True)):
            rows.writerow([order, frame.row, frame.name, "" if np.isnan(number) else f"{number:.6g}"])


def describe_score(opened: Uncertain) -> str:
    """What the uncertainty of a frame is, in words.

    Args:
        opened: the model.
    """
    if isinstance(opened.model, Committee):
        return "largest deviation of the force on an atom, eV/Å"
    return "σ(E)/√n of the last layer, eV"
