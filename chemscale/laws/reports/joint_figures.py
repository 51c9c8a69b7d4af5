"""Figures of a joint law: loss against N, D and C, curves of equal compute, and the surface itself."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from chemscale.laws.allocation.compute import data_for
from chemscale.laws.allocation.isoflop import group_budgets
from chemscale.laws.allocation.optimum import Allocation
from chemscale.laws.axis.fit import FitError
from chemscale.laws.reports.joint_analysis import JointAnalysis
from chemscale.laws.reports.plotting import (
    AXES,
    MARKERS,
    UNITS,
    VERMILION,
    Level,
    levels,
    log_sizes,
    loss_ticks,
    new_figure,
    outside_legend,
    pale,
    power_text,
    size_colors,
    size_ticks,
    style,
)
from chemscale.laws.reports.texts import short

MAX_BUDGETS = 6
NEAR = 1.15
"""A run lies on a curve of equal compute if its own is at most this factor away."""


def loss_against(found: JointAnalysis, against: str) -> Figure:
    """Loss against ``parameters`` with a line for each D, or against the data with a line for each N."""
    law, n, d = found.law, found.n, found.d
    assert law is not None
    x, other = (n, d) if against == "parameters" else (d, n)
    name = "D" if against == "parameters" else "N"
    with style():
        figure, ax = new_figure(3.1)
        shown, grid = levels(other)
        _scatter(ax, x, found.loss, other, shown, grid)
        for level in shown:
            here = x[level.members] if level.members.any() else x
            line = np.geomspace(here.min() / 1.3, here.max() * 1.3, 80)
            fixed = np.full(len(line), level.value)
            inputs = _inputs(found, *((line, fixed) if against == "parameters" else (fixed, line)))
            ax.fill_between(line, *law.band(*inputs), color=level.color, alpha=0.18, lw=0)
            ax.plot(line, law.predict(*inputs), color=level.color)
        _loss_axis(ax, found)
        log_sizes(ax, against, x, 1.4)
        _legend(figure, shown, grid, name)
    return figure


def loss_against_compute(found: JointAnalysis) -> Figure:
    """Loss against FLOPs: runs, a line for each N, and the efficient frontier with its band."""
    law, n, flops = found.law, found.n, found.flops
    assert law is not None
    with style():
        figure, ax = new_figure(3.3)
        shown, grid = levels(n)
        _scatter(ax, flops, found.loss, n, shown, grid)
        for level in shown:
            here = flops[level.members] if level.members.any() else flops
            line = np.geomspace(here.min() / 1.3, here.max() * 1.3, 80)
            size = np.full(len(line), level.value)
            data = np.array([data_for(found.relation, c, np.array([level.value]))[0] for c in line])
            ax.plot(line, law.predict(*_inputs(found, size, data)), color=level.color, lw=0.8, alpha=0.8)
        extra = _frontier_loss(ax, found)
        _loss_axis(ax, found)
        log_sizes(ax, "flops", [flops.min(), 10 * flops.max() if extra else flops.max()], 1.4)
        _legend(figure, shown, grid, "N", extra)
    return figure


def _frontier_loss(ax: Axes, found: JointAnalysis) -> list[Artist]:
    allocation = frontier(found)
    if allocation is None:
        return []
    most = float(found.flops.max())
    budgets = np.geomspace(found.flops.min(), 10 * most, 50)
    try:
        best = [allocation.at(c) for c in budgets]
    except FitError:
        return []
    loss = np.array([b.loss for b in best])
    ends = np.array([b.loss_interval for b in best]).T
    ax.fill_between(budgets, *ends, color=VERMILION, alpha=0.2, lw=0)
    inside = budgets <= most
    ax.plot(budgets[inside], loss[inside], color=VERMILION, lw=1.6)
    ax.plot(budgets[~inside], loss[~inside], "--", color=VERMILION, lw=1.6)
    return [Line2D([], [], color=VERMILION, lw=1.6, label="best (3)")]


def frontier(found: JointAnalysis) -> Allocation | None:
    """Approach 3 with compute as the runs have it."""
    return next((a for a in found.allocations if a.approach.startswith("3")), None)


def parabolas(found: JointAnalysis) -> bool:
    """Whether enough budgets have a minimum of their own to be drawn."""
    return found.minima is not None and len(found.minima.n) >= 3


def isoflop_figure(found: JointAnalysis) -> Figure:
    """Loss along curves of equal compute: runs, parabolas with their minima, the law's curves and optimum."""
    law, n, flops = found.law, found.n, found.flops
    assert law is not None
    groups = group_budgets(flops)
    minima = found.minima if parabolas(found) else None
    low, high = np.percentile(flops, [15, 95])
    budgets = np.geomspace(low, high, 5) if minima is None else minima.flops
    if len(budgets) > MAX_BUDGETS:
        budgets = budgets[np.linspace(0, len(budgets) - 1, MAX_BUDGETS).astype(int)]
    colors = size_colors(budgets, budgets)
    with style():
        figure, ax = new_figure(3.3)
        handles: list[Artist] = []
        for number, (budget, color) in enumerate(zip(budgets, colors, strict=True)):
            if minima is None:
                near = np.abs(np.log(flops / budget)) < np.log(NEAR)
            else:
                middles = [np.exp(np.mean(np.log(flops[groups == g]))) for g in range(groups.max() + 1)]
                near = groups == int(np.argmin(np.abs(np.log(middles) - np.log(budget))))
            marker = MARKERS[number % len(MARKERS)]
            ax.plot(n[near], found.loss[near], marker, color=color, ms=3.5, ls="")
            line = np.geomspace(n.min() / 1.2, n.max() * 1.2, 120)
            data = data_for(found.relation, float(budget), line)
            seen = (data > found.d.min() / 10) & (data < found.d.max() * 10)
            ax.plot(line[seen], law.predict(*_inputs(found, line[seen], data[seen])), color=color, lw=1)
            if minima is not None:
                _parabola(ax, n[near], found.loss[near], color)
            handles.append(Line2D([], [], color=color, marker=marker, ms=3.5, label=power_text(_two(budget))))
        handles += _optima(ax, found, budgets)
        if minima is not None:
            kept = np.isin(minima.flops, budgets)
            reach = 1.96 * minima.n_std[kept]
            bars = minima.n[kept] * np.array([1 - np.exp(-reach), np.expm1(reach)])
            drawn = ax.errorbar(
                minima.n[kept], minima.loss[kept], xerr=bars, fmt="x", color="black", ms=5, lw=0.8, zorder=6
            )
            drawn.set_label("minimum of parabola")
            handles.append(drawn)
        _loss_axis(ax, found)
        log_sizes(ax, "parameters", n, 1.3)
        outside_legend(figure, handles, "C (FLOP)", 3)
    return figure


