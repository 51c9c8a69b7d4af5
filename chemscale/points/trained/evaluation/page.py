"""The page of an evaluation: error tables, parity plots, distributions of errors, the worst frames."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from chemscale.common.files import atomic_write
from chemscale.laws.reports import page as report_pages
from chemscale.laws.reports.plotting import BLUE, close, inline_svg, new_figure, style
from chemscale.structures.evaluation.errors import UNITS, FrameErrors
from chemscale.structures.evaluation.tables import Group, Row

AXES = {
    "energy": ("energy less reference energies", "eV/atom"),
    "forces": ("force component", "eV/Å"),
    "stress": ("stress component", "meV/Å³"),
}
"""What is plotted, and its unit."""
TITLES = {"energy": "energy", "per_atom": "energy", "forces": "forces", "stress": "stress"}
MAX_GROUPS = 200
"""Groups in the table of the page, the largest first; the JSON file has all."""


def write_page(
    path: Path,
    title: str,
    facts: Sequence[str],
    groups: Sequence[Group],
    elements: Sequence[Group],
    worst: Sequence[Mapping[str, Any]],
    errors: FrameErrors,
) -> None:
    """Write the page; it loads nothing from elsewhere.

    Args:
        path: of the page.
        title: what was evaluated.
        facts: sentences on model, data and labels.
        groups: all frames, then each group.
        elements: one row an element.
        worst: frames with the largest errors: ``where``, ``quantity``, ``error``.
        errors: whose pairs are plotted.
    """
    shared, own = (jinja2.PackageLoader(str(p)) for p in (report_pages.__package__, __package__))
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([own, shared]), autoescape=True, undefined=jinja2.StrictUndefined
    )
    shown = [name for name in UNITS if groups[0].errors[name].labels]
    text = environment.get_template("evaluation.html.j2").render(
        title=title,
        facts=facts,
        quantities=[(name, TITLES[name], UNITS[name]) for name in shown],
        groups=[_cells(group, shown) for group in groups[:MAX_GROUPS]],
        left_out=max(0, len(groups) - MAX_GROUPS),
        elements=[_cells(group, shown) for group in elements],
        plots=[(name, parity_svg(errors, name)) for name in AXES if len(errors.pairs[name].arrays()[0])],
        worst=[{**row, "title": TITLES[row["quantity"]], "unit": UNITS[row["quantity"]]} for row in worst],
    )
    with atomic_write(path) as file:
        file.write(text)


def _cells(group: Group, shown: Sequence[str]) -> dict[str, Any]:
    return {
        "name": group.name,
        "frames": f"{group.frames:,}",
        "errors": [_cell(group.errors[name]) for name in shown],
    }


def _cell(row: Row) -> dict[str, str]:
    if not row.labels:
        return {"mae": "", "interval": "no label", "rmse": ""}
    bounded = math.isfinite(row.low)
    return {
        "mae": number(row.mae),
        "interval": f"{number(row.low)} to {number(row.high)}" if bounded else "",
        "rmse": number(row.rmse),
    }


def number(value: float) -> str:
    """A number of four digits.

    Args:
        value: any.
    """
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"


def parity_svg(errors: FrameErrors, name: str) -> str:
    """Predictions against labels, and how errors are distributed, as a data address.

    Args:
        errors: whose pairs are plotted.
        name: energy, forces or stress.
    """
    labels, predictions = errors.pairs[name].arrays()
    what, unit = AXES[name]
    low, high = float(min(labels.min(), predictions.min())), float(max(labels.max(), predictions.max()))
    margin = 0.03 * (high - low) or 0.5
    limits = (low - margin, high + margin)
    with style():
        figure, (left, right) = new_figure(2.9, columns=2, width=6.2)
        if len(labels) > 500:  # points would hide each other
            left.hexbin(
                labels, predictions, gridsize=60, bins="log", mincnt=1, cmap="Blues", extent=2 * limits
            )
        else:
            left.plot(labels, predictions, ".", color=BLUE, markersize=4)
        left.plot(limits, limits, "-", color="#777777", linewidth=0.8)
        left.set(xlim=limits, ylim=limits, xlabel=f"{what}, label ({unit})", ylabel=f"predicted ({unit})")
        left.set_aspect("equal")
        rest = (predictions - labels) * (1.0 if name == "stress" else 1e3)
        reach = float(np.quantile(np.abs(rest), 0.995)) or 1.0
        right.hist(rest, bins=61, range=(-reach, reach), color=BLUE)
        right.set(xlabel=f"error ({_milli(unit)})", ylabel="labels", yscale="log")
        address = inline_svg(figure)
        close(figure)
    return address


def _milli(unit: str) -> str:
    return unit if unit.startswith("meV") else f"m{unit}"
