"""Figures of a report as SVG within the page; colours are those of its style sheet."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from chemscale.molecules.metrics.page.histograms import BOTTOM, HEIGHT, LEFT, TOP, WIDTH, histogram_svg

LINES = {"train": "training", "validation": "sample"}
INDENT = 30
"""Pixels left of a curve for numbers."""


def parts_svg(distribution: Mapping[str, Any]) -> str:
    """Histogram of one quantity: the training part as an area, the others as outlines.

    Args:
        distribution: as ``values.distribution`` made it.
    """
    parts = {name: np.array(part["shares"], float) for name, part in distribution["parts"].items()}
    area = parts.pop("train", None)
    outlines = [parts.get(name) for name in ("validation", "test")]
    edges = np.array(distribution["edges"], float)
    if outlines[0] is None and outlines[1] is not None:  # the test part keeps its own line
        outlines[0] = np.zeros(0)
    return histogram_svg(edges, area, [o for o in outlines if o is not None], whole=distribution["whole"])


def coverage_svg(symbols: Sequence[int], curves: Mapping[str, Sequence[float]]) -> str:
    """Share of the tokens against the number of symbols, the commonest first, on a logarithmic axis.

    Args:
        symbols: (n,) numbers of symbols, ascending.
        curves: (n,) shares of each part.
    """
    low = min((min(curve) for curve in curves.values()), default=0.0)
    bottom = min(0.9, math.floor(10 * low) / 10)
    reach = math.log10(max(symbols)) or 1.0
    left, right, base = LEFT + INDENT, WIDTH - 2 * LEFT, HEIGHT - BOTTOM

    def x(value: float) -> float:
        return left + (right - left) * math.log10(value) / reach

    def y(value: float) -> float:
        return base - (base - TOP) * (value - bottom) / (1 - bottom)

    lines = "".join(
        f'<polyline class="{LINES[part]}" points="'
        + " ".join(f"{x(k):.1f},{y(share):.1f}" for k, share in zip(symbols, curve, strict=True))
        + '"/>'
        for part, curve in curves.items()
    )
    steps = [bottom, (1 + bottom) / 2, 1.0]
    levels = "".join(
        f'<line x1="{left}" x2="{right}" y1="{y(s):.1f}" y2="{y(s):.1f}" class="grid-line"/>'
        f'<text x="{left - 5}" y="{y(s) + 4:.1f}" text-anchor="end">{100 * s:.0f}%</text>'
        for s in steps
    )
    places = [k for p in range(6) for k in (10**p, 3 * 10**p) if k <= max(symbols)]
    ticks = "".join(
        f'<line x1="{x(k):.1f}" x2="{x(k):.1f}" y1="{base}" y2="{base + 4}" class="tick"/>'
        f'<text x="{x(k):.1f}" y="{base + 17}" text-anchor="middle">{k:,}</text>'
        for k in places
    )
    axis = f'<line x1="{left}" x2="{right}" y1="{base}" y2="{base}" class="tick"/>'
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{levels}{lines}{axis}{ticks}</svg>'
