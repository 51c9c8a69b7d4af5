"""The end of an active-learning sweep: error against labels for each way of choosing frames, in pairs."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import t

from chemscale.common.files import write_json
from chemscale.objects.address import local_place
from chemscale.records import PointPlan, RunRecord

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from chemscale.sweeps.active_learning_sweeper import Trained

log = logging.getLogger(__name__)

LEVEL = 0.95
REFERENCE = "random"
"""The way of choosing that others are compared with."""


@dataclass(frozen=True)
class Estimate:
    """A mean over repetitions, with its interval of 95 % by Student's t; NaN ends of a single repetition.

    Args:
        value: the mean.
        low: end of the interval.
        high: likewise.
        repeats: repetitions.
    """

    value: float
    low: float
    high: float
    repeats: int

    def text(self, digits: int = 1) -> str:
        """The number and its interval.

        Args:
            digits: behind the point.
        """
        if math.isnan(self.low):
            return f"{self.value:.{digits}f} (one repetition: no interval)"
        return f"{self.value:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}]"


def geometric(values: Sequence[float]) -> Estimate:
    """Geometric mean of positive numbers and its interval, of the t of their logarithms.

    Args:
        values: one of each repetition.
    """
    logs = np.log(np.asarray(values, float))
    found = mean(logs.tolist())
    return Estimate(math.exp(found.value), math.exp(found.low), math.exp(found.high), found.repeats)


def mean(values: Sequence[float]) -> Estimate:
    """Mean of numbers and its interval by Student's t.

    Args:
        values: one of each repetition.
    """
    array = np.asarray(values, float)
    middle, count = float(array.mean()), len(array)
    if count < 2:
        return Estimate(middle, math.nan, math.nan, count)
    half = float(t.ppf(0.5 + LEVEL / 2, count - 1) * array.std(ddof=1) / math.sqrt(count))
    return Estimate(middle, middle - half, middle + half, count)


def power_law(labels: Sequence[float], errors: Sequence[float]) -> tuple[float, float]:
    """Least squares of ln error = ln a - b ln n: a and b.

    Args:
        labels: n of each round.
        errors: of each round, above 0.
    """
    slope, intercept = np.polyfit(np.log(labels), np.log(errors), 1)
    return math.exp(float(intercept)), -float(slope)


@dataclass(frozen=True)
class Curve:
    """Errors of one way of choosing frames.

    Args:
        method: uncertain, farthest or random.
        labels: of each round, rising.
        errors: (repeats, rounds) mean error of a committee's members.
    """

    method: str
    labels: tuple[int, ...]
    errors: np.ndarray

    def at(self, number: int) -> Estimate:
        """Error of a round.

        Args:
            number: of the round.
        """
        return geometric(self.errors[:, number].tolist())

    def exponent(self) -> Estimate | None:
        """b of error = a·n^-b, fitted to each repetition; None of a single round."""
        if len(self.labels) < 2:
            return None
        return mean([power_law(self.labels, row.tolist())[1] for row in self.errors])

    def ratio(self, other: Curve, number: int) -> Estimate:
        """Error in units of another way's at equal labels: repetitions begin alike and are paired.

        Args:
            other: the other way.
            number: of the round.
        """
        return geometric((self.errors[:, number] / other.errors[:, number]).tolist())

    def saved(self, other: Curve) -> Estimate | None:
        """How many times as many labels the other way's law needs for this one's last error.

        None of a single round, and where the other way's error does not fall.

        Args:
            other: the other way.
        """
        if len(self.labels) < 2:
            return None
        needed = []
        for mine, row in zip(self.errors, other.errors, strict=True):
            a, b = power_law(other.labels, row.tolist())
            if b <= 0:
                return None
            needed.append((a / mine[-1]) ** (1 / b) / self.labels[-1])
        return geometric(needed)


def curves_of(trained: Sequence[Trained], unit: str) -> list[Curve]:
    """Curves of all ways of choosing, from the records of their members.

    Args:
        trained: committees of the sweep.
        unit: of the loss.

    Raises:
        ValueError: a member has no such loss.
    """
    found: dict[tuple[str, int, int], float] = {}
    for each in trained:
        values = [RunRecord.load(plan.directory).losses.get(unit, math.nan) for plan in each.plans]
        if not np.isfinite(values).all():
            raise ValueError(f"{each.plans[0].directory}: a member of its committee has no {unit}.")
        found[each.method, each.repeat, each.labels] = float(np.mean(values))
    labels = tuple(sorted({each.labels for each in trained}))
    repeats = sorted({each.repeat for each in trained})
    methods = dict.fromkeys(each.method for each in trained)
    return [
        Curve(method, labels, np.array([[found[method, r, n] for n in labels] for r in repeats]))
        for method in methods
    ]


def summary(curves: Sequence[Curve], unit: str) -> list[str]:
    """What is printed at the end of a sweep.

    Args:
        curves: of all ways of choosing.
        unit: of the errors.
    """
    lines = [f"{unit}, mean of the members, geometric over repetitions with 95 % intervals:"]
    reference = next((curve for curve in curves if curve.method == REFERENCE), None)
    for curve in curves:
        for number, labels in enumerate(curve.labels):
            line = f"  {curve.method:10s} {labels:6d} labels: {curve.at(number).text()}"
            if reference is not None and curve is not reference and number:
                line += f"; {curve.ratio(reference, number).text(3)} of {REFERENCE}'s at equal labels"
            lines.append(line)
        exponent = curve.exponent()
        if exponent is not None:
            lines.append(f"  {curve.method}: error ~ labels^-b, b = {exponent.text(3)}")
        saved = curve.saved(reference) if reference is not None and curve is not reference else None
        if saved is not None:
            lines.append(
                f"  {curve.method}: {REFERENCE} needs {saved.text(2)} times its labels for its last error"
            )
    return lines


def finish(
    plans: Sequence[PointPlan], configs: Sequence[DictConfig], trained: Sequence[Trained]
) -> list[float]:
    """Compare the ways of choosing, and write ``active_learning.json`` and a figure into the sweep's folder.

    Args:
        plans: of all points.
        configs: of all points.
        trained: committees, by way of choosing, repetition and labels.

    Returns:
        The last error of each way.
    """
    losses = RunRecord.load(plans[0].directory).losses
    unit = "forces_mae" if "forces_mae" in losses else "energy_mae_per_atom"
    curves = curves_of(trained, unit)
    for line in summary(curves, unit):
        log.info("%s", line)
    root = local_place(configs[0].runs) / str(configs[0].sweep_name)
    write_json(root / "active_learning.json", as_dict(curves, unit))
    _draw(curves, unit, root / "active_learning")
    log.info("Kept in %s and active_learning.png", root / "active_learning.json")
    return [curve.at(-1).value for curve in curves]


def as_dict(curves: Sequence[Curve], unit: str) -> dict[str, Any]:
    """For JSON: every error, and what ``summary`` says.

    Args:
        curves: of all ways of choosing.
        unit: of the errors.
    """
    reference = next((curve for curve in curves if curve.method == REFERENCE), None)

    def shown(estimate: Estimate | None) -> dict[str, Any] | None:
        return None if estimate is None else asdict(estimate)

    return {
        "schema_version": 1,
        "unit": unit,
        "curves": [
            {
                "method": curve.method,
                "labels": list(curve.labels),
                "errors": curve.errors.tolist(),
                "estimates": [shown(curve.at(n)) for n in range(len(curve.labels))],
                "exponent": shown(curve.exponent()),
                f"of_{REFERENCE}": None
                if reference is None or curve is reference
                else [shown(curve.ratio(reference, n)) for n in range(len(curve.labels))],
                f"labels_of_{REFERENCE}": None
                if reference is None or curve is reference
                else shown(curve.saved(reference)),
            }
            for curve in curves
        ],
    }


def _draw(curves: Sequence[Curve], unit: str, path: Path) -> None:
    """Error against labels, every way of choosing with its intervals."""
    from chemscale.laws.reports.plotting import (
        BLUE,
        GREEN,
        MARKERS,
        UNITS,
        VERMILION,
        close,
        loss_ticks,
        new_figure,
        save,
        style,
    )

    with style():
        figure, ax = new_figure(2.7)
        for n, (curve, color) in enumerate(zip(curves, (BLUE, VERMILION, GREEN), strict=False)):
            estimates = [curve.at(k) for k in range(len(curve.labels))]
            middle = np.array([e.value for e in estimates])
            reach = np.array([[e.value - e.low, e.high - e.value] for e in estimates]).T
            ends = None if np.isnan(reach).any() else reach
            at = np.array(curve.labels) * 1.02 ** (n - (len(curves) - 1) / 2)  # side by side
            ax.errorbar(
                at,
                middle,
                yerr=ends,
                fmt=f"{MARKERS[n]}-",
                color=color,
                lw=0.9,
                capsize=2,
                label=curve.method,
            )
        ax.set(xscale="log", yscale="log", xlabel="labelled frames", ylabel=UNITS.get(unit, unit))
        loss_ticks(ax)
        ax.legend()
    save(figure, path)
    close(figure)
