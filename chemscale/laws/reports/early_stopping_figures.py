"""Figures of training performance estimation (TPE, Frey et al. 2023)."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from chemscale.laws.data.curves import TrainingCurve
from chemscale.laws.early_stopping.rule import Standing
from chemscale.laws.reports.plotting import BLUE, UNITS, VERMILION, loss_ticks, new_figure, style

NAMED = 4
"""Settings that a legend names, the most promising."""


def prediction_figure(known: Standing, share: float, title: str, unit: str) -> Figure:
    """Final against predicted loss; runs that were stopped show their prediction interval alone.

    Args:
        known: scores, ends and the regression.
        share: of each run that was seen.
        title: of the estimator.
        unit: of the final loss.
    """
    with style():
        figure, ax = new_figure(3.1)
        ax.set(ylabel=UNITS.get(unit, unit).replace("validation", "final"))
        finite, ended = np.isfinite(known.scores), ~np.isnan(known.finals)
        if known.calibration is None:
            shown = finite & ended
            ax.scatter(known.scores[shown], known.finals[shown], color="black", s=16)
            ax.set(xlabel=f"{title} at {share:.0%} of the run")
            return figure
        x = np.where(finite, known.scores, 0.0)
        predicted = known.calibration.predict(x)
        low, high = known.calibration.interval(x)
        done, stopped = finite & ended, finite & ~ended
        ends = [predicted[finite].min(), predicted[finite].max()]
        ax.plot(ends, ends, color="0.6", lw=0.8, zorder=0, label="as predicted")
        ax.scatter(predicted[done], known.finals[done], color=BLUE, s=16, zorder=4, label="finished")
        if stopped.any():
            reach = np.stack([predicted - low, high - predicted])[:, stopped]
            ax.errorbar(
                predicted[stopped], predicted[stopped], yerr=reach, fmt="s", ms=3, color=VERMILION, lw=0.8,
                capsize=2, label="stopped: 95 % interval",
            )  # fmt: skip
        ax.set(xlabel=f"predicted from {share:.0%} of the run by {title}")
        ax.legend()
        return figure


def training_figure(curves: Sequence[TrainingCurve], known: Standing, share: float) -> Figure:
    """Training loss of every setting against the share of the run; a line where the estimate ends.

    Args:
        curves: of all settings.
        known: their ranks.
        share: of each run that was seen.
    """
    with style():
        figure, ax = new_figure(2.7)
        order = np.argsort(known.ranks)
        colors = mpl.colormaps["cividis"](np.linspace(0, 0.85, len(order)))
        for color, n in zip(colors, order, strict=True):
            curve = curves[n]
            label = curve.label if known.ranks[n] < NAMED else None
            ax.plot(curve.seen / curve.planned, curve.loss, color=color, lw=0.9, label=label)
        ax.axvline(share, color="0.4", lw=0.8, ls=":")
        ax.set(yscale="log", xlabel="share of the run", ylabel="training loss", xlim=(0, 1))
        loss_ticks(ax)
        ax.legend(title="most promising")
        return figure
