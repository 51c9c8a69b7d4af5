"""Charges and multiplicities of training frames, beside what a network can know of them."""

from __future__ import annotations

from collections import Counter

import numpy as np

from chemscale.structures.sources.base import formula
from chemscale.structures.store import FrameStore


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
    charges, spins = store.electrons(frames).T
    counts = Counter(charges.tolist())
    if len(counts) > 1:
        first: dict[bytes, int] = {}
        for frame, charge in zip(frames.tolist(), charges.tolist(), strict=True):
            other = first.setdefault(bytes(np.sort(store.numbers(frame))), frame)
            if charge != int(store.electrons(np.array([other]))[0, 0]):
                raise ChargeError(
                    f"{family} knows no charge, but the frames hold "
                    f"{_contradiction(store, other, frame)}: to it these are the same atoms with labels "
                    "that contradict each other. Use model=spookynet, or leave one charge of each formula."
                )
    several = []
    if len(counts) > 1:
        several.append("charges " + ", ".join(f"{signed(q)} ({n:,})" for q, n in sorted(counts.items())))
    stated = Counter(spins[spins > 0].tolist())
    if len(stated) > 1:
        several.append("multiplicities " + ", ".join(f"{s} ({n:,})" for s, n in sorted(stated.items())))
    if not several:
        return []
    return [
        f"{family} knows neither charge nor multiplicity, and the frames have "
        f"{' and '.join(several)}: labels that depend on them cannot be learned. model=spookynet knows both."
    ]


def _contradiction(store: FrameStore, *frames: int) -> str:
    """Charges of two frames of the same atoms, and where they are."""
    charges = [f"{signed(store.electrons(np.array([f]))[0, 0])} ({store.where(f)})" for f in frames]
    return f"{formula(store.numbers(frames[0]))} with the charges {' and '.join(charges)}"


def signed(charge: int) -> str:
    """A charge as chemists write its number: -1, 0, +1."""
    return f"{charge:+d}" if charge else "0"
