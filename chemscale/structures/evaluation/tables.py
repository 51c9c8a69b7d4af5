"""Tables of errors: MAE and RMSE, with intervals, of all frames, of groups and of elements."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import t

from chemscale.structures.evaluation.errors import QUANTITIES, FrameErrors, Sums

MIN_FRAMES = 40
"""Frames with a label from which on an interval is given: the spread of fewer says too little."""


@dataclass(frozen=True)
class Row:
    """Errors of one quantity on some frames.

    Args:
        frames: that have a label.
        labels: energies, or components.
        mae: mean absolute error; NaN without a label.
        rmse: root mean square error.
        low: end of the 95 % interval of `mae`; NaN where there are fewer than ``MIN_FRAMES`` frames.
        high: likewise.
        largest: largest absolute error.
    """

    frames: int
    labels: int
    mae: float
    rmse: float
    low: float = math.nan
    high: float = math.nan
    largest: float = math.nan

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it: a number that there is not is None."""
        return {key: None if value != value else value for key, value in asdict(self).items()}


@dataclass(frozen=True)
class Group:
    """Errors of a group of frames.

    Args:
        name: of the group.
        frames: in it, labelled or not.
        errors: by quantity.
    """

    name: str
    frames: int
    errors: dict[str, Row]

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        of = {key: row.to_dict() for key, row in self.errors.items() if row.labels}
        return {"name": self.name, "frames": self.frames, "errors": of}


def row(sums: Sums) -> Row:
    """Errors of one quantity, with a 95 % interval of the MAE over frames like these.

    Frames are drawn independently of each other, their components are not: the error is a ratio of two sums
    over frames, whose variance is that of its linearisation (W. G. Cochran, Sampling Techniques, 3rd ed.,
    1977, eq. 2.39), and whose logarithm is taken as Student's t.

    Args:
        sums: of the frames.
    """
    labelled = sums.select(sums.counts > 0)
    frames, labels = len(labelled.counts), int(labelled.counts.sum())
    if not labels:
        return Row(0, 0, math.nan, math.nan)
    mae = float(labelled.absolute.sum() / labels)
    rmse = float(np.sqrt(labelled.square.sum() / labels))
    low, high = interval(labelled)
    return Row(frames, labels, mae, rmse, low, high, float(labelled.largest.max()))


def interval(sums: Sums, level: float = 0.95) -> tuple[float, float]:
    """Interval of the MAE over frames like these; NaN where it cannot be had.

    Args:
        sums: of k frames, each with labels.
        level: of the interval.
    """
    k, total = len(sums.counts), sums.counts.sum()
    mae = sums.absolute.sum() / total if k else math.nan
    if k < MIN_FRAMES or not (math.isfinite(mae) and mae > 0):
        return math.nan, math.nan
    rest = sums.absolute - mae * sums.counts
    error = math.sqrt(k / (k - 1) * float(np.square(rest).sum())) / total
    reach = float(t.ppf(0.5 + level / 2, k - 1)) * error / mae
    return float(mae * math.exp(-reach)), float(mae * math.exp(reach))


def table(errors: FrameErrors, names: Sequence[str], groups: np.ndarray) -> list[Group]:
    """Errors of all frames and, where there are several, of each group, the largest group first.

    Args:
        errors: of k frames.
        names: of the groups.
        groups: (k,) number of each frame's group.
    """
    sums = {name: errors.of(name) for name in QUANTITIES}
    found = [Group("all", len(errors), {name: row(each) for name, each in sums.items()})]
    numbers, counts = np.unique(groups, return_counts=True)
    if len(numbers) < 2:
        return found
    for number in numbers[np.argsort(-counts, kind="stable")]:
        chosen = groups == number
        of = {name: row(each.select(chosen)) for name, each in sums.items()}
        found.append(Group(names[number], int(chosen.sum()), of))
    return found


def elements(errors: FrameErrors) -> list[Group]:
    """Errors by element: forces on its atoms; energies and stresses of the frames that hold it.

    Args:
        errors: of the frames.
    """
    found = []
    for number, symbol in errors.present():
        holds = errors.holding(number)
        of = {name: row(errors.of(name).select(holds)) for name in ("energy", "per_atom", "stress")}
        count, mae, rmse = errors.of_element(number)
        of["forces"] = Row(int(holds.sum()), count, mae, rmse)
        found.append(Group(symbol, int(holds.sum()), of))
    return found


def worst(errors: FrameErrors, most: int = 10) -> list[tuple[int, str, float]]:
    """Frames with the largest errors: position, quantity and error; of energies an atom, and of forces.

    Args:
        errors: of the frames.
        most: of each quantity.
    """
    found = []
    for name in ("forces", "per_atom", "stress"):
        sums = errors.of(name)
        order = np.argsort(-np.where(sums.counts > 0, sums.largest, -1.0), kind="stable")[:most]
        found += [(int(i), name, float(sums.largest[i])) for i in order if sums.counts[i] > 0]
    return found


def values(errors: FrameErrors) -> dict[str, float]:
    """MAE and RMSE by the names that records have for them; what there is no label for is left out.

    Args:
        errors: of the frames.
    """
    suffix = {name: f"{name}_{{}}" for name in QUANTITIES} | {"per_atom": "energy_{}_per_atom"}
    rows = {name: row(errors.of(name)) for name in QUANTITIES}
    return {
        suffix[name].format(kind): getattr(each, kind)
        for name, each in rows.items()
        if each.labels
        for kind in ("mae", "rmse")
    }
