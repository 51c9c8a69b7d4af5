"""A law.json as a plan reads it: the form additive, how well it is known, and the runs behind it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from chemscale.laws.allocation.known import KnownLaw
from chemscale.laws.data.left_out import LeftOut, no_number, sentence
from chemscale.laws.joint.surfaces import Additive
from chemscale.planning.candidates import PlanError
from chemscale.planning.measured import Measured, form_of, spans_of, tests_of

GUESS = ("E", "A", "B", "alpha", "beta")
AXES = {"parameters": "matrices", "all": "all", "non_embedding": "non_embedding", "blocks": "blocks"}
"""Conventions of N in a law.json, and their names in a model's counts."""
ADVICE = (
    "a plan needs E + A·N^(−α) + B·D^(−β): python -m chemscale.fit RUNS --form additive, on runs that vary "
    "both size and data."
)
NO_FLOOR = 1e-6
"""Share of the lowest loss below which a fitted E is no more than the end of a descent to 0."""


@dataclass(frozen=True)
class Source:
    """A law as it was given.

    Args:
        law: how well it is known; None for a guess.
        theta: E, A, B, α and β.
        where: it was read, in words.
        unit: of the loss.
        axis: of N in the runs.
        runs: behind it.
        intervals: of the parameters, as the law gives them; empty where it gives none.
        left_out: runs of the file that are not behind it, counted by reason; empty where all are.
        measured: what the runs span, and how far beyond them the law was tested.
    """

    law: KnownLaw | None
    theta: list[float]
    where: str
    unit: str = "loss"
    axis: str = "parameters"
    runs: tuple[dict[str, Any], ...] = ()
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    left_out: str = ""
    measured: Measured = field(default_factory=lambda: Measured({}))

    @property
    def convention(self) -> str:
        """Of N, as a model counts it."""
        return AXES[self.axis]

    @property
    def floorless(self) -> bool:
        """Whether the runs show no floor."""
        return bool(self.runs) and self.theta[0] < NO_FLOOR * min(run[self.unit] for run in self.runs)


def read_law(path: Path | None) -> Source:
    """Read a ``law.json``: the form additive, its parameters, and the runs that say how well they are known.

    Args:
        path: of the file, or of its folder.

    Raises:
        PlanError: no such file, another form, or no runs in it.
        FitError: its runs do not determine the law.
    """
    if path is None:
        raise PlanError('Give a law.json, or a guess: --law "E=0.9,A=20,B=300,alpha=0.35,beta=0.4".')
    path = path / "law.json" if path.is_dir() else path
    law, found = _additive(path)
    named = law.get("axes") or {}
    axes = [named.get("N", "parameters"), named.get("D", "tokens")]
    unit = str(law.get("unit") or "loss")
    if axes[0] not in AXES or axes[1] != "tokens":
        raise PlanError(f"{path}: a law in {' and '.join(axes)}; plans are made for parameters and tokens.")
    runs, left_out = _used(law.get("data") or {}, (*axes, unit))
    if not runs:
        raise PlanError(
            f"{path}: no runs with {', '.join(axes)} and {unit} in it, so nothing says how sure it is."
        )
    undetermined = [key for key in GUESS if found["parameters"].get(key) is None]
    if undetermined:
        raise PlanError(
            f"{path}: its runs do not determine {', '.join(undetermined)}: train more sizes and horizons, "
            'farther apart, or plan from a guess: --law "E=0.9,A=20,B=300,alpha=0.35,beta=0.4".'
        )
    theta = [float(found["parameters"][key]) for key in GUESS]
    n, d = ([float(run[axis]) for run in runs] for axis in axes)
    flops = [float(run.get("flops") or 6 * run[axes[0]] * run[axes[1]]) for run in runs]
    intervals = _intervals(found.get("intervals") or {})
    known = _known(law.get("known") or {}, theta, np.stack([n, d], 1), np.array([run[unit] for run in runs]))
    if known.draws is None:
        known = _stretched(known, intervals)
    measured = Measured(spans_of(n, d, flops), tests_of(law, "additive"), form_of(law, "additive"))
    return Source(known, theta, str(path), unit, axes[0], tuple(runs), intervals, left_out, measured)


