"""What all figures of laws share: names of axes, colours, ticks, and how a figure is saved.

A figure is as wide as a column of a paper (3.5 inches) with letters of 7 to 8 points, which a phone shows at
a readable size too. Colours are those of Okabe and Ito, or cividis where a size is shown: both stay apart for
every kind of colour vision, cividis in grey as well; markers and dashes show the same without colour.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    LogLocator,
    NullFormatter,
    NullLocator,
    StrMethodFormatter,
)

from chemscale.laws.reports.texts import short

WIDTH = 3.5
"""Inches."""

AXES = {
    "parameters": "model parameters N (matrices)",
    "all": "all parameters",
    "non_embedding": "non-embedding parameters",
    "blocks": "parameters of the blocks",
    "tokens": "training tokens D",
    "unique_tokens": "distinct training tokens U",
    "frames": "training frames D",
    "flops": "training compute C (FLOP)",
    "joules": "energy of training (J)",
}
UNITS = {
    "nats_per_token": "validation loss (nats per token)",
    "nats_per_molecule": "validation loss (nats per molecule)",
    "nats_per_heavy_atom": "validation loss (nats per heavy atom)",
    "forces_mae": "validation force MAE (meV/Å)",
    "forces_rmse": "validation force RMSE (meV/Å)",
    "stress_mae": "validation stress MAE (meV/Å³)",
    "stress_rmse": "validation stress RMSE (meV/Å³)",
    "energy_mae": "validation energy MAE (meV)",
    "energy_mae_per_atom": "validation energy MAE (meV/atom)",
    "energy_rmse": "validation energy RMSE (meV)",
    "energy_rmse_per_atom": "validation energy RMSE (meV/atom)",
    "loss": "loss",
}
BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9",
)  # fmt: skip
MARKERS = "os^DvPX*<>"
MAX_LEVELS = 10
"""Sizes that one figure distinguishes by colour and marker."""
RC: Any = {
    "font.size": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.title_fontsize": 7,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "chemscale",
}


@contextmanager
def style() -> Iterator[None]:
    """Apply the settings under which a figure is drawn and saved."""
    mpl.use("Agg")
    with mpl.rc_context(RC):
        yield


def new_figure(
    height: float, rows: int = 1, columns: int = 1, width: float = WIDTH, **settings: Any
) -> tuple[Figure, Any]:
    """A figure and its axes, one or an array of them; within ``style``.

    Args:
        height: inches.
        rows: of axes.
        columns: of axes.
        width: inches.
        **settings: of ``pyplot.subplots``.
    """
    return plt.subplots(rows, columns, figsize=(width, height), layout="constrained", **settings)


def save(figure: Figure, path: Path) -> None:
    """Write `path`.png and `path`.svg, of one layout: to lay it out again is half the time of drawing."""
    with style():
        for kind in ("svg", "png"):
            figure.savefig(Path(path).with_suffix(f".{kind}"), dpi=240)
            figure.set_layout_engine(None)


def saved_inline(figure: Figure, path: Path) -> str:
    """Save a figure; its data address, as ``inline_svg`` gives it, from the file: drawing is slow."""
    save(figure, path)
    close(figure)
    return address(Path(path).with_suffix(".svg").read_bytes())


def address(svg: bytes) -> str:
    """A data address of an SVG."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode()


def inline_svg(figure: Figure) -> str:
    """The figure as a data address for a page that stands alone."""
    buffer = io.BytesIO()
    with style():
        figure.savefig(buffer, format="svg")
    return address(buffer.getvalue())


def close(figure: Figure) -> None:
    """Free the memory of a figure."""
    plt.close(figure)


# --- sizes as colours ---


@dataclass(frozen=True)
class Level:
    """One of a few sizes that a figure distinguishes."""

    value: float
    members: np.ndarray
    """(n,) which runs have it; none where runs lie between levels."""
    color: tuple[float, float, float, float]
    marker: str


def levels(values: np.ndarray, apart: float = 1.05, between: int = 5) -> tuple[list[Level], bool]:
    """Sizes as at most ``MAX_LEVELS`` levels, and whether every run lies on one of them.

    Runs of a grid do; where sizes are all over the place, levels are spread over their range.

    Args:
        values: (n,) sizes.
        apart: factor by which sizes of one level differ at most.
        between: levels of sizes that form no grid.
    """
    order = np.argsort(values)
    clusters = list[list[int]]()
    for place in order:
        if not clusters or values[place] > apart * values[clusters[-1][0]]:
            clusters.append([])
        clusters[-1].append(int(place))
    grid = len(clusters) <= MAX_LEVELS
    if not grid:
        low, high = np.percentile(values, [3, 97])
        centres = list(np.geomspace(low, high, between))
        clusters = [[] for _ in centres]
    else:
        centres = [float(np.exp(np.mean(np.log(values[cluster])))) for cluster in clusters]
    colors = size_colors(np.array(centres), values)
    found = []
    for number, (centre, cluster) in enumerate(zip(centres, clusters, strict=True)):
        members = np.zeros(len(values), bool)
        members[cluster] = True
        found.append(Level(float(centre), members, tuple(colors[number]), MARKERS[number % len(MARKERS)]))
    return found, grid


