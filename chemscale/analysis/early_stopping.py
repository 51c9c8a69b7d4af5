"""Runs that differ in settings, as learning curves, and the report of where they end."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chemscale.analysis.records_to_points import without_copies
from chemscale.laws.data.curves import TrainingCurve
from chemscale.laws.data.left_out import LeftOut, sentence
from chemscale.laws.early_stopping.rule import Rule
from chemscale.records import HEADLINES, RunRecord, State, find_records

if TYPE_CHECKING:
    from chemscale.laws.reports.early_stopping_report import EarlyStoppingReport

MIN_SETTINGS = 4
"""Runs below which there is nothing to compare."""
TASK = ("model", "loss", "data_hash")
"""What runs must have in common for their losses to rank them."""
SETTINGS = ("optimizer.", "schedule.", "batch.", "trainer.clip", "ema", "precision")
"""How keys of what a run may be set to begin."""


def report_of(
    found: Sequence[tuple[Path, RunRecord]],
    rule: Rule,
    *,
    title: str,
    unit: str | None,
    command: str,
    share: float = 0.2,
    earlier: Sequence[str | Path] = (),
    drop_blind: bool = False,
    left: Sequence[LeftOut] = (),
) -> tuple[EarlyStoppingReport, list[tuple[Path, RunRecord]]]:
    """The report of runs that differ in settings, and the runs that it is of, in its order.

    Args:
        found: directories of runs and their records.
        rule: by which runs are stopped.
        title: of the report.
        unit: of the final loss; None for the first headline that the runs have.
        command: that asks for it.
        share: at which the estimators are compared.
        earlier: folders of the user's sweeps that stand beside the reference sweeps.
        drop_blind: leave out rungs that come before a run was first validated.
        left: what was left out before: records that cannot be read.

    Raises:
        ValueError: too few runs, runs of different tasks or budgets, or none that reaches a rung.
    """
    # Imported here: a sweep that only chooses needs no Matplotlib.
    from chemscale.laws.early_stopping.reference import population
    from chemscale.laws.reports.early_stopping_report import EarlyStoppingReport

    left = list(left)
    total = len(found) + len(left)
    if not total:
        raise ValueError(f"{title}: no run record below it. Give the directory of a sweep.")
    found = without_copies(list(found), left)
    unit = unit or headline(record for _, record in found)
    read = curves_of(found, unit)
    rule = without_blind_rungs(rule, read) if drop_blind else rule
    used: list[tuple[Path, RunRecord]] = []
    curves: list[TrainingCurve] = []
    for (directory, record), curve in zip(found, read, strict=True):
        why = why_not_estimated(record) or why_unranked(curve, rule)
        if why:
            left.append(LeftOut(record.name, why))
        else:
            used.append((directory, record))
            curves.append(curve)
    text = sentence(left, total)
    if len(used) < MIN_SETTINGS:
        raise ValueError(
            f"{title}: {len(used)} runs can be compared at {rule.rungs[0]:.0%} of their budget, at least "
            f"{MIN_SETTINGS} are needed" + (f" ({text})." if text else ".")
        )
    one_task([{**record.config, "data_hash": record.data_hash} for _, record in used])
    one_budget([_work(record) for _, record in used])
    states = [record.state.value for _, record in used]
    report = EarlyStoppingReport(
        title, curves, rule, population(rule, earlier_sweeps(earlier)), unit, states, command, text, share
    )
    return report, used


def without_blind_rungs(rule: Rule, curves: Sequence[TrainingCurve]) -> Rule:
    """The rule without the rungs at which a run had not been validated yet, if it looks at validations."""
    first = [curve.validated[0] / curve.planned for curve in curves if len(curve.validated)]
    if rule.estimator != "validation" or not first:
        return rule
    seen = tuple(share for share in rule.rungs if share * (1 + 1e-9) >= max(first))
    return replace(rule, rungs=seen) if seen else rule


def why_not_estimated(record: RunRecord) -> str:
    """Why an estimate leaves a run out, as a law would; empty for one that only has not ended."""
    ended = record.state in (State.DONE, State.FAILED)
    return record.why_left_out() if ended else ""


def why_unranked(curve: TrainingCurve, rule: Rule) -> str:
    """Why nothing can be said of where a run ends; empty where it can."""
    first = rule.rungs[0]
    if not curve.reaches(first):
        return f"short of {first:.0%} of its budget"
    if rule.estimator == "validation" and np.isnan(curve.early_validation(first)):
        seen = curve.validated <= first * curve.planned * (1 + 1e-9)
        return "diverged (no number in its validation)" if seen.any() else f"no validation by {first:.0%}"
    last = max(share for share in rule.rungs if curve.reaches(share))
    score = rule.by.scores([curve], last)[0]
    return "" if curve.final is not None or np.isfinite(score) else "diverged (no number in its loss)"


def one_task(configs: Sequence[dict[str, Any]]) -> None:
    """Refuse runs of several tasks: larger models start behind, other data or weights have other losses.

    Args:
        configs: of the runs, with the ``data_hash`` of each where it is known.

    Raises:
        ValueError: the runs differ in more than settings.
    """
    for part in TASK:
        first = configs[0].get(part)
        for config in configs:
            if config.get(part) != first:
                raise ValueError(
                    f"An estimate compares settings of one model on one task: these runs differ in {part} "
                    f"({_difference(first, config.get(part))}). Fit a law to sizes: python -m chemscale.fit."
                )


def _difference(one: Any, other: Any) -> str:
    if isinstance(one, dict) and isinstance(other, dict):
        keys = [key for key in {**one, **other} if one.get(key) != other.get(key)]
        return ", ".join(f"{key}: {one.get(key)} and {other.get(key)}" for key in keys)
    return f"{one} and {other}"


def one_budget(work: Sequence[float]) -> None:
    """Refuse runs of several budgets: longer ones end lower.

    Args:
        work: FLOPs of each whole run, 0 where not known.

    Raises:
        ValueError: they differ by more than a fifth.
    """
    known = [amount for amount in work if amount > 0]
    if known and max(known) > 1.2 * min(known):
        raise ValueError(
            f"An estimate compares runs of one budget: these cost {min(known):.2e} to {max(known):.2e} FLOPs."
        )


def _work(record: RunRecord) -> float:
    return record.compute.flops / max(1, record.data.steps) * record.planned_steps


def headline(records: Iterable[RunRecord]) -> str:
    """The first unit of loss that the runs have."""
    reached = {
        key for record in records for loss in (record.best, record.final) if loss for key in loss.values
    }
    return next((key for key, _, _ in HEADLINES if key in reached), HEADLINES[0][0])


def earlier_sweeps(folders: Sequence[str | Path]) -> list[list[TrainingCurve]]:
    """Sweeps over settings that were trained before, whose runs tell what to expect.

    Args:
        folders: a directory of runs each.

    Raises:
        ValueError: a folder without comparable runs.
    """
    found = []
    for folder in folders:
        if not Path(folder).is_dir():
            raise ValueError(f"earlier: {folder} is no folder. Give the directory of a sweep, runs/NAME.")
        records = [pair for pair in find_records(Path(folder)) if not why_not_estimated(pair[1])]
        if len(records) < MIN_SETTINGS:
            raise ValueError(
                f"earlier: {folder} has {len(records)} runs that can be compared, at least {MIN_SETTINGS} "
                "are needed."
            )
        one_task([{**record.config, "data_hash": record.data_hash} for _, record in records])
        found.append(curves_of(records, headline(record for _, record in records)))
    return found


def curves_of(found: Sequence[tuple[Path, RunRecord]], unit: str) -> list[TrainingCurve]:
    """Learning curves of the runs of a sweep, with the settings in which they differ.

    Args:
        found: directories of runs and their records.
        unit: of the final loss.

    Raises:
        ValueError: a finished run has no such loss.
    """
    differing = settings_that_differ([record.config for _, record in found])
    return [
        curve_of(directory, record, unit, settings)
        for (directory, record), settings in zip(found, differing, strict=True)
    ]


def settings_that_differ(configs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Of each run, key and value of the settings that are not the same in all."""
    flat = [dict(_flat(config)) for config in configs]
    keys = dict.fromkeys(key for each in flat for key in each if key.startswith(SETTINGS))
    swept = [key for key in keys if len({repr(each.get(key)) for each in flat}) > 1]
    return [{key: each.get(key) for key in swept} for each in flat]


