"""Figures of a sweep over settings that is cut short."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from chemscale.laws.data.curves import TrainingCurve
from chemscale.laws.early_stopping.rule import Standing
from chemscale.laws.reports.plotting import BLUE, UNITS, VERMILION, loss_ticks, new_figure, style

NAMED = 4
"""Settings that a legend names, the most promising."""


def ends_figure(rows: Sequence[Mapping[str, Any]], unit: str) -> Figure:
    """Final loss of every setting by rank; of one that was stopped the interval of its forecast.

    Args:
        rows: of the report's table, the most promising first.
        unit: of the final loss.
    """
    with style():
        figure, ax = new_figure(3.1)
        places = np.arange(1, len(rows) + 1)
        done = np.array([row["final"] is not None and np.isfinite(row["final"]) for row in rows])
        if done.any():
            finals = [row["final"] for row, is_done in zip(rows, done, strict=True) if is_done]
            ax.scatter(places[done], finals, color=BLUE, s=16, zorder=4, label="finished")
        stopped = np.array(["predicted" in row for row in rows])
        if stopped.any():
            middle = np.array([row["predicted"] for row in rows if "predicted" in row])
            low, high = np.array([row["interval"] for row in rows if "predicted" in row]).T
            ax.errorbar(
                places[stopped], middle, yerr=np.stack([middle - low, high - middle]), fmt="s", ms=3,
                color=VERMILION, lw=0.8, capsize=2, label="stopped: forecast, 95 % interval",
            )  # fmt: skip
        ax.set(xlabel="rank of the setting", yscale="log")
        ax.set(ylabel=UNITS.get(unit, unit).replace("validation", "final"))
        loss_ticks(ax)
        if done.any() or stopped.any():
            ax.legend()
        return figure


def training_figure(curves: Sequence[TrainingCurve], known: Standing) -> Figure:
    """Training loss of every setting against the share of the run; a line at each rung.

    Args:
        curves: of all settings.
        known: their ranks.
    """
    with style():
        figure, ax = new_figure(2.7)
        order = np.argsort(known.ranks)
        colors = mpl.colormaps["cividis"](np.linspace(0, 0.85, len(order)))
        for color, n in zip(colors, order, strict=True):
            curve = curves[n]
            label = curve.label if known.ranks[n] < NAMED else None
            ax.plot(curve.seen / curve.planned, curve.loss, color=color, lw=0.9, label=label)
        for share in known.rule.rungs:
            ax.axvline(share, color="0.4", lw=0.6, ls=":")
        ax.set(yscale="log", xlabel="share of the run", ylabel="training loss", xlim=(0, 1))
        loss_ticks(ax)
        ax.legend(title="most promising")
        return figure
