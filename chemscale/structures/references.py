"""Energies of single atoms, so that a network learns bonds and not the 10⁴ eV of electrons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ase.data import chemical_symbols

from chemscale.structures.loading.plan import spans
from chemscale.structures.preparation.isolated import has_image, is_called_isolated, neutral_atoms
from chemscale.structures.store import ISOLATED, FrameStore

SAME = 0.01
"""eV: energies of isolated atoms of one element that differ by more contradict each other."""
BOUND = (-20.0, 5.0)
"""eV an atom that atoms gain where they come together: no matter lies outside, on one scale of energies."""


WHOLE = 1 << 20
"""Frames whose compositions are fitted as one matrix; of more it would fill the memory."""
AT_ONCE, ATOMS_AT_ONCE = 1 << 15, 1 << 20
"""Frames and atoms whose compositions are read together."""


class ReferenceEnergyError(ValueError):
    """Reference energies that cannot be had from these data; the message names the way out."""


@dataclass(frozen=True)
class References:
    """Reference energies of elements.

    Args:
        values: eV of an atom of each element.
        notes: sentences on where they come from.
    """

    values: tuple[float, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Statistics:
    """Statistics of a training set that a potential is built with.

    Args:
        elements: atomic numbers, ascending.
        references: eV of an atom of each element.
        scale: eV; the root mean square force component in eV/Å, or the standard deviation of the energy per
            atom where there are no forces.
        neighbours: mean number of neighbours of an atom.
        electrons: pairs of a charge in e and a multiplicity (0: not stated) that frames have, ascending.
        notes: sentences on where these come from.
    """

    elements: tuple[int, ...]
    references: tuple[float, ...]
    scale: float
    neighbours: float
    electrons: tuple[tuple[int, int], ...] = ((0, 0),)
    notes: tuple[str, ...] = ()


def reference_energies(
    store: FrameStore,
    frames: np.ndarray,
    elements: tuple[int, ...],
    method: str | Mapping[int, float],
    cutoff: float | None = None,
) -> References:
    """Reference energies of elements.

    Args:
        store: where frames are read from.
        frames: the training subset.
        elements: atomic numbers.
        method: ``fit``, the energies of the isolated atoms of the store, and least squares of total energies
            on composition for elements without one; ``minimum_norm``, least squares for all elements, of
            minimum norm where compositions do not determine it (one molecule: any solution gives the same
            total energies); ``isolated``, isolated atoms alone; ``none``, 0; a mapping from atomic numbers
            gives them.
        cutoff: Å; with ``isolated`` an atom without an image in it is one as well.

    Raises:
        ReferenceEnergyError: the system is degenerate, an element is not given, isolated atoms contradict
            each other, or there are no energies.
    """
    if isinstance(method, Mapping):
        missing = [chemical_symbols[z] for z in elements if z not in method]
        if missing:
            raise ReferenceEnergyError(
                f"data.references does not give {', '.join(missing)}: add them, in eV."
            )
        values = [method[z] for z in elements]
        return References(tuple(values), (*_unused(store), *_check_scale(store, frames, elements, values)))
    if method == "none":
        return References((0.0,) * len(elements), _unused(store))
    if method == "minimum_norm":
        values = _least_squares(store, frames, elements, {}, minimum_norm=True)
        notes = _unused(store)
        if not np.isfinite(store.energies(frames)).any():
            notes += ("No training frame has an energy: reference energies are 0.",)
        return References(tuple(values), notes)
    atoms = isolated_energies(store, cutoff if method == "isolated" else None)
    missing = [chemical_symbols[z] for z in elements if z not in atoms]
    if missing and method == "isolated":
        raise ReferenceEnergyError(
            f"data.references=isolated: no isolated neutral atom of {', '.join(missing)} has an energy. "
            "That is a frame of one atom called IsolatedAtom, or whose images lie beyond the cutoff; a "
            "crystal with one atom in its cell is none. Use fit or minimum_norm, or give the energies."
        )
    return _with_atoms(store, frames, elements, {z: e for z, e in atoms.items() if z in elements})


def _unused(store: FrameStore) -> tuple[str, ...]:
    count = len(store.part(ISOLATED))
    return (f"Isolated atoms of the data, not used: {count} (data.references).",) if count else ()


def isolated_energies(store: FrameStore, cutoff: float | None = None) -> dict[int, float]:
    """Energies of the isolated neutral atoms of a store, eV by atomic number, in their ground states.

    Those that are called so count before those that are only by themselves.

    Args:
        store: where frames are read from.
        cutoff: Å; atoms without an image in it are taken from the parts as well. None: only those that are
            in no part.

    Raises:
        ReferenceEnergyError: two of one element differ by more than `SAME` without being stated to differ in
            their multiplicity.
    """
    frames = store.part(ISOLATED).tolist()
    if cutoff is not None:
        others = np.setdiff1d(neutral_atoms(store), frames)
        frames += [int(f) for f in others if not has_image(store, int(f), cutoff)]
    energies = store.energies(np.array(frames, np.int64))
    found: dict[tuple[int, bool], list[tuple[float, int]]] = {}
    for frame, energy in zip(frames, energies, strict=True):
        if np.isfinite(energy):
            kind = (int(store.numbers(frame)[0]), is_called_isolated(store.name(frame)))
            found.setdefault(kind, []).append((float(energy), frame))
    return {
        z: _ground_state(store, z, sorted(members))
        for (z, called), members in found.items()
        if called or (z, True) not in found
    }


def _ground_state(store: FrameStore, z: int, members: list[tuple[float, int]]) -> float:
    """The lowest energy of an element's atoms, which come by rising energy; others must be other states."""
    (lowest, first), *others = members
    ground = int(store.electrons(np.array([first]))[0, 1])
    symbol = chemical_symbols[z]
    for energy, frame in others:
        spin = int(store.electrons(np.array([frame]))[0, 1])
        excited = ground and spin and spin != ground
        if energy - lowest > SAME and not excited:
            raise ReferenceEnergyError(
                f"Isolated atoms of {symbol} contradict each other: {lowest:.6f} eV "
                f"({store.where(first)}), "
                f"{energy:.6f} eV ({store.where(frame)}). Without multiplicities of their own they may "
                f"differ by {SAME} eV. Leave one out, give data.references={{{symbol}: …}}, or use "
                "data.references=minimum_norm, which takes neither."
            )
    return lowest


