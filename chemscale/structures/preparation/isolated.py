"""Frames of single atoms: energies to refer to, and nothing to train on.

The files of MACE and GAP hold one for each element, called IsolatedAtom. A crystal whose cell holds one atom
is not among them.
"""

from __future__ import annotations

import re

import numpy as np
from ase.data import chemical_symbols

from chemscale.structures.neighbours import neighbour_list
from chemscale.structures.store import FrameStore

FAR = 10.0
"""Å: an atom whose nearest image is farther is by itself, whatever the cutoff."""

NEAR = 4.0
"""Å: nearer images bind each other, whatever the frame is called."""


def is_called_isolated(name: str) -> bool:
    """Whether a frame's name says that it is an isolated atom: IsolatedAtom, isolated_atom, …

    Args:
        name: of the frame, behind that of its file where there are several.
    """
    return re.sub(r"[^a-z]", "", name.rsplit("/", 1)[-1].lower()) in ("isolatedatom", "isolatedatoms")


def has_image(store: FrameStore, frame: int, distance: float) -> bool:
    """Whether an atom has a periodic image of itself within a distance.

    Args:
        store: where the frame is read from.
        frame: of one atom.
        distance: Å.
    """
    structure = store.structure(frame)
    edges, _ = neighbour_list(structure.positions, distance, structure.cell, structure.pbc)
    return edges.shape[1] > 0


def neutral_atoms(store: FrameStore) -> np.ndarray:
    """Frames of one atom without a charge, (k,)."""
    single = np.flatnonzero(store.sizes == 1)
    return single[store.electrons(single)[:, 0] == 0]


def isolated_frames(store: FrameStore) -> np.ndarray:
    """Frames of one neutral atom that are called isolated, or whose images are farther than `FAR`, (k,)."""
    single = neutral_atoms(store)
    found = [f for f in map(int, single) if is_called_isolated(store.name(f)) or not has_image(store, f, FAR)]
    return np.array(found, np.int64)


def describe_isolated(store: FrameStore, isolated: np.ndarray) -> list[str]:
    """Sentences on the frames of isolated atoms, and on those that are only called so.

    Args:
        store: where frames are read from.
        isolated: of ``isolated_frames``.
    """
    notes = []
    if len(isolated):
        symbols = sorted({chemical_symbols[int(store.numbers(int(f))[0])] for f in isolated})
        notes.append(
            f"Isolated atoms, in no part: {len(isolated)} ({', '.join(symbols)}). They give the reference "
            "energies of data.references=fit and isolated."
        )
    near = [int(f) for f in isolated if has_image(store, int(f), NEAR)]
    if near:
        notes.append(
            f"Isolated atoms with an image within {NEAR:g} Å: {len(near)}, as {store.where(near[0])}. "
            "Their energies are those of a crystal, if their cells are right."
        )
    called = [group for group, name in enumerate(store.names) if is_called_isolated(name)]
    others = np.setdiff1d(np.flatnonzero(np.isin(store.groups, called)), isolated)
    if len(others):
        notes.append(
            f"Frames called IsolatedAtom that have a charge or several atoms: {len(others)}, for example "
            f"{store.where(int(others[0]))}. They are frames like others."
        )
    return notes
