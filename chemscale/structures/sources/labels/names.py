"""Keys of a file that look like labels, as advice where labels are missing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np


class LabelNames:
    """Keys of the frames of a file, and those among them that look like labels."""

    def __init__(self) -> None:
        self.all: dict[str, None] = {}
        self.like: dict[str, dict[str, None]] = {"energy": {}, "forces": {}}

    def add(self, atoms: Any) -> None:
        """Take note of a frame's keys.

        Args:
            atoms: ASE's.
        """
        for key, value in _entries(atoms):
            self.all[key] = None
            kind = label_kind(key)
            if kind == "forces" and np.shape(value) == (len(atoms), 3):
                self.like["forces"][key] = None
            elif kind == "energy" and np.isfinite(number_or_nan(value)):
                self.like["energy"][key] = None

    def advice(self, kind: str, read: Iterable[str | None] = ()) -> str:
        """What looks like a label and how it is read; empty where nothing does.

        Args:
            kind: energy or forces.
            read: keys that were read.
        """
        found = [key for key in self.like[kind] if key not in read]
        if not found:
            return ""
        sign = " data.units.gradients=true" if is_gradient(found[0]) else ""
        what = "an energy" if kind == "energy" else "gradients" if sign else "forces"
        return f"{', '.join(found[:5])} looks like {what}: data.{kind}_key={found[0]}{sign} reads it. "


def _entries(atoms: Any) -> Iterator[tuple[str, Any]]:
    results = getattr(atoms.calc, "results", {})
    for key, value in (*atoms.info.items(), *atoms.arrays.items(), *results.items()):
        yield str(key), value


def number_or_nan(value: Any) -> float:
    """A value as one number; NaN where it is none.

    Args:
        value: of a file.
    """
    try:
        return float(np.asarray(np.nan if value is None else value, np.float64).item())
    except (TypeError, ValueError):
        return np.nan


@lru_cache(maxsize=4096)
def label_kind(key: str) -> str | None:
    """Which label a key looks like by its name: energy, forces, or none.

    Args:
        key: of a file.
    """
    name = key.lower()
    if re.search(r"forc|grad|frc|(^|_)f(_|$)|de_?dx", name):
        return "forces"
    if re.search(r"energ|toten|e_?tot|(^|_)e(_|$)|^u_?0$|potential|^pe$", name) and not re.search(
        r"tol|cut|_per_|unit", name
    ):
        return "energy"
    return None


def is_gradient(key: str) -> bool:
    """Whether a key is called gradients, which are minus the forces.

    Args:
        key: of a file.
    """
    return bool(re.search(r"grad|de_?dx", key.lower()))