def _with_atoms(
    store: FrameStore, frames: np.ndarray, elements: tuple[int, ...], atoms: Mapping[int, float]
) -> References:
    """Energies of isolated atoms, and a fit to what they leave for the elements that have none."""
    if not atoms:
        return References(tuple(_least_squares(store, frames, elements, {})))
    names = ", ".join(chemical_symbols[z] for z in sorted(atoms))
    notes = [f"Reference energies of {names}: isolated atoms of the data."]
    if fitted := [chemical_symbols[z] for z in elements if z not in atoms]:
        values = _least_squares(store, frames, elements, atoms)
        notes.append(
            f"There is no isolated atom of {', '.join(fitted)}: fitted to what the others leave of the "
            f"energies, so that only bonds between {names} are counted from free atoms."
        )
    else:
        values = [atoms[z] for z in elements]
        notes += _check_scale(store, frames, elements, values)
    return References(tuple(values), tuple(notes))


def _check_scale(
    store: FrameStore, frames: np.ndarray, elements: tuple[int, ...], values: list[float]
) -> list[str]:
    """A sentence where atoms and the first few thousand frames cannot be on one scale of energies."""
    per_atom = _per_atom(store, frames[:4096], elements, values)
    if not len(per_atom) or BOUND[0] < per_atom.mean() < BOUND[1]:
        return []
    return [
        f"Less the energies of their atoms, training frames have {per_atom.mean():+.1f} eV an atom, which no "
        "bonds have: the atoms are in another unit or of another level of theory. "
        "data.references=minimum_norm does without them."
    ]


def _per_atom(
    store: FrameStore, frames: np.ndarray, elements: tuple[int, ...], values: Sequence[float]
) -> np.ndarray:
    """Energies of frames an atom, less those of their atoms, of frames that have one, in eV."""
    rest = [np.zeros(0)]
    for start in range(0, len(frames), AT_ONCE):
        part = frames[start : start + AT_ONCE]
        own = compositions(store, part, elements) @ np.array(values)
        rest.append((store.energies(part) - own) / store.sizes[part])
    found = np.concatenate(rest)
    return found[np.isfinite(found)]


