"""Energies of single atoms, so that a network learns bonds and not the 10⁴ eV of electrons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from chemscale.structures.store import FrameStore


class ReferenceEnergyError(ValueError):
    """Reference energies that cannot be had from these data; the message names the way out."""


@dataclass(frozen=True)
class Statistics:
    """Statistics of a training set that a potential is built with.

    Args:
        elements: atomic numbers, ascending.
        references: eV of an atom of each element.
        scale: eV; the root mean square force component in eV/Å, or the standard deviation of the energy per
            atom where there are no forces.
        neighbours: mean number of neighbours of an atom.
    """

    elements: tuple[int, ...]
    references: tuple[float, ...]
    scale: float
    neighbours: float


def reference_energies(
    store: FrameStore, frames: np.ndarray, elements: tuple[int, ...], method: str | Mapping[str, float]
) -> tuple[float, ...]:
    """Reference energies of elements, eV of an atom of each.

    Args:
        store: where frames are read from.
        frames: the training subset.
        elements: atomic numbers.
        method: ``fit``, least squares of total energies on composition; ``minimum_norm``, the same, of
            minimum norm where compositions do not determine it (one molecule: any solution gives the same
            total energies); ``isolated``, from the frames of one atom; ``none``, 0; a mapping from symbols
            gives them.

    Raises:
        ReferenceEnergyError: the system is degenerate, an element is not given, or there are no energies.
    """
    if isinstance(method, Mapping):
        return _given(method, elements)
    if method == "none":
        return (0.0,) * len(elements)
    if method == "isolated":
        return _isolated(store, elements)
    if method not in ("fit", "minimum_norm"):
        raise ReferenceEnergyError(
            f"data.references={method!r}: choose fit, minimum_norm, isolated, none, or give {{H: …, C: …}}."
        )
    energies = store.energies(frames)
    labelled = frames[np.isfinite(energies)]
    if not len(labelled):
        if method == "minimum_norm":
            return (0.0,) * len(elements)
        raise ReferenceEnergyError("No training frame has an energy: set data.references=none.")
    counts = compositions(store, labelled, elements)
    energies = energies[np.isfinite(energies)]
    values, _, rank, _ = np.linalg.lstsq(counts, energies, rcond=1e-9)
    if rank < len(elements) and method == "fit":
        raise ReferenceEnergyError(
            f"Reference energies are not determined: the compositions of the {len(labelled)} training frames "
            f"have rank {rank}, but there are {len(elements)} elements "
            f"({', '.join(chemical_symbols[z] for z in elements)}). Set data.references=minimum_norm (right "
            "where compositions stay as they are), or give the energies of the atoms: "
            "data.references={H: -13.6, …}."
        )
    return tuple(float(v) for v in values)


def compositions(store: FrameStore, frames: np.ndarray, elements: tuple[int, ...]) -> np.ndarray:
    """Atoms of each element in each frame, (F, T).

    Args:
        store: where frames are read from.
        frames: F of them.
        elements: T atomic numbers.
    """
    column = np.full(119, -1)
    column[list(elements)] = np.arange(len(elements))
    counts = np.zeros((len(frames), len(elements)))
    for row, frame in enumerate(frames):
        counts[row] = np.bincount(column[store.numbers(int(frame))], minlength=len(elements))
    return counts


def force_rms(store: FrameStore, frames: np.ndarray, max_frames: int = 4096) -> float | None:
    """Root mean square force component in eV/Å; None without forces.

    Args:
        store: where frames are read from.
        frames: the training subset.
        max_frames: only the first so many are read.
    """
    total, count = 0.0, 0
    for frame in frames[:max_frames]:
        forces = store.structure(int(frame)).forces
        assert forces is not None
        known = forces[np.isfinite(forces)]
        total, count = total + float(np.square(known).sum()), count + known.size
    return float(np.sqrt(total / count)) if count and total else None


def statistics(
    store: FrameStore,
    frames: np.ndarray,
    edges: np.ndarray,
    method: str | Mapping[str, float],
    elements: tuple[int, ...] | None = None,
) -> Statistics:
    """Reference energies, scale and neighbour count of a training subset.

    Args:
        store: where frames are read from.
        frames: the training subset.
        edges: (len(frames),) edges of each.
        method: of reference energies, as ``reference_energies``.
        elements: those that the potential has to know; all of the store if None.

    Raises:
        ReferenceEnergyError: as ``reference_energies``.
    """
    elements = elements or store.elements
    references = reference_energies(store, frames, elements, method)
    scale = force_rms(store, frames)
    if scale is None:
        energies = store.energies(frames)
        rest = energies - compositions(store, frames, elements) @ np.array(references)
        per_atom = (rest / store.sizes[frames])[np.isfinite(rest)]
        scale = float(per_atom.std()) if len(per_atom) > 1 and per_atom.std() > 0 else 1.0
    atoms = float(store.sizes[frames].sum())
    return Statistics(elements, references, scale, max(1.0, float(edges.sum()) / atoms))


def _given(values: Mapping[str, float], elements: tuple[int, ...]) -> tuple[float, ...]:
    known = {atomic_numbers.get(str(symbol)): float(value) for symbol, value in values.items()}
    missing = [chemical_symbols[z] for z in elements if z not in known]
    if missing:
        raise ReferenceEnergyError(f"data.references does not give {', '.join(missing)}: add them, in eV.")
    return tuple(known[z] for z in elements)


def _isolated(store: FrameStore, elements: tuple[int, ...]) -> tuple[float, ...]:
    known: dict[int, float] = {}
    for frame in np.flatnonzero(np.asarray(store.sizes) == 1):
        known.setdefault(int(store.numbers(int(frame))[0]), float(store.energies(np.array([frame]))[0]))
    missing = [chemical_symbols[z] for z in elements if not np.isfinite(known.get(z, np.nan))]
    if missing:
        raise ReferenceEnergyError(
            f"data.references=isolated: there is no labelled frame of a single atom of {', '.join(missing)}. "
            "Use fit or minimum_norm, or give the energies."
        )
    return tuple(known[z] for z in elements)
