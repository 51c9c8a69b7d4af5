"""Weights that frames state: ``weight``, MACE's ``config_weight``, and those of single labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from chemscale.structures.blocks import SourceError
from chemscale.structures.sources.labels.choosing import MISSING

OF_FRAMES = ("config_weight", "weight")
"""Keys of a weight of all errors of a frame."""

OF_LABELS = {
    "config_energy_weight": "energy",
    "config_forces_weight": "forces",
    "config_stress_weight": "stress",
    "config_virials_weight": "stress",
}
"""MACE's weights of single labels, of which 0 (the label is left out) and 1 have an exact meaning here."""


class FrameWeights:
    """Reads the weight of each frame of a file, and the labels that a weight of 0 leaves out."""

    def __init__(self) -> None:
        self.frames = 0
        self.counts: Counter[str] = Counter()
        self.least, self.most = np.inf, -np.inf
        self._keys: dict[str, None] = {}

    def read(self, atoms: Any) -> tuple[float, frozenset[str]]:
        """The weight of a frame, 1 where it states none, and which of its labels weigh nothing.

        Args:
            atoms: ASE's.

        Raises:
            SourceError: a weight is no number of at least 0, two of them differ, or one of a single label is
                neither 0 nor 1.
        """
        self.frames += 1
        stated = {key: self._number(atoms, key) for key in OF_FRAMES if _stands(atoms.info.get(key))}
        if len(set(stated.values())) > 1:
            listed = ", ".join(f"{key}={value:g}" for key, value in stated.items())
            raise SourceError(f"it states two weights: {listed}. Remove one of them.")
        weight = next(iter(stated.values()), 1.0)
        if stated:
            self.counts["weight"] += 1
            self._keys[next(iter(stated))] = None
            self.least, self.most = min(self.least, weight), max(self.most, weight)
        left_out = set()
        for key, label in OF_LABELS.items():
            if _stands(atoms.info.get(key)):
                value = self._number(atoms, key)
                if value not in (0.0, 1.0):
                    raise SourceError(
                        f"{key}={value:g}: of one label alone only 0 (the label is left out) and 1 can be "
                        "had. Give the frame a config_weight, or its config_type one in data.weights, and "
                        "remove it."
                    )
                if value == 0.0:
                    left_out.add(label)
                    self.counts[key] += 1
        return weight, frozenset(left_out)

    def notes(self) -> Iterator[str]:
        """What was read, in sentences."""
        if self.counts["weight"]:
            rest = "" if self.counts["weight"] == self.frames else f" of {self.frames:,}"
            yield (
                f"Weights: {' or '.join(self._keys)} in {self.counts['weight']:,}{rest} frames, "
                f"{self.least:g} to {self.most:g}: it multiplies the errors of the frame in training."
            )
        for key, label in OF_LABELS.items():
            if self.counts[key]:
                yield f"{self.counts[key]:,} frames have {key}=0: their {label} was left out."

    def _number(self, atoms: Any, key: str) -> float:
        try:
            value = float(np.asarray(atoms.info[key], np.float64).item())
        except (TypeError, ValueError):
            raise SourceError(f"{key}={atoms.info[key]!r} is no number.") from None
        if not (np.isfinite(value) and value >= 0):
            raise SourceError(f"{key}={value:g}: a weight is a number of at least 0.")
        return value


def _stands(value: Any) -> bool:
    return value is not None and not (isinstance(value, str) and value.strip().lower() in MISSING)