def _least_squares(
    store: FrameStore,
    frames: np.ndarray,
    elements: tuple[int, ...],
    known: Mapping[int, float],
    *,
    minimum_norm: bool = False,
) -> list[float]:
    """Reference energies by least squares of total energies on composition; those that are known stay."""
    energies = store.energies(frames)
    labelled, energies = frames[np.isfinite(energies)], energies[np.isfinite(energies)]
    if not len(labelled):
        if minimum_norm:
            return [0.0] * len(elements)
        advice = next((f" {note}" for note in store.manifest["notes"] if "data.energy_key" in note), "")
        raise ReferenceEnergyError(
            f"No training frame has an energy: set data.references=none to train on forces alone.{advice}"
        )
    free = np.array([z not in known for z in elements])
    values = np.array([known.get(z, 0.0) for z in elements])
    counts, energies = _condensed(store, labelled, elements, energies)
    values[free], _, rank, _ = np.linalg.lstsq(counts[:, free], energies - counts @ values, rcond=1e-9)
    if rank < free.sum() and not minimum_norm:
        symbols = [chemical_symbols[z] for z in elements]
        unseen = [s for s, column, f in zip(symbols, counts.T, free, strict=True) if f and not column.any()]
        which = f" None of them holds {', '.join(unseen)}." if unseen else ""
        raise ReferenceEnergyError(
            f"Reference energies are not determined: the compositions of the {len(labelled)} training frames "
            f"have rank {rank}, but there are {free.sum()} elements "
            f"({', '.join(s for s, f in zip(symbols, free, strict=True) if f)}).{which} Set "
            "data.references=minimum_norm (right where compositions stay as they are), or give the energies "
            "of the atoms: data.references={H: -13.6, …}."
        )
    return [float(v) for v in values]


def _condensed(
    store: FrameStore, frames: np.ndarray, elements: tuple[int, ...], energies: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Compositions (F, T) and energies (F,); of very many frames T + 1 rows with the same least squares.

    Those are the triangle of a QR decomposition that takes up the frames part by part: it has the singular
    values and the solutions of the whole.
    """
    if len(frames) <= WHOLE:
        return compositions(store, frames, elements), energies
    triangle = np.zeros((0, len(elements) + 1))
    for start in range(0, len(frames), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        rows = np.column_stack([compositions(store, frames[part], elements), energies[part]])
        triangle = np.asarray(np.linalg.qr(np.concatenate([triangle, rows]), mode="r"))
    return triangle[:, :-1], triangle[:, -1]


def compositions(store: FrameStore, frames: np.ndarray, elements: tuple[int, ...]) -> np.ndarray:
    """Atoms of each element in each frame, (F, T).

    Args:
        store: where frames are read from.
        frames: F of them.
        elements: T atomic numbers.
    """
    column = np.full(119, -1)
    column[list(elements)] = np.arange(len(elements))
    counts, width = np.zeros((len(frames), len(elements))), len(elements)
    for span in spans(store.sizes[frames], AT_ONCE, ATOMS_AT_ONCE):
        part = np.asarray(frames[span])
        numbers, sizes = store.atomic_numbers(part)
        place = column[numbers]
        if (place < 0).any():
            raise ValueError(f"{store.path}: a frame holds another element than {elements}.")
        cells = np.repeat(np.arange(len(part)), sizes) * width + place
        counts[span] = np.bincount(cells, minlength=len(part) * width).reshape(-1, width)
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
    method: str | Mapping[int, float],
    elements: tuple[int, ...] | None = None,
    cutoff: float | None = None,
) -> Statistics:
    """Reference energies, scale and neighbour count of a training subset.

    Args:
        store: where frames are read from.
        frames: the training subset.
        edges: (len(frames),) edges of each.
        method: of reference energies, as ``reference_energies``.
        elements: those that the potential has to know; all of the store if None.
        cutoff: as ``reference_energies``.

    Raises:
        ReferenceEnergyError: as ``reference_energies``.
    """
    elements = elements or store.elements
    references = reference_energies(store, frames, elements, method, cutoff)
    notes = references.notes
    scale = force_rms(store, frames)
    if scale is None:
        per_atom = _per_atom(store, frames, elements, references.values)
        scale = float(per_atom.std()) if len(per_atom) else 0.0
        if not scale > 0:
            scale = 1.0
            notes += ("Neither forces nor energies of the training frames differ: the scale is 1 eV.",)
    atoms = float(store.sizes[frames].sum())
    return Statistics(
        elements,
        references.values,
        scale,
        max(1.0, float(edges.sum()) / atoms),
        electrons=tuple(store.electron_states(frames)),
        notes=notes,
    )