def _two(value: float) -> float:
    return float(f"{value:.1e}")


def _parabola(ax: Axes, n: np.ndarray, loss: np.ndarray, color: Any) -> None:
    x = np.log(n)
    if len(np.unique(x)) < 3:
        return
    line = np.linspace(x.min(), x.max(), 60)
    fitted = np.polyval(np.polyfit(x - x.mean(), loss, 2), line - x.mean())
    ax.plot(np.exp(line), fitted, ":", color=color, lw=1)


def _optima(ax: Axes, found: JointAnalysis, budgets: np.ndarray) -> list[Artist]:
    allocation = frontier(found)
    if allocation is None:
        return []
    try:
        best = [allocation.at(float(c)) for c in budgets]
    except FitError:
        return []
    n, loss = [b.n for b in best], [b.loss for b in best]
    ax.plot(n, loss, "-", color=VERMILION, lw=0.8, zorder=5)
    return [*ax.plot(n, loss, "*", color=VERMILION, ms=7, label="optimum of law", zorder=6)]


def surface_figure(found: JointAnalysis) -> Figure:
    """Contours of the loss over N and D, the runs, and the compute-optimal line with its interval."""
    law, n, d = found.law, found.n, found.d
    assert law is not None
    with style():
        figure, ax = new_figure(3.4)
        sides = [np.geomspace(x.min() / 2, x.max() * 4, 140) for x in (n, d)]
        table = law.predict(*_inputs(found, *np.meshgrid(*sides)))
        low, high = np.percentile(table[np.isfinite(table)], [2, 92])
        if high > (1 + 1e-3) * low:  # a law that hardly depends on either has no contours
            shade = np.geomspace(low, high, 24)
            ax.contourf(*sides, table, shade, cmap=pale("cividis_r"), extend="both")
            lines = ax.contour(*sides, table, np.geomspace(low, high, 9), colors="0.15", linewidths=0.5)
            ax.clabel(lines, fmt=lambda value: f"{value:.3g}", fontsize=6)
        dots = ax.scatter(n, d, s=9, color="black", zorder=5, label="runs")
        handles = [dots, *_optimal_line(ax, found, sides)]
        ax.set(xscale="log", yscale="log", xlabel=AXES["parameters"], ylabel=AXES[found.data_axis])
        ax.set(xlim=(sides[0][0], sides[0][-1]), ylim=(sides[1][0], sides[1][-1]))
        size_ticks(ax.xaxis, sides[0][0], sides[0][-1])
        size_ticks(ax.yaxis, sides[1][0], sides[1][-1])
        ax.spines[["top", "right"]].set_visible(True)
        outside_legend(figure, handles, columns=3)
    return figure


