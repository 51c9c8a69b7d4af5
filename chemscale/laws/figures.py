"""Figures of a law, fit for a paper: PNG and SVG, legible without colour."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np

from chemscale.laws.fitting import Fit
from chemscale.laws.points import LawPoint, LawPoints

AXES = {
    "parameters": "model parameters N (matrices)",
    "all": "all parameters",
    "non_embedding": "non-embedding parameters",
    "blocks": "parameters of the blocks",
    "tokens": "training tokens D",
    "frames": "training frames D",
    "flops": "training compute C (FLOP, as counted)",
}
UNITS = {
    "nats_per_token": "validation loss (nats per token)",
    "nats_per_molecule": "validation loss (nats per molecule)",
    "nats_per_heavy_atom": "validation loss (nats per heavy atom)",
    "forces_mae": "validation force MAE (meV/Å)",
    "forces_rmse": "validation force RMSE (meV/Å)",
    "energy_mae": "validation energy MAE (meV)",
    "energy_mae_per_atom": "validation energy MAE (meV/atom)",
    "energy_rmse": "validation energy RMSE (meV)",
    "energy_rmse_per_atom": "validation energy RMSE (meV/atom)",
    "loss": "loss",
}
# Okabe and Ito's colours stay apart for every kind of colour vision; dashes do so in grey.
_RUNGS = (
    ("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"),
    ("#CC79A7", "D"), ("#E69F00", "v"), ("#56B4E9", "P"),
)  # fmt: skip
_STYLES = {"power": ("#0072B2", "-"), "offset": ("#D55E00", "--")}


def law_figure(points: LawPoints, fits: list[Fit], axis: str, unit: str):
    """Loss against size in log-log with every fit, the first one's band, and its residuals below."""
    plt = _pyplot()
    figure, (upper, lower) = plt.subplots(
        2, 1, figsize=(6.2, 5.6), height_ratios=[3, 1], sharex=True, layout="constrained"
    )
    shown = [p for p in points.points if axis in p.sizes and unit in p.losses]
    for used, marker, label in ((True, "o", "runs"), (False, "x", "left out")):
        chosen = [p for p in shown if p.used is used]
        if chosen:
            xs, ys = [p.sizes[axis] for p in chosen], [p.losses[unit] for p in chosen]
            upper.scatter(xs, ys, marker=marker, color="black", s=34, zorder=5, label=label)
    if fits:
        x = fits[0].x
        grid = np.geomspace(x.min() / 1.3, x.max() * 1.3, 200)
        for number, fit in enumerate(fits):
            color, dash = _STYLES[fit.form.name]
            if number == 0:
                upper.fill_between(grid, *fit.band(grid), color=color, alpha=0.15, lw=0, label="95 % band")
            upper.plot(grid, fit.predict(grid), dash, color=color, lw=1.8, label=_legend(fit))
            residuals = 100 * (np.exp(fit.residuals) - 1)
            lower.plot(fit.x, residuals, dash, color=color, marker="o", ms=4)
    upper.set(xscale="log", yscale="log", ylabel=UNITS.get(unit, unit))
    lower.set(xscale="log", xlabel=AXES.get(axis, axis), ylabel="residual (%)")
    lower.axhline(0, color="0.6", lw=0.8, zorder=0)
    _plain_ticks(upper)
    if shown:
        upper.legend(frameon=False, fontsize=9)
    return figure


def curves_figure(curves: list[dict[str, Any]], unit: str):
    """Validation loss against the data seen, a line a run, darker for more parameters or more data."""
    plt = _pyplot()
    figure, ax = plt.subplots(figsize=(6.2, 3.8), layout="constrained")
    drawn = [c for c in curves if len(c["seen"]) > 0]
    colors = plt.get_cmap("viridis_r")(np.linspace(0.15, 0.95, max(1, len(drawn))))
    for curve, color in zip(drawn, colors, strict=False):
        # A run that was validated once has no line to draw.
        marker = "o" if len(curve["seen"]) < 3 else ""
        ax.plot(
            curve["seen"], curve["loss"], "-", marker=marker, ms=5, color=color, lw=1.6, label=curve["label"]
        )
    ax.set(
        xscale="log",
        yscale="log",
        xlabel=f"{drawn[0]['unit'] if drawn else 'data'} seen",
        ylabel=UNITS.get(unit, unit),
    )
    _plain_ticks(ax)
    if drawn:
        ax.legend(frameon=False, fontsize=9)
    return figure


