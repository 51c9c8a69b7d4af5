"""Settings in which the runs of a sweep differ, as columns of a regression."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

BATCH = ("batch.tokens", "batch.frames", "batch.atoms", "batch.edges")
"""Keys that mean the size of a batch: their effect is one and the same, whatever it is counted in."""


def columns(settings: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """A centred column (n,) for each key in which settings differ, in decades where all are above 0.

    Numbers among which is a 0 stand at equal distances in their order, one unit from the first to the last. A
    key with several texts has a column for each but the first.

    Args:
        settings: key and value, a mapping a run; an empty one is of a run that has not begun, which stands in
            the middle.
    """
    begun = np.array([bool(run) for run in settings], bool)
    found = {}
    for name, column in _of_begun([run for run in settings if run]).items():
        found[name] = np.zeros(len(settings))
        found[name][begun] = column
    return found


def _of_begun(settings: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for key in dict.fromkeys(key for run in settings for key in run):
        values = [run.get(key) for run in settings]
        name = "batch" if key in BATCH else key
        if all(_is_number(value) for value in values):
            column = _numbers([float(value) for value in values])  # type: ignore[arg-type]
            if np.ptp(column) > 0:
                found[name] = column - column.mean()
            continue
        texts = [str(value) for value in values]
        for level in list(dict.fromkeys(texts))[1:]:
            column = np.array([text == level for text in texts], float)
            found[f"{name}={level}"] = column - column.mean()
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _numbers(values: Sequence[float]) -> np.ndarray:
    levels = sorted(set(values))
    if levels[0] > 0:
        return np.log10(values)
    place = {level: k / max(1, len(levels) - 1) for k, level in enumerate(levels)}
    return np.array([place[value] for value in values])
