"""How a joint law moves with Huber's δ and the runs that fit worst: choices others may make otherwise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from chemscale.laws.axis.fit import FitError
from chemscale.laws.joint.fit import SurfaceFit, fit_surface, warm_starts

DELTAS = (1e-4, 1e-3, 1e-2, math.inf)
STARTS = 100
"""Of the form's grid, where a few of them and the optimum of the fit itself disagree."""


@dataclass(frozen=True)
class Row:
    """One refit."""

    label: str
    delta: float
    left_out: tuple[int, ...]
    """Places of the runs without which it was fitted, worst first."""
    points: int
    fit: SurfaceFit | None
    """None where too few runs remain; see `reason`."""
    reason: str = ""

    @property
    def values(self) -> dict[str, float]:
        return self.fit.values if self.fit else {}

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        return self.fit.intervals if self.fit else {}

    @property
    def objective(self) -> float:
        return self.fit.objective if self.fit else math.nan

    def to_dict(self) -> dict[str, Any]:
        """For ``law.json``."""
        shown = self.fit.to_dict() if self.fit else {}
        return {
            "label": self.label, "left_out": list(self.left_out), "points": self.points,
            "reason": self.reason, "delta": shown.get("delta"), "parameters": shown.get("parameters"),
            "intervals": shown.get("intervals"), "objective": shown.get("objective"),
        }  # fmt: skip


def sensitivity(
    fit: SurfaceFit,
    *,
    deltas: Sequence[float] = DELTAS,
    left_out: Sequence[int] = range(6),
    sets: Mapping[str, Sequence[int]] | None = None,
    bootstrap: int = 200,
    starts: int = STARTS,
    seed: int = 0,
) -> list[Row]:
    """Refit at other δ, then at the fit's δ without its k worst runs by absolute residual.

    Residuals are those of the fit to all runs, so that the choice does not chase itself. Leaving out what
    fits worst makes any law look better; the table shows by how much the numbers depend on it.

    Args:
        fit: of the law.
        deltas: of Huber's loss.
        left_out: how many of the worst runs to leave out; 0 is the fit as it is.
        sets: further rows: a label, and the places of the runs to leave out.
        bootstrap: draws of each row's intervals.
        starts: of the form's grid, for each row.
        seed: of the draws.
    """
    surface = fit.surface
    grid = surface.starts()
    # Every k-th of a product of axes could leave one of them where it is.
    grid = grid[np.random.default_rng(seed).permutation(len(grid))[:starts]]
    warm = warm_starts(fit)
    worst = np.argsort(-np.abs(fit.residuals))

    def row(label: str, delta: float, without: np.ndarray) -> Row:
        kept = np.setdiff1d(np.arange(len(fit.loss)), without)
        places = tuple(int(i) for i in without)
        try:
            found = fit_surface(
                surface, fit.inputs[kept], fit.loss[kept], delta=delta, starts=grid, warm=warm,
                groups=None if fit.groups is None else fit.groups[kept],
                trunks=None if fit.trunks is None else fit.trunks[kept],
                fixed=fit.fixed, bootstrap=bootstrap, seed=seed,
            )  # fmt: skip
        except FitError as error:
            return Row(label, delta, places, len(kept), None, str(error))
        return Row(label, delta, places, len(kept), found)

    rows = [row("least squares" if math.isinf(d) else f"δ = {d:g}", d, worst[:0]) for d in deltas]
    alike = [known for known in rows if known.delta == fit.delta]
    for count in left_out:
        label = "all runs" if count == 0 else f"without the {count} worst run{'s' if count > 1 else ''}"
        again = [replace(known, label=label) for known in alike if count == 0]
        rows += again[:1] or [row(label, fit.delta, worst[:count])]
    rows += [row(label, fit.delta, np.asarray(places, dtype=int)) for label, places in (sets or {}).items()]
    return rows
