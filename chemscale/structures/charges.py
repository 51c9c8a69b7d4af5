"""Charges and multiplicities of training frames, beside what a network can know of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from chemscale.structures.loading.plan import spans
from chemscale.structures.sources.base import formula
from chemscale.structures.store import FrameStore

AT_ONCE, ATOMS_AT_ONCE = 1 << 15, 1 << 20
"""Frames and atoms that are read together."""


class ChargeError(ValueError):
    """Frames whose labels contradict each other for a network that does not know charges."""


def check_charges(store: FrameStore, frames: np.ndarray, family: str) -> list[str]:
    """Refuse frames of the same atoms with several charges, for a network that knows no charge.

    Charges of different formulas, and multiplicities, are only said: what is not told to the network may
    follow from the atoms and where they are.

    Args:
        store: where frames are read from.
        frames: those that are trained and validated on.
        family: name of the architecture.

    Returns:
        What there is to say, as sentences.

    Raises:
        ChargeError: naming a formula, its charges and two frames.
    """
    counts: Counter[int] = Counter()
    stated: Counter[int] = Counter()
    for (charge, spin), number in store.electron_states(frames).items():
        counts[charge] += number
        if spin > 0:
            stated[spin] += number
    if len(counts) > 1:
        for other, frame in _same_atoms_of_other_charge(store, frames):
            raise ChargeError(
                f"{family} knows no charge, but the frames hold "
                f"{_contradiction(store, other, frame)}: to it these are the same atoms with labels "
                "that contradict each other. Use model=spookynet, or leave one charge of each formula."
            )
    several = []
    if len(counts) > 1:
        several.append("charges " + ", ".join(f"{signed(q)} ({n:,})" for q, n in sorted(counts.items())))
    if len(stated) > 1:
        several.append("multiplicities " + ", ".join(f"{s} ({n:,})" for s, n in sorted(stated.items())))
    if not several:
        return []
    return [
        f"{family} knows neither charge nor multiplicity, and the frames have "
        f"{' and '.join(several)}: labels that depend on them cannot be learned. model=spookynet knows both."
    ]


def _same_atoms_of_other_charge(store: FrameStore, frames: np.ndarray) -> Iterator[tuple[int, int]]:
    """The first frame of a formula, and each one of it that has another charge."""
    of_elements = np.random.default_rng(0).integers(1 << 63, size=119, dtype=np.uint64)
    formulas = np.empty(len(frames), np.uint64)
    for span in spans(store.sizes[frames], AT_ONCE, ATOMS_AT_ONCE):
        numbers, sizes = store.atomic_numbers(np.asarray(frames[span]))
        with np.errstate(over="ignore"):  # sums of random numbers: two formulas hardly ever have the same
            of_frames = np.add.reduceat(of_elements[numbers], np.cumsum(sizes) - sizes)
        formulas[span] = of_frames
    _, first, formula_of = np.unique(formulas, return_index=True, return_inverse=True)
    charges = store.electrons(frames)[:, 0]
    others = first[formula_of]
    for place in np.flatnonzero(charges != charges[others]).tolist():
        other, frame = int(frames[others[place]]), int(frames[place])
        if np.array_equal(np.sort(store.numbers(other)), np.sort(store.numbers(frame))):
            yield other, frame


def _contradiction(store: FrameStore, *frames: int) -> str:
    """Charges of two frames of the same atoms, and where they are."""
    charges = [f"{signed(store.electrons(np.array([f]))[0, 0])} ({store.where(f)})" for f in frames]
    return f"{formula(store.numbers(frames[0]))} with the charges {' and '.join(charges)}"


def signed(charge: int) -> str:
    """A charge as chemists write its number: -1, 0, +1."""
    return f"{charge:+d}" if charge else "0"
