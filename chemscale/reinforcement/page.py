"""One page that stands alone: the curves of an optimisation, and drawings of its best molecules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from rdkit import Chem
from rdkit.Chem.Draw import rdMolDraw2D

from chemscale.common.files import atomic_write
from chemscale.laws.reports import page as report_pages
from chemscale.laws.reports.plotting import BLUE, GREEN, ORANGE, close, inline_svg, new_figure, style
from chemscale.reinforcement.curves import CurvePoint
from chemscale.reinforcement.journal import Scored
from chemscale.reinforcement.loop import StepRow

DRAWN = 24
"""Molecules that are drawn."""


def write_page(
    path: Path,
    name: str,
    ended: str,
    top: Mapping[int, float],
    auc: float,
    summary: Mapping[str, Any],
    curve: Sequence[CurvePoint],
    steps: Sequence[StepRow],
    best: Sequence[Scored],
) -> None:
    """Write the page of an optimisation.

    Args:
        path: of the file.
        name: of the optimisation.
        ended: why it ended, in words.
        top: means of the best 1, 10 and 100.
        auc: area under the curve of the best ten.
        summary: what ``summary.json`` holds.
        curve: means against calls.
        steps: rows of ``steps.csv``.
        best: molecules, the best first.
    """
    own, shared = (jinja2.PackageLoader(str(p)) for p in (__package__, report_pages.__package__))
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([own, shared]), autoescape=True, undefined=jinja2.StrictUndefined
    )
    labels = [component["name"] for component in summary["score"]["components"]]
    text = environment.get_template("optimisation.html.j2").render(
        name=name,
        ended=ended,
        top=top,
        auc=auc,
        summary=summary,
        curves=curves_svg(curve, steps),
        labels=labels,
        molecules=[(row, drawing(row.smiles)) for row in best[:DRAWN]],
    )
    with atomic_write(path) as file:
        file.write(text)


def curves_svg(curve: Sequence[CurvePoint], steps: Sequence[StepRow]) -> str:
    """Means of the best and of each batch against oracle calls, as a data address."""
    with style():
        figure, axes = new_figure(2.6, width=5)
        for (top, color), dashes in zip(
            ((1, ORANGE), (10, BLUE), (100, GREEN)), ("-", "-", "--"), strict=True
        ):
            axes.plot(
                [p.calls for p in curve],
                [p.means[top] for p in curve],
                dashes,
                color=color,
                label=f"top {top}",
            )
        axes.plot(
            [s.calls for s in steps], [s.score for s in steps], ":", color="#777777", label="batch mean"
        )
        axes.set(xlabel="oracle calls (different molecules)", ylabel="score", ylim=(0, 1.02), xlim=(0, None))
        axes.legend(loc="lower right")
        address = inline_svg(figure)
        close(figure)
    return address


def drawing(smiles: str) -> str:
    """SVG of a molecule, without its XML head."""
    drawer = rdMolDraw2D.MolDraw2DSVG(220, 160)
    rdMolDraw2D.PrepareAndDrawMolecule(drawer, Chem.MolFromSmiles(smiles))
    drawer.FinishDrawing()
    text = drawer.GetDrawingText()
    return text[text.index("<svg") :]
