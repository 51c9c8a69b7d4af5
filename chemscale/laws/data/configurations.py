"""Which runs are one configuration, and which share their noise: what a law draws together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chemscale.laws.data.points import LawPoint


def configurations(points: Sequence[LawPoint], data_axis: str, apart: float = 1.01) -> np.ndarray | None:
    """Number (n,) of each point's configuration, for runs that differ by seed; None where none do.

    Seeds of one configuration count slightly different tokens: data within 1 per cent are one. Where points
    name the run that they are checkpoints of, each run is one, as its noise is.
    """
    if any(p.group for p in points):
        return _numbered([p.group or p.where for p in points])
    if len({p.seed for p in points}) < 2:
        return None
    return same_configuration(points, data_axis, apart)


def _numbered(names: Sequence[str]) -> np.ndarray:
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names])


def same_configuration(points: Sequence[LawPoint], data_axis: str, apart: float = 1.01) -> np.ndarray:
    """Number (n,) of the configuration of each point, whatever its seed.

    One configuration has one N, and data and distinct tokens that agree to within a factor.
    """

    def amounts(point: LawPoint) -> tuple[float, ...]:
        return point.sizes["parameters"], point.sizes.get("unique_tokens", 0.0), point.sizes[data_axis]

    numbers, number = np.zeros(len(points), int), -1
    first: tuple[float, ...] | None = None
    for place in sorted(range(len(points)), key=lambda i: amounts(points[i])):
        n, *rest = amounts(points[place])
        if (
            first is None
            or n != first[0]
            or any(
                max(one, other) > apart * min(one, other) for one, other in zip(rest, first[1:], strict=True)
            )
        ):
            first, number = (n, *rest), number + 1
        numbers[place] = number
    return numbers


def trunk_names(points: Sequence[LawPoint]) -> list[str] | None:
    """What each point shares its noise with, its own number where it is alone; None where all are."""
    names = [p.trunk or f"#{place}" for place, p in enumerate(points)]
    return names if len(set(names)) < len(names) else None
