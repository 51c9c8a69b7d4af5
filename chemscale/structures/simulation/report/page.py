"""The page of a simulation and its figures; it loads nothing from elsewhere."""

from __future__ import annotations

import base64
import datetime
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from chemscale.common.files import atomic_write
from chemscale.structures.simulation.observables import Distances, Structures

if TYPE_CHECKING:
    from chemscale.structures.simulation.report.report import Report

RC: Any = {
    "font.size": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "lines.linewidth": 1.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "chemscale",
}
BLUE, VERMILION = "#0072B2", "#D55E00"
"""Of Okabe and Ito: apart for every kind of colour vision."""
POINTS = 2000
"""Most points of a curve."""


def write_page(
    path: Path,
    name: str,
    report: Report,
    columns: dict[str, np.ndarray],
    structures: Structures,
    description: dict[str, Any],
) -> None:
    """Write the page.

    Args:
        path: of the page.
        name: of the simulation.
        report: its numbers.
        columns: of the log.
        structures: of the trajectory.
        description: of ``simulation.json``.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__), autoescape=True, undefined=jinja2.StrictUndefined
    )
    summary = [line for line in report.lines() if line]
    table = [line.split(None, 1) for line in summary[: summary.index(_bond_head(summary))]]
    text = environment.get_template("simulation.html.j2").render(
        name=name,
        report=report,
        table=table,
        figures=figures(report, columns, structures),
        settings=description["settings"],
        model=description.get("model") or description.get("calculator"),
        software=description["software"],
        made=datetime.datetime.now(datetime.UTC).strftime("%d %B %Y %H:%M UTC"),
    )
    with atomic_write(path) as file:
        file.write(text)


def _bond_head(lines: list[str]) -> str:
    """The first line behind the table of numbers."""
    known = ("ended", "simulated", "drift", "temperature", "volume", "pressure", "committee")
    lines.append("")
    return next(line for line in lines if line.split(" ")[0] not in known)


def figures(report: Report, columns: dict[str, np.ndarray], structures: Structures) -> list[tuple[str, str]]:
    """Figures as data addresses, each with its caption.

    Args:
        report: numbers.
        columns: of the log.
        structures: of the trajectory.
    """
    times = columns["time_ps"]
    found = []
    conserved = 1e3 * (columns["conserved_eV"] - columns["conserved_eV"][:1]) / report.atoms
    if np.isfinite(conserved).any():
        caption = f"Change of the {report.conserved}."
        found.append((curve(times, conserved, "change (meV/atom)"), caption))
    found.append(
        (curve(times, columns["temperature_K"], "temperature (K)", report.wanted_temperature), "Temperature.")
    )
    if report.volume is not None:
        found.append((curve(times, columns["volume_A3"], "volume (Å³)"), "Volume of the cell."))
    if report.uncertainty is not None:
        caption = "Largest standard deviation of a committee's forces on an atom."
        found.append((curve(times, columns["forces_std_max"], "deviation (eV/Å)"), caption))
    if report.distances:
        kind = (
            "Radial distribution functions."
            if report.distances[0].normalised
            else "Distances in the molecule."
        )
        found.append((distributions(report.distances), kind))
    if len(structures.lengths):
        found.append(
            (spread(structures), "Bonds of the start: deviation of each length from that at the start.")
        )
    return found


def curve(times: np.ndarray, values: np.ndarray, label: str, wanted: float | None = None) -> str:
    """A quantity against time.

    Args:
        times: (n,) ps.
        values: (n,).
        label: of the axis.
        wanted: value that was asked for, a dashed line.
    """
    stride = max(1, len(times) // POINTS)

    def draw(axes: Axes) -> None:
        axes.plot(times[::stride], values[::stride], color=BLUE)
        if wanted is not None:
            axes.axhline(wanted, color=VERMILION, linestyle="--")
        axes.set(xlabel="time (ps)", ylabel=label)

    return _svg(draw)


def distributions(found: list[Distances]) -> str:
    """Distributions of distances, each above the last.

    Args:
        found: of each pair of elements.
    """

    def draw(axes: Axes) -> None:
        for index, each in enumerate(reversed(found)):
            scaled = 0.9 * each.values / each.values.max()
            axes.fill_between(each.r, index, index + scaled, color=BLUE, alpha=0.5, linewidth=0)
        axes.set_yticks(range(len(found)), [each.name for each in reversed(found)])
        axes.set(xlabel="distance (Å); each curve scaled to its highest value")

    return _svg(draw, 0.6 + 0.35 * max(4, len(found)))


def spread(structures: Structures) -> str:
    """Deviations of bond lengths from the first frame's, as percentiles over bonds.

    Args:
        structures: of the trajectory.
    """
    change = structures.lengths - structures.lengths[:1]

    def draw(axes: Axes) -> None:
        for share, style in ((100, "-"), (50, "--"), (0, ":")):
            values = np.percentile(change, share, axis=1)
            axes.plot(structures.times, values, style, color=BLUE, linewidth=0.7)
        axes.set(xlabel="time (ps)", ylabel="longest, median, shortest (Å)")

    return _svg(draw)


def _svg(draw: Any, height: float = 2.2) -> str:
    with mpl.rc_context(RC):
        figure = Figure(figsize=(3.5, height), layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure.add_subplot())
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()
