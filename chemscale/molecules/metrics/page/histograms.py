"""Histograms of a page that stands alone, as SVG that takes its colours from the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 320, 170, 8, 34, 8
BARS = 40
CHARACTER, LONG, FEW = 7, 6, 4
"""Pixels of a character; characters of a long label, and ticks where labels are long."""
TAIL = 0.2
"""Percent of the values that a histogram leaves out at each end, into its outermost bars."""


def edges_of(values: np.ndarray, *, whole: bool) -> np.ndarray:
    """Edges of the bars of a histogram: of whole numbers a bar each, as far as there are not too many.

    Args:
        values: (n,) of all lists together.
        whole: whether they count something.
    """
    low, high = (float(v) for v in np.percentile(values, [TAIL, 100 - TAIL]))
    if whole:
        step = max(1, math.ceil((high - low + 1) / BARS))
        return np.arange(math.floor(low), math.floor(high) + 2 * step, step) - 0.5
    if high <= low:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, BARS + 1)


def shares_of(values: np.ndarray, edges: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Share of the values in each bar, (b,); those beyond the ends lie in the outermost bars.

    Args:
        values: (n,).
        edges: (b + 1,) of the bars, ascending.
        weights: (n,) how often each value stands there; once if None.
    """
    inside = np.clip(values, edges[0], np.nextafter(edges[-1], edges[0]))
    total = len(values) if weights is None else float(weights.sum())
    return np.histogram(inside, bins=edges, weights=weights)[0] / max(1, total)


def distribution_svg(values: np.ndarray, reference: np.ndarray | None, *, whole: bool) -> str:
    """Histogram of a sample as an outline, over that of the reference as an area.

    Args:
        values: (n,).
        reference: (m,); None for none.
        whole: whether they count something.
    """
    both = values if reference is None else np.concatenate([values, reference])
    edges = edges_of(both, whole=whole)
    area = None if reference is None else shares_of(reference, edges)
    return histogram_svg(edges, area, [shares_of(values, edges)], whole=whole)


def histogram_svg(
    edges: np.ndarray, area: np.ndarray | None, outlines: Sequence[np.ndarray], *, whole: bool
) -> str:
    """Shares of bars: one list as an area, others as outlines over it.

    Args:
        edges: (b + 1,) of the bars, ascending.
        area: (b,) shares; None for none. Its class is ``reference``.
        outlines: (b,) shares each; their classes are ``sample``, then ``sample second``.
        whole: whether the values count something, so that ticks are whole numbers.
    """
    shown = [*outlines, *([] if area is None else [area])]
    top = max((float(shares.max()) for shares in shown if len(shares)), default=0.0) or 1.0
    inner_w, inner_h = WIDTH - 2 * LEFT, HEIGHT - BOTTOM - TOP

    def x(value: float) -> float:
        return LEFT + inner_w * (value - edges[0]) / (edges[-1] - edges[0])

    def path(share: np.ndarray) -> str:
        points = [f"{x(edges[0]):.1f},{TOP + inner_h}"]
        for i, height in enumerate(share):
            y = TOP + inner_h * (1 - height / top)
            points += [f"{x(edges[i]):.1f},{y:.1f}", f"{x(edges[i + 1]):.1f},{y:.1f}"]
        return " ".join([*points, f"{x(edges[-1]):.1f},{TOP + inner_h}"])

    shapes = [] if area is None else [f'<polygon points="{path(area)}" class="reference"/>']
    names = ("sample", "sample second")
    shapes += [
        f'<polyline points="{path(shares)}" class="{names[min(number, 1)]}"/>'
        for number, shares in enumerate(outlines)
    ]
    places = round_ticks(float(edges[0]), float(edges[-1]), whole=whole)
    if max((len(f"{t:.10g}") for t in places), default=0) > LONG:
        places = round_ticks(float(edges[0]), float(edges[-1]), whole=whole, most=FEW)
    ticks = "".join(_tick(x(place), f"{place:.10g}", TOP + inner_h) for place in places)
    base = f'<line x1="{LEFT}" x2="{WIDTH - LEFT}" y1="{TOP + inner_h}" y2="{TOP + inner_h}" class="tick"/>'
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{"".join(shapes)}{base}{ticks}</svg>'


def _tick(place: float, label: str, base: int) -> str:
    """A tick and its label, held so that the figure's edge does not cut it."""
    half = CHARACTER * len(label) / 2
    anchor = "start" if place < half else "end" if place > WIDTH - half else "middle"
    return (
        f'<line x1="{place:.1f}" x2="{place:.1f}" y1="{base}" y2="{base + 4}" class="tick"/>'
        f'<text x="{place:.1f}" y="{base + 17}" text-anchor="{anchor}">{label}</text>'
    )


def round_ticks(low: float, high: float, *, whole: bool, most: int = 6) -> list[float]:
    """Round numbers between two.

    Args:
        low: the lower end.
        high: the upper end.
        whole: whether only whole numbers will do.
        most: about how many.
    """
    rough = (high - low) / most
    scale = 10.0 ** math.floor(math.log10(rough))
    step = next(scale * m for m in (1, 2, 5, 10) if scale * m >= rough)
    if whole:
        step = max(1.0, step)
    first = math.ceil(low / step)
    return [float(f"{k * step:.10g}") for k in range(first, math.floor(high / step) + 1)]
