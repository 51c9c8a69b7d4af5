"""Figures that check a joint law: residuals against what they should not follow, and profiles."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator, StrMethodFormatter

from chemscale.laws.axis.fit import LEVEL
from chemscale.laws.checks.profiles import Profile
from chemscale.laws.reports.joint_analysis import JointAnalysis
from chemscale.laws.reports.plotting import (
    BLUE,
    UNITS,
    VERMILION,
    log_sizes,
    new_figure,
    rounded,
    size_ticks,
    style,
)
from chemscale.laws.reports.texts import short

SYMBOLS = {
    "alpha": "α", "beta": "β", "eta": "η", "floor": "L∞", "N_c": "N$_c$", "D_c": "D$_c$",
    "alpha_N": "α$_N$", "alpha_D": "α$_D$", "R_D_star": "R$_D$*", "R_N_star": "R$_N$*",
}  # fmt: skip


def residual_figure(found: JointAnalysis) -> Figure:
    """Residuals in per cent against the fitted loss, N and D; a pattern is a law that does not hold."""
    law = found.law
    assert law is not None
    residual = 100 * np.expm1(law.residuals)
    with style():
        figure, axes = new_figure(4.6, rows=3, sharey=True)
        fitted = law.predict(*law.inputs.T)
        rows = (("fitted", fitted), ("parameters", found.n), (found.data_axis, found.d))
        for ax, (name, x) in zip(axes, rows, strict=True):
            ax.axhline(0, color="0.5", lw=0.7, zorder=0)
            band = 100 * np.expm1(1.96 * law.noise)
            ax.axhspan(-band, band, color=BLUE, alpha=0.1, lw=0)
            ax.scatter(x, residual, s=9, color="black", lw=0)
            log_sizes(ax, name, x, 1.15)
            ax.set(ylabel="residual (%)")
            if name == "fitted":
                ax.set(xlabel=f"fitted {UNITS.get(found.unit, found.unit)}")
                _plain(ax, x)
    return figure


def _plain(ax: Axes, x: np.ndarray) -> None:
    """Plain numbers along a loss on the x axis."""
    low, high = float(x.min()) / 1.02, float(x.max()) * 1.02
    ax.set(xlim=(low, high))
    places = rounded(low, high)
    ax.xaxis.set_major_locator(FixedLocator(places[:: max(1, math.ceil(len(places) / 6))]))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))


def profile_figure(profiles: list[Profile]) -> Figure:
    """For each parameter the rise of the objective, 1 where its interval ends; a flat valley is not known."""
    rows = math.ceil(len(profiles) / 2)
    with style():
        figure, axes = new_figure(1.45 * rows + 0.15, rows=rows, columns=2, sharey=True, squeeze=False)
        for ax, each in zip(axes.flat, profiles, strict=False):
            _profile(ax, each)
        for ax in axes.flat[len(profiles) :]:
            ax.set_visible(False)
        for ax in axes[:, 0]:
            ax.set(ylabel=f"ΔF / ΔF({LEVEL:.0%})")
    return figure


def _profile(ax: Axes, each: Profile) -> None:
    if not len(each.values):
        ax.set(xticks=[], xlabel=f"{SYMBOLS.get(each.name, each.name)}: no profile", ylim=(0, 3))
        return
    rise = (each.objective - each.least) / max(each.threshold - each.least, 1e-300)
    ax.plot(each.values, rise, color=BLUE)
    ax.axhline(1, color=VERMILION, ls="--", lw=0.8)
    shown = each.values[rise <= 4]
    left, right = (shown.min(), shown.max()) if len(shown) > 1 else (each.values.min(), each.values.max())
    ax.axvspan(max(each.interval[0], left), min(each.interval[1], right), color=BLUE, alpha=0.12, lw=0)
    ax.set(ylim=(0, 3), xlabel=SYMBOLS.get(each.name, each.name))
    known = math.isfinite(each.best)
    # An infinite optimum lies beyond the right edge.
    ax.plot([each.best if known else right], [0], "o" if known else ">", color="black", ms=3.5, clip_on=False)
    if left > 0 and right / left > 20:
        # A valley that is flat down to 0 looks the same at every smaller value.
        left = max(left, min(each.best, right) / 1000)
        ax.set(xscale="log", xlim=(left, right))
        size_ticks(ax.xaxis, left, right, most=3)
        return
    ax.set(xlim=(left, right))
    ax.xaxis.set_major_locator(MaxNLocator(3))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: short(x) if abs(x) >= 1e4 else f"{x:g}"))