def ladder_figure(rungs: list[tuple[str, list[LawPoint], Fit | None]], axis: str, unit: str):
    """Every rung's points and law in log-log, each with its band; exponents in the legend."""
    plt = _pyplot()
    figure, ax = plt.subplots(figsize=(6.6, 4.8), layout="constrained")
    for number, (name, points, fit) in enumerate(rungs):
        color, marker = _RUNGS[number % len(_RUNGS)]
        shown = [p for p in points if p.used and axis in p.sizes and unit in p.losses]
        label = name if fit is None else f"{name}: β = {fit.values['beta']:.2f} {_bounds(fit)}"
        if fit is not None and "floor" in fit.values:
            label += f", L∞ = {fit.values['floor']:.3g}"
        xs, ys = [p.sizes[axis] for p in shown], [p.losses[unit] for p in shown]
        ax.scatter(xs, ys, marker=marker, color=color, s=34, zorder=5, label=label)
        if fit is not None:
            grid = np.geomspace(fit.x.min() / 1.2, fit.x.max() * 1.2, 100)
            ax.fill_between(grid, *fit.band(grid), color=color, alpha=0.12, lw=0)
            ax.plot(grid, fit.predict(grid), color=color, lw=1.6)
    ax.set(xscale="log", yscale="log", xlabel=AXES.get(axis, axis), ylabel=UNITS.get(unit, unit))
    _plain_ticks(ax)
    if rungs:
        ax.legend(frameon=False, fontsize=9)
    return figure


def _bounds(fit: Fit) -> str:
    low, high = fit.intervals["beta"]
    return f"[{'−∞' if low is None else f'{low:.2f}'}, {'∞' if high is None else f'{high:.2f}'}]"


def save(figure, path: Path) -> None:
    """`path`.png and `path`.svg."""
    for kind in ("png", "svg"):
        figure.savefig(path.with_suffix(f".{kind}"), dpi=180)


def inline_svg(figure) -> str:
    """The figure as a data address for a page that stands alone."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg")
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()


def close(figure) -> None:
    _pyplot().close(figure)


def _legend(fit: Fit) -> str:
    v = fit.values
    if fit.form.name == "power":
        return f"{v['alpha']:.3g} · x$^{{-{v['beta']:.3f}}}$"
    return f"{v['floor']:.3g} + {v['alpha']:.3g} · x$^{{-{v['beta']:.3f}}}$"


def _plain_ticks(ax) -> None:
    """Few labels that do not touch: 1, 2, 5 along the sizes, plain numbers along a loss of under a decade."""
    from matplotlib.ticker import (
        FixedLocator,
        LogFormatterSciNotation,
        LogLocator,
        NullFormatter,
        StrMethodFormatter,
    )

    low, high = ax.get_xlim()
    if high / low < 1e3:
        ax.xaxis.set_major_locator(LogLocator(base=10, subs=[1, 2, 5]))
        ax.xaxis.set_major_formatter(
            LogFormatterSciNotation(base=10, labelOnlyBase=False, minor_thresholds=(9, 9))
        )
    ax.xaxis.set_minor_formatter(NullFormatter())
    low, high = ax.get_ylim()
    ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    if high / low < 12:
        step = _round_step((high - low) / 5)
        ax.yaxis.set_major_locator(
            FixedLocator((np.arange(np.ceil(low / step), high / step) * step).tolist())
        )
        ax.yaxis.set_minor_locator(FixedLocator([]))
    elif high / low < 1e3:
        ax.yaxis.set_major_locator(LogLocator(base=10, subs=[1, 2, 5]))
    ax.yaxis.set_minor_formatter(NullFormatter())


def _round_step(step: float) -> float:
    """The nearest of 1, 2, 5 times a power of ten."""
    scale = 10.0 ** np.floor(np.log10(step))
    return scale * min((1, 2, 5, 10), key=lambda m: abs(np.log(m * scale / step)))


def _pyplot():
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update(
        {
            "font.size": 10,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "svg.fonttype": "path",
            "svg.hashsalt": "chemscale",
        }
    )
    return plt
