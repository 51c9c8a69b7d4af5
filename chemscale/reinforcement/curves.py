"""How good the best molecules are against the number of oracle calls, and the area under that curve."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

TOPS = (1, 10, 100)
EVERY = 100
"""Calls between two points of a curve, PMO's number."""


@dataclass(frozen=True)
class CurvePoint:
    """Means of the best after so many calls.

    Args:
        calls: oracle calls.
        means: of the best 1, 10 and 100, or of all where there are fewer.
    """

    calls: int
    means: dict[int, float]


def top_curve(scores: Sequence[float], every: int = EVERY) -> list[CurvePoint]:
    """Means of the best after each `every` calls and after the last one.

    Args:
        scores: in the order of the calls.
        every: calls between two points.
    """
    best: list[float] = []
    points = []
    for calls, score in enumerate(scores, 1):
        if len(best) < max(TOPS):
            heapq.heappush(best, score)
        else:
            heapq.heappushpop(best, score)
        if calls % every == 0 or calls == len(scores):
            ordered = sorted(best, reverse=True)
            points.append(CurvePoint(calls, {k: _mean(ordered[:k]) for k in TOPS}))
    return points


def area_under_curve(scores: Sequence[float], budget: int, top: int = 10, every: int = EVERY) -> float:
    """Mean height of the curve of the best `top` over the budget, from 0 to 1 (PMO's AUC top-k).

    By the trapezoidal rule from 0 at no call, a point each `every` calls. A run that ended before its budget
    keeps its last height to the end. W. Gao, T. Fu, J. Sun and C. W. Coley, Sample efficiency matters,
    NeurIPS Datasets and Benchmarks (2022).

    Args:
        scores: in the order of the calls.
        budget: oracle calls in all.
        top: molecules.
        every: calls between two points.

    Raises:
        ValueError: `top` is none of the curves'.
    """
    if top not in TOPS:
        raise ValueError(f"top {top}: curves are of the best {', '.join(map(str, TOPS))}.")
    area = last = 0.0
    done = 0
    for point in top_curve(scores[:budget], every):
        area += (point.calls - done) * (last + point.means[top]) / 2
        done, last = point.calls, point.means[top]
    return (area + (budget - done) * last) / budget


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
