"""Sweeps of ours whose every setting was trained to its end: what the first sweep of a user is judged by.

``reference_sweeps.json`` holds windows of their training and validation losses; docs/lab-notes.md says how
each was trained, ``benchmarks/early_stopping.py`` writes the file from their records.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from chemscale.laws.data.curves import TrainingCurve
from chemscale.laws.early_stopping.estimators import WINDOWS
from chemscale.laws.early_stopping.rule import Rule
from chemscale.laws.early_stopping.rungs import RungTable
from chemscale.laws.early_stopping.transitions import Population, pool

PATH = Path(__file__).with_name("reference_sweeps.json")
DIGITS = 5


def reference_sweeps(path: Path = PATH) -> dict[str, list[TrainingCurve]]:
    """The sweeps by name."""
    return {
        name: [_from_json(run) for run in sweep["runs"]]
        for name, sweep in json.loads(path.read_text()).items()
    }


def to_json(curves: Sequence[TrainingCurve], unit: str) -> dict[str, Any]:
    """A finished sweep as the file holds it.

    Args:
        curves: of its runs.
        unit: of the validation and final losses.
    """
    return {"unit": unit, "runs": [_to_json(curve) for curve in curves]}


def population(rule: Rule, earlier: Sequence[Sequence[TrainingCurve]] = ()) -> Population:
    """The reference sweeps, and a user's own, pooled at the rungs of a rule.

    Args:
        rule: the rungs and the estimator.
        earlier: sweeps of the user; their runs need not all have been trained to the end.
    """
    own = [RungTable.of(curves, rule.rungs, rule.by) for curves in earlier]
    return pool([*_tables(rule.rungs, rule.estimator), *own])


@lru_cache(maxsize=8)
def _tables(rungs: tuple[float, ...], estimator: str) -> tuple[RungTable, ...]:
    by = Rule(rungs=rungs, estimator=estimator).by
    return tuple(RungTable.of(curves, rungs, by) for curves in reference_sweeps().values())


def _to_json(curve: TrainingCurve) -> dict[str, Any]:
    ends = np.arange(1, WINDOWS + 1) / WINDOWS
    validation = [curve.early_validation(share) for share in ends]
    finite = np.isfinite(curve.loss).all()
    return {
        "label": curve.label,
        "settings": dict(curve.settings),
        "final": _short(curve.final),
        "flops": curve.flops,
        "training": [_short(v) for v in curve.means(1.0, WINDOWS)] if finite else [],
        "validation": [_short(value) for value in validation],
    }


def _short(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else float(f"{value:.{DIGITS}g}")


def _from_json(run: dict[str, Any]) -> TrainingCurve:
    windows = np.arange(1.0, WINDOWS + 1)
    training = np.array(run["training"] or [np.nan] * WINDOWS, float)
    validation = np.array([np.nan if value is None else value for value in run["validation"]], float)
    return TrainingCurve(
        run["label"], windows, training, float(WINDOWS), windows, validation,
        final=np.inf if run["final"] is None else run["final"], flops=run["flops"], settings=run["settings"],
    )  # fmt: skip