def pale(name: str, ink: float = 0.5) -> ListedColormap:
    """A colour map mixed with white, on which lines and points stand out.

    Args:
        name: of the map.
        ink: share of the colour.
    """
    colors = mpl.colormaps[name](np.linspace(0, 1, 256))
    colors[:, :3] = 1 - ink * (1 - colors[:, :3])
    return ListedColormap(colors)


def size_colors(sizes: np.ndarray, over: np.ndarray) -> np.ndarray:
    """Colours (n, 4) from blue to ochre by the logarithm of a size in the range of `over`."""
    low, high = np.log(np.min(over)), np.log(np.max(over))
    share = (np.log(sizes) - low) / max(high - low, 1e-9)
    return mpl.colormaps["cividis"](0.82 * np.clip(share, 0, 1))


# --- numbers and ticks ---


def size_ticks(axis: Axis, low: float, high: float, powers: bool = False, most: int = 6) -> None:
    """Place at most so many ticks along a logarithmic axis.

    Args:
        axis: x or y.
        low: its lower end.
        high: its upper end.
        powers: whether to write 10ᵏ instead of a letter.
        most: ticks.
    """
    decades = float(np.log10(high / low))
    subs = (1, 2, 5) if decades < 1.5 else (1, 3) if decades < 2.5 else (1,)
    powers_of_ten = range(int(np.floor(np.log10(low))), int(np.log10(high)) + 2)
    places = np.array([s * 10.0**k for k in powers_of_ten for s in subs])
    places = places[(places >= low) & (places <= high)]
    if len(places) < 2:
        step = round_step((high - low) / 3)
        places = np.arange(np.ceil(low / step), high / step) * step
    if len(places) > most:
        places = places[:: int(np.ceil(len(places) / most))]
    axis.set_major_locator(FixedLocator(places.tolist()))
    axis.set_minor_locator(LogLocator(base=10, subs=range(2, 10)) if decades < 6 else NullLocator())
    axis.set_minor_formatter(NullFormatter())
    axis.set_major_formatter(FuncFormatter(lambda x, _: power_text(x) if powers else short(x)))


def power_text(value: float) -> str:
    """A power of ten in mathtext: ``$3·10^{18}$``."""
    power = int(np.floor(np.log10(value) + 1e-9))
    factor = value / 10.0**power
    front = "" if abs(factor - 1) < 1e-6 else f"{factor:.3g}·"
    return f"${front}10^{{{power}}}$"


def loss_ticks(ax: Axes) -> None:
    """Write plain numbers along a logarithmic loss axis: round steps under a decade, else 1, 2, 5."""
    low, high = ax.get_ylim()
    ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    if high / low < 12:
        places = rounded(low, high)
        ax.yaxis.set_major_locator(FixedLocator(places))
        ax.yaxis.set_minor_locator(FixedLocator([]))
    elif high / low < 1e3:
        ax.yaxis.set_major_locator(LogLocator(base=10, subs=[1, 2, 5]))
    ax.yaxis.set_minor_formatter(NullFormatter())


def rounded(low: float, high: float) -> list[float]:
    """Round numbers between two, about as far apart on a logarithmic axis."""
    if high / low < 2.2:
        step = round_step((high - low) / 5)
        return [float(f"{k * step:.12g}") for k in range(int(np.ceil(low / step)), int(high / step) + 1)]
    series = (1, 1.5, 2, 2.5, 3, 4, 5, 7) if high / low < 6 else (1, 2, 3, 5)
    scales = range(int(np.floor(np.log10(low))), int(np.log10(high)) + 2)
    places = [float(f"{s * 10.0**k:.12g}") for k in scales for s in series]
    return [place for place in places if low <= place <= high]


def round_step(step: float) -> float:
    """The nearest of 1, 2, 5 times a power of ten."""
    scale = 10.0 ** np.floor(np.log10(step))
    return float(scale * min((1, 2, 5, 10), key=lambda m: abs(np.log(m * scale / step))))


def log_sizes(ax: Axes, axis: str, values: Iterable[float], margin: float = 1.25) -> None:
    """Make the x axis logarithmic over sizes, with its name and ticks.

    Args:
        ax: of the figure.
        axis: what the sizes are (see ``AXES``).
        values: the sizes.
        margin: factor to each side of them.
    """
    found = np.asarray(list(values), dtype=float)
    low, high = (float(found.min()) / margin, float(found.max()) * margin) if len(found) else (1.0, 10.0)
    ax.set(xscale="log", xlim=(low, high), xlabel=AXES.get(axis, axis))
    size_ticks(ax.xaxis, low, high, powers=axis == "flops")


def outside_legend(figure: Figure, handles: Sequence[Artist], title: str = "", columns: int = 4) -> None:
    """Draw a legend below the axes, where it hides nothing.

    Args:
        figure: that it belongs to.
        handles: labelled artists; without any there is no legend.
        title: above them.
        columns: at most.
    """
    if handles:
        rows = -(-len(handles) // columns)
        columns = -(-len(handles) // rows)
        # Matplotlib fills columns first; a reader expects rows.
        handles = [handles[k] for c in range(columns) for k in range(c, len(handles), columns)]
        labels = [str(handle.get_label()) for handle in handles]
        figure.legend(
            handles, labels, loc="outside lower center", ncols=columns, title=title or None,
            columnspacing=1.2, handletextpad=0.5,
        )  # fmt: skip
