"""Reference energies of a trained potential for another level of theory: shifts by least squares.

Total energies of one molecule differ between levels of theory (and codes, and pseudopotentials) by eV to
10⁴ eV, nearly all of it a constant for each atom. What the parent leaves of the new labels is fitted by
composition, so that training begins with the parent's bonds and the new level's atoms.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import numpy as np
import torch
from ase.data import chemical_symbols

from chemscale.common.progress import ProgressBar
from chemscale.models.potential import Potential
from chemscale.structures.batches import read_batch
from chemscale.structures.data_module import StructureDataModule
from chemscale.structures.references import References, compositions

MAX_FRAMES = 4096
"""So many training frames are predicted; they come in random order, and shifts are a number an element."""
OF_AN_ELEMENT = 64
"""So many more for each element that none of those holds."""
CHUNK = 32
"""Frames that are predicted at once."""
DIGITS = 9
"""Decimals of a shift in eV: less than any label has, more than sums in another order change."""


def refit(
    potential: Potential, data: StructureDataModule, new: Sequence[int], *, keep: bool = False
) -> References:
    """Reference energies with which a potential describes training frames best, its network left as it is.

    Where compositions do not determine all shifts, those of elements that the parent knows are the smallest
    that fit: structures of such compositions are right, and others are moved as little as can be.

    Args:
        potential: knows all elements of the frames; reference energies of new ones are 0.
        data: whose training frames are taken.
        new: atomic numbers that the parent did not know.
        keep: leave the elements that it knew as they are.
    """
    elements = potential.elements
    known = potential.references.double().numpy()
    frames = _labelled(data, elements)
    if not len(frames):
        without = "No training frame has an energy: reference energies stay the parent's"
        return References(tuple(known.tolist()), (f"{without}{', those of new elements 0' * bool(new)}.",))
    counts = compositions(data.store, data.train[frames], elements)
    labels = data.store.energies(data.train[frames])
    rest = labels - predicted_energies(potential, data, frames)
    is_new = np.array([z in new for z in elements])
    shifts, rank = fit_shifts(counts, rest, is_new, keep=keep)
    notes = [_described(elements, known + shifts, shifts, is_new, len(frames), keep=keep)]
    atoms = counts.sum(1)
    before, after = (1e3 * np.sqrt(np.mean((r / atoms) ** 2)) for r in (rest, rest - counts @ shifts))
    if not (keep and not is_new.any()):
        notes.append(f"With them its energies are off by {after:.3g} meV an atom (RMS), before {before:.3g}.")
    seen = counts.any(0)
    fitted = (seen & is_new) if keep else seen
    if rank < fitted.sum():
        notes.append(
            f"Compositions determine {rank} of {fitted.sum()} shifts; of those that fit, the smallest for "
            "elements that the parent knows are taken: right for structures of such compositions."
        )
    return References(tuple(float(v) for v in known + shifts), tuple(notes))


def _labelled(data: StructureDataModule, elements: Sequence[int]) -> np.ndarray:
    """Positions within the training subset of the frames that are fitted to."""
    labelled = np.flatnonzero(np.isfinite(data.store.energies(data.train)))
    first, others = labelled[:MAX_FRAMES], labelled[MAX_FRAMES:]
    if not len(others):
        return first
    unseen = ~compositions(data.store, data.train[first], tuple(elements)).any(0)
    if not unseen.any():
        return first
    rare = compositions(data.store, data.train[others], tuple(elements))[:, unseen] > 0
    more = [others[np.flatnonzero(column)[:OF_AN_ELEMENT]] for column in rare.T]
    return np.unique(np.concatenate([first, *more]))


def predicted_energies(potential: Potential, data: StructureDataModule, positions: np.ndarray) -> np.ndarray:
    """Energies of training frames in eV, in double precision: (k,).

    Args:
        potential: it stays as it is.
        data: whose frames they are.
        positions: (k,) within the training subset.
    """
    precise = potential_in_double(potential)
    found = []
    with (
        torch.no_grad(),
        ProgressBar("energies of the parent", len(positions), "frames", every=5.0) as progress,
    ):
        for start in range(0, len(positions), CHUNK):
            batch = read_batch(data.store, data.train, data.train_edges, positions[start : start + CHUNK])
            found.append(precise(batch, forces=False).energy.numpy())
            progress.advance(batch.counts["frames"])
    return np.concatenate(found)


def potential_in_double(potential: Potential) -> Potential:
    """The same potential in evaluation mode with a network in float64, as another object."""
    return deepcopy(potential).double().eval()


def fit_shifts(
    counts: np.ndarray, rest: np.ndarray, new: np.ndarray, *, keep: bool = False
) -> tuple[np.ndarray, int]:
    """Shifts of elements by least squares; among equally good ones the least for those that are not new.

    Args:
        counts: (F, T) atoms of each element in each frame.
        rest: (F,) eV, labels less predictions.
        new: (T,) whether the parent did not know an element.
        keep: the others are not shifted at all.

    Returns:
        (T,) eV an atom, and how many of them, or of their combinations, the frames determine.
    """
    shifts = np.zeros(counts.shape[1])
    of_new, of_old = counts[:, new], counts[:, ~new]
    rank = 0
    if not keep and of_old.size:
        # What new elements cannot explain is fitted by the others first.
        left, right = _without(of_new, of_old), _without(of_new, rest[:, None])[:, 0]
        shifts[~new], _, rank, _ = np.linalg.lstsq(left, right, rcond=1e-9)
    if of_new.size:
        shifts[new], _, of_rank, _ = np.linalg.lstsq(of_new, rest - of_old @ shifts[~new], rcond=1e-9)
        rank += of_rank
    return np.round(shifts, DIGITS), int(rank)


def _without(basis: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Columns less their part in the span of others, exact zeros where nothing is left."""
    if not basis.size:
        return columns
    rest = columns - basis @ np.linalg.lstsq(basis, columns, rcond=1e-9)[0]
    scale = np.abs(columns).max(initial=0.0)
    return np.where(np.abs(rest) < 1e-9 * max(scale, 1.0), 0.0, rest)


def _described(
    elements: Sequence[int],
    values: np.ndarray,
    shifts: np.ndarray,
    new: np.ndarray,
    frames: int,
    *,
    keep: bool,
) -> str:
    """Where the reference energies come from, with numbers."""
    moved = [
        f"{chemical_symbols[z]} {value:.4f} (new)" if is_new else f"{chemical_symbols[z]} {shift:+.4f}"
        for z, value, shift, is_new in zip(elements, values, shifts, new, strict=True)
        if is_new or not keep
    ]
    if not moved:
        return "Reference energies stay the parent's (model.references=parent)."
    whose = "of new elements are fitted" if keep else "of the parent are shifted, its scale stays"
    return f"Reference energies {whose}, to {frames:,} training frames, eV: {', '.join(moved)}."