def _flat(config: Mapping[str, Any], above: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def curve_of(
    directory: Path, record: RunRecord, unit: str, settings: Mapping[str, Any] | None = None
) -> TrainingCurve:
    """The training log of a record, along its steps: equal steps are equal data within a run.

    Args:
        directory: of the run.
        record: of the run.
        unit: of the final loss.
        settings: in which the run differs from others.

    Raises:
        ValueError: a finished run has no such loss.
    """
    rows = record.curve_rows(directory)
    train = _learned([row for row in rows if row.get("kind") == "train"])
    validated = [row for row in rows if row.get("kind") == "validation" and unit in row]
    final = None
    if record.state is State.DONE and record.final is not None:
        if unit not in record.final.values:
            raise ValueError(f"--unit {unit}: {record.name} has {', '.join(record.final.values)}.")
        final = _number(record.final.values[unit])
        final = final if math.isfinite(final) else math.inf
    warmup = float(record.config.get("schedule", {}).get("warmup") or 0.0)
    return TrainingCurve(
        label=record.name,
        seen=np.array([float(row["step"]) for row in train]),
        loss=np.array([_number(row["loss"]) for row in train]),
        planned=float(record.planned_steps),
        validated=np.array([float(row["step"]) for row in validated]),
        validation=np.array([_number(row[unit]) for row in validated]),
        final=final,
        flops=_work(record),
        spent=record.compute.flops,
        warmup=warmup * record.planned_steps if warmup < 1 else warmup,
        settings=dict(settings or {}),
    )


def _learned(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of training without those that have no loss, all their steps left out, and were recovered from."""
    lost = [math.isnan(_number(row["loss"])) for row in rows]
    last = max((n for n, is_lost in enumerate(lost) if not is_lost), default=-1)
    return [row for n, row in enumerate(rows) if n > last or not lost[n]]


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)