def _optimal_line(ax: Axes, found: JointAnalysis, sides: list[np.ndarray]) -> list[Artist]:
    allocation = frontier(found)
    if allocation is None:
        return []
    low = float(found.relation(sides[0][0], sides[1][0]))
    high = float(found.relation(sides[0][-1], sides[1][-1]))
    try:
        best = [allocation.at(c) for c in np.geomspace(low, high, 60)]
    except FitError:
        return []
    n, d = np.array([b.n for b in best]), np.array([b.d for b in best])
    shown = np.isfinite(n) & np.isfinite(d)
    if not shown.any():
        return []
    n, d = n[shown], d[shown]
    # An end that is not bounded reaches the edge of the figure.
    ends = np.nan_to_num(np.array([b.n_interval for b in best], dtype=float)[shown].T, nan=np.inf)
    low_n, high_n = np.where(ends[0] == np.inf, sides[0][0], ends[0]), ends[1]
    edges = (sides[0][0], sides[0][-1])
    ax.fill_betweenx(d, low_n.clip(*edges), high_n.clip(*edges), color=VERMILION, alpha=0.25, lw=0)
    return [*ax.plot(n, d, color=VERMILION, lw=1.6, label="compute-optimal")]


def _inputs(found: JointAnalysis, n: np.ndarray, d: np.ndarray) -> list[np.ndarray]:
    """Columns of the law: data are seen once, or repeat beyond the corpus where all runs share one."""
    assert found.law is not None
    unique = d if found.corpus is None else np.minimum(d, found.corpus)
    return [n, d, unique][: len(found.law.surface.columns)]


def _scatter(
    ax: Axes, x: np.ndarray, loss: np.ndarray, other: np.ndarray, shown: list[Level], grid: bool
) -> None:
    if grid:
        for level in shown:
            ax.plot(x[level.members], loss[level.members], level.marker, color=level.color, ls="", zorder=4)
        return
    ax.scatter(x, loss, s=9, c=size_colors(other, other), lw=0, zorder=4)


def _legend(
    figure: Figure, shown: list[Level], grid: bool, name: str, extra: list[Artist] | None = None
) -> None:
    handles: list[Artist] = [
        Line2D([], [], color=level.color, marker=level.marker if grid else "", label=short(level.value))
        for level in shown
    ]
    title = f"{name} (lines: the law at this {name})" if grid else f"{name} of the lines; runs by colour"
    outside_legend(figure, handles + (extra or []), title, 5)


def _loss_axis(ax: Axes, found: JointAnalysis) -> None:
    ax.set(yscale="log", ylabel=UNITS.get(found.unit, found.unit))
    low, high = float(found.loss.min()), float(found.loss.max())
    bottom, top = ax.get_ylim()
    ax.set_ylim(max(bottom, low * (low / high) ** 0.35), min(top, high * (high / low) ** 0.1))
    loss_ticks(ax)
