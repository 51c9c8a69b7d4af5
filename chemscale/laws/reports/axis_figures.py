"""Figures of a law of one axis, fit for a paper: PNG and SVG, legible without colour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from chemscale.laws.axis.fit import Fit
from chemscale.laws.axis.forms import Broken
from chemscale.laws.axis.law import AHEAD, AxisLaw
from chemscale.laws.data.points import LawPoint, LawPoints
from chemscale.laws.reports.plotting import (
    AXES,
    BLUE,
    GREEN,
    MARKERS,
    MAX_LEVELS,
    ORANGE,
    PURPLE,
    SKY,
    UNITS,
    VERMILION,
    close,
    inline_svg,
    levels,
    log_sizes,
    loss_ticks,
    new_figure,
    outside_legend,
    save,
    style,
)
from chemscale.laws.reports.texts import short

__all__ = [
    "AXES",
    "UNITS",
    "close",
    "curves_figure",
    "families_figure",
    "inline_svg",
    "law_figure",
    "save",
]

MARGIN = 1.4
"""Factor of sizes left free at both ends of an axis."""
_FAMILY_COLORS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
_STYLES = {
    "power": (BLUE, "-"),
    "offset": (VERMILION, "--"),
    "broken1": (GREEN, "-."),
    "broken2": (PURPLE, ":"),
}


def law_figure(points: LawPoints, law: AxisLaw, axis: str, unit: str) -> Figure:
    """Loss against size in log-log with every fit, the law's band up to ten times, and residuals below.

    Args:
        points: used or not.
        law: its fits; sizes outside the straight line are drawn as rings.
        axis: of the sizes.
        unit: of the loss.
    """
    with style():
        figure, (upper, lower) = new_figure(3.7, rows=2, height_ratios=[3, 1], sharex=True)
        shown = [p for p in points.points if axis in p.sizes and unit in p.losses]
        handles = _runs(upper, shown, axis, unit, law.outside)
        for number, fit in enumerate(law.shown()):
            color, dash = _STYLES[fit.form.name]
            grid = np.geomspace(fit.x.min() / 1.3, fit.x.max() * AHEAD[-1], 200)
            if number == 0:
                of = color if law.chosen is fit else "0.5"
                band = upper.fill_between(grid, *law.band(grid), color=of, alpha=0.15, lw=0)
                band.set_label("95% band")
            # What is not the law is drawn where there are runs only.
            drawn = grid if fit is law.chosen else grid[grid <= 1.3 * fit.x.max()]
            mark = " (the law)" if fit is law.chosen and len(law.fits) > 1 else ""
            handles += upper.plot(drawn, fit.predict(drawn), ls=dash, color=color, label=_legend(fit) + mark)
            residuals = 100 * (np.exp(fit.residuals) - 1)
            lower.plot(fit.x, residuals, MARKERS[number], color=color, ms=3)
        if law.fits:
            handles.append(band)
        upper.set(yscale="log", ylabel=UNITS.get(unit, unit))
        ends = [fit.x.max() * AHEAD[-1] / MARGIN for fit in law.fits[:1]]
        log_sizes(lower, axis, [*(p.sizes[axis] for p in shown), *ends], MARGIN)
        lower.set(ylabel="residual (%)")
        lower.axhline(0, color="0.6", lw=0.7, zorder=0)
        loss_ticks(upper)
        outside_legend(figure, handles, columns=2)
    return figure


def _runs(
    ax: Axes, shown: Sequence[LawPoint], axis: str, unit: str, outside: np.ndarray | None
) -> list[Artist]:
    handles: list[Artist] = []
    for used, marker, label in ((True, "o", "runs"), (False, "x", "left out")):
        chosen = [p for p in shown if p.used is used]
        if chosen:
            xs, ys = [p.sizes[axis] for p in chosen], [p.losses[unit] for p in chosen]
            handles.append(ax.scatter(xs, ys, marker=marker, color="black", s=14, zorder=5, label=label))
    if outside is not None and len(outside):
        ringed = [p for p in shown if p.used and np.isclose(p.sizes[axis], outside, rtol=1e-9).any()]
        xs, ys = [p.sizes[axis] for p in ringed], [p.losses[unit] for p in ringed]
        ring = ax.scatter(xs, ys, s=60, facecolors="none", edgecolors=VERMILION, lw=1.1, zorder=6)
        ring.set_label("off the straight line")
        handles.append(ring)
    return handles


def curves_figure(curves: list[dict[str, Any]], unit: str) -> Figure:
    """Validation loss against the data seen, a line a run: its colour is the size of the model.

    Where all runs are of one size, the data that they see distinguish them.

    Args:
        curves: each with ``seen``, ``loss``, ``unit`` of the data, ``label`` and, where known, ``size``.
        unit: of the loss.
    """
    with style():
        figure, ax = new_figure(3.0)
        drawn = [c for c in curves if len(c["seen"]) > 0]
        sizes = np.array([float(c.get("size") or 1) for c in drawn])
        title = "N"
        if len(drawn) and sizes.max() <= 1.001 * sizes.min():
            sizes, title = np.array([float(c["seen"][-1]) for c in drawn]), drawn[0]["unit"]
        found, grid = levels(sizes) if len(drawn) else ([], False)
        for number, curve in enumerate(drawn):
            level = min(found, key=lambda each: abs(np.log(each.value / sizes[number])))
            # A run that was validated once has no line to draw.
            marker = level.marker if len(curve["seen"]) < 3 else ""
            ax.plot(curve["seen"], curve["loss"], "-", marker=marker, color=level.color, lw=1)
            ax.plot(curve["seen"][-1:], curve["loss"][-1:], level.marker, color=level.color, ms=3.5)
        ax.set(yscale="log", ylabel=UNITS.get(unit, unit))
        log_sizes(ax, "data", [x for c in drawn for x in c["seen"] if x > 0], 1.1)
        ax.set(xlabel=f"{drawn[0]['unit'] if drawn else 'data'} seen")
        loss_ticks(ax)
        near = "" if grid else "about "
        handles = [
            Line2D([], [], color=lv.color, marker=lv.marker, ms=3.5, label=near + short(lv.value))
            for lv in found
        ]
        outside_legend(figure, handles[:MAX_LEVELS], title)
    return figure


def families_figure(families: list[tuple[str, list[LawPoint], Fit | None]], axis: str, unit: str) -> Figure:
    """Every family's points and law in log-log, each with its band; exponents in the legend.

    Args:
        families: name, points and law of each.
        axis: of the sizes.
        unit: of the loss.
    """
    with style():
        figure, ax = new_figure(3.2 + 0.12 * len(families))
        handles, sizes = [], []
        for number, (name, points, fit) in enumerate(families):
            color, marker = _FAMILY_COLORS[number % len(_FAMILY_COLORS)], MARKERS[number % len(MARKERS)]
            shown = [p for p in points if p.used and axis in p.sizes and unit in p.losses]
            label = name if fit is None else f"{name}: {_summary(fit)}"
            xs, ys = [p.sizes[axis] for p in shown], [p.losses[unit] for p in shown]
            sizes += xs
            handles.append(ax.scatter(xs, ys, marker=marker, color=color, s=16, zorder=5, label=label))
            if fit is not None:
                grid = np.geomspace(fit.x.min() / 1.2, fit.x.max() * 1.2, 100)
                ax.fill_between(grid, *fit.band(grid), color=color, alpha=0.12, lw=0)
                ax.plot(grid, fit.predict(grid), color=color)
        ax.set(yscale="log", ylabel=UNITS.get(unit, unit))
        log_sizes(ax, axis, sizes, 1.4)
        loss_ticks(ax)
        outside_legend(figure, handles, columns=1)
    return figure


def _summary(fit: Fit) -> str:
    """The exponent with its interval, and the floor where there is one."""
    name = "beta" if "beta" in fit.values else "c0"
    low, high = fit.intervals[name]
    ends = f"[{'−∞' if low is None else f'{low:.2f}'}, {'∞' if high is None else f'{high:.2f}'}]"
    text = f"{'β' if name == 'beta' else 'c0'} = {fit.values[name]:.2f} {ends}"
    return text + (f", L∞ = {fit.values['floor']:.3g}" if "floor" in fit.values else "")


def _legend(fit: Fit) -> str:
    v = fit.values
    if isinstance(fit.form, Broken):
        breaks = " and ".join(short(v[f"d{number + 1}"]) for number in range(fit.form.breaks))
        return f"broken at {breaks}"
    power = f"{v['alpha']:.3g}·x$^{{{-v['beta']:.3f}}}$"
    return power if fit.form.name == "power" else f"{v['floor']:.3g} + {power}"
