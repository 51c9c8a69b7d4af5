"""Drawings for a page that stands alone: molecules, and distributions of a sample and its reference."""

from __future__ import annotations

import base64
import math
from typing import Any

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem import rdDepictor
from rdkit.Chem.Draw import rdMolDraw2D

SAMPLE, REFERENCE = "#0072b2", "#b3b3b3"
"""Colours of Okabe and Ito, apart in grey as well."""
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 320, 170, 8, 34, 8
BARS = 40
TAIL = 0.2
"""Percent of the values that a histogram leaves out at each end, into its outermost bars."""


def molecule_image(smiles: str, width: int = 210, height: int = 150) -> str:
    """Data address of a drawing of a molecule, as SVG.

    Args:
        smiles: that RDKit reads.
        width: pixels.
        height: pixels.
    """
    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(smiles)
        rdDepictor.Compute2DCoords(molecule)
        drawer = rdMolDraw2D.MolDraw2DSVG(width, height)
        options: Any = drawer.drawOptions()
        options.padding, options.maxFontSize, options.fixedBondLength = 0.06, 14, 22
        rdMolDraw2D.PrepareAndDrawMolecule(drawer, molecule)
        drawer.FinishDrawing()
    return "data:image/svg+xml;base64," + base64.b64encode(drawer.GetDrawingText().encode()).decode()


def edges_of(values: np.ndarray, *, whole: bool) -> np.ndarray:
    """Edges of the bars of a histogram: of whole numbers a bar each, as far as there are not too many.

    Args:
        values: (n,) of both lists together.
        whole: whether they count something.
    """
    low, high = (float(v) for v in np.percentile(values, [TAIL, 100 - TAIL]))
    if whole:
        step = max(1, math.ceil((high - low + 1) / BARS))
        return np.arange(math.floor(low), math.floor(high) + 2 * step, step) - 0.5
    if high <= low:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, BARS + 1)


def distribution_svg(values: np.ndarray, reference: np.ndarray | None, *, whole: bool) -> str:
    """Histogram of a sample as an outline, over that of the reference as an area.

    Args:
        values: (n,).
        reference: (m,); None for none.
        whole: whether they count something.
    """
    both = values if reference is None else np.concatenate([values, reference])
    edges = edges_of(both, whole=whole)
    lists = [values] if reference is None else [values, reference]
    shares = [
        np.histogram(np.clip(v, edges[0], np.nextafter(edges[-1], edges[0])), bins=edges)[0] / max(1, len(v))
        for v in lists
    ]
    top = max(float(s.max()) for s in shares) or 1.0
    inner_w, inner_h = WIDTH - 2 * LEFT, HEIGHT - BOTTOM - TOP

    def x(value: float) -> float:
        return LEFT + inner_w * (value - edges[0]) / (edges[-1] - edges[0])

    def path(share: np.ndarray) -> str:
        points = [f"{x(edges[0]):.1f},{TOP + inner_h}"]
        for i, height in enumerate(share):
            y = TOP + inner_h * (1 - height / top)
            points += [f"{x(edges[i]):.1f},{y:.1f}", f"{x(edges[i + 1]):.1f},{y:.1f}"]
        return " ".join([*points, f"{x(edges[-1]):.1f},{TOP + inner_h}"])

    shapes = [] if reference is None else [f'<polygon points="{path(shares[1])}" class="reference"/>']
    shapes.append(f'<polyline points="{path(shares[0])}" class="sample"/>')
    ticks = "".join(
        f'<line x1="{x(t):.1f}" x2="{x(t):.1f}" y1="{TOP + inner_h}" y2="{TOP + inner_h + 4}" class="tick"/>'
        f'<text x="{x(t):.1f}" y="{TOP + inner_h + 17}" text-anchor="middle">{t:g}</text>'
        for t in round_ticks(float(edges[0]), float(edges[-1]), whole=whole)
    )
    base = f'<line x1="{LEFT}" x2="{WIDTH - LEFT}" y1="{TOP + inner_h}" y2="{TOP + inner_h}" class="tick"/>'
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{"".join(shapes)}{base}{ticks}</svg>'


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