def _additive(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """A ``law.json``, and the fit of the form additive in it."""
    try:
        law = json.loads(path.read_text())
        fits = [law, *(law.get("fits") or [])]
    except FileNotFoundError:
        raise PlanError(f"{path}: no such file. python -m chemscale.fit writes one.") from None
    except (ValueError, AttributeError) as error:
        raise PlanError(f"{path}: not a law.json ({error}).") from None
    kind, axis = law.get("kind"), law.get("axis", "one axis")
    if kind == "ladder":
        raise PlanError(f"{path}: one law of {axis} for each of several families; {ADVICE}")
    if kind == "axis":
        raise PlanError(f"{path}: a law of {axis} alone (form {law.get('form') or 'not named'}); {ADVICE}")
    found = next((f for f in fits if isinstance(f, dict) and f.get("form") == "additive"), None)
    if found is None:
        raise PlanError(f"{path}: the form is {law.get('form')!r}, and {ADVICE}")
    return law, found


def _used(data: Mapping[str, Any], keys: Sequence[str]) -> tuple[list[dict[str, Any]], str]:
    """Runs that the law was fitted to, and the others in the words that ``fit`` has for them."""
    points = data.get("points") or []
    used, unused, lost = list[dict[str, Any]](), list[LeftOut](), list[LeftOut]()
    for place, point in enumerate(points):
        lacking = [key for key in keys if not _number(point.get(key))]
        where = str(point.get("label") or f"run {place + 1}")
        if not point.get("used", True):
            unused.append(LeftOut(where, str(point.get("reason") or "not used")))
        elif lacking:
            lost.append(LeftOut(where, no_number(", ".join(lacking))))
        else:
            used.append(point)
    total = len(points)
    if said := data.get("left_out"):  # rows that never became points are counted there only
        unused = [LeftOut(where, why) for why, names in said["reasons"].items() for where in names]
        total = int(said["of"])
    return used, sentence([*unused, *lost], total)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value) and value > 0


def _known(kept: Mapping[str, Any], theta: Sequence[float], inputs: np.ndarray, loss: np.ndarray) -> KnownLaw:
    """The law as ``fit`` knew it; of files without that, as its runs do."""
    if kept.get("surface") != "additive":
        return KnownLaw.of_runs(Additive(), np.array(theta), inputs, loss)
    return KnownLaw.of_kept(Additive(), kept)


def _intervals(found: Mapping[str, Sequence[float | None]]) -> dict[str, tuple[float, float]]:
    """Intervals of a law.json; an end that is not given is not bounded."""
    out = {}
    for key in (key for key in GUESS if key in found):
        low, high = found[key]
        least = -math.inf if key in Additive.exponents else 0.0
        out[key] = (least if low is None else float(low), math.inf if high is None else float(high))
    return out


def _stretched(known: KnownLaw, intervals: Mapping[str, tuple[float, float]]) -> KnownLaw:
    """A law known to first order, with the width that its bootstrap gave the parameters.

    The largest ratio of the law's own half width to that of first order; ends that the runs do not bound say
    nothing.
    """
    errors = known.spread(lambda phi: phi)[1]
    ratios = [1.0]
    for key, (low, high) in intervals.items():
        place = Additive.coordinates.index(key)
        if key not in Additive.exponents:
            if low <= 0 or not math.isfinite(high):
                continue
            low, high = math.log(low), math.log(high)
        if errors[place] > 0 and math.isfinite(high - low):
            ratios.append((high - low) / 2 / (known.reach * float(errors[place])))
    return replace(known, stretch=max(ratios))
