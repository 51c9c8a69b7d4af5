"""Training performance estimation (TPE, Frey et al. 2023) over run records, and what its sweeps decide."""

from __future__ import annotations

import logging
import math
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chemscale.analysis.records_to_points import without_copies
from chemscale.laws.data.curves import TrainingCurve
from chemscale.laws.data.left_out import LeftOut, sentence
from chemscale.laws.early_stopping.rule import Rule, to_finish
from chemscale.records import HEADLINES, RECORD_NAME, PointPlan, RunRecord, State

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from chemscale.launchers.settings import PointJob
    from chemscale.laws.reports.early_stopping_report import TpeReport

log = logging.getLogger(__name__)

MIN_SETTINGS = 4
"""Runs below which there is nothing to estimate from."""
TASK = ("model", "loss", "data_hash")
"""What runs must have in common for their losses to rank them."""


def report_of(
    found: Sequence[tuple[Path, RunRecord]],
    rule: Rule,
    *,
    title: str,
    unit: str | None,
    command: str,
    left: Sequence[LeftOut] = (),
) -> tuple[TpeReport, list[tuple[Path, RunRecord]]]:
    """The report of runs that differ in settings, and the runs that it is of, in its order.

    Args:
        found: directories of runs and their records.
        rule: by which runs are finished.
        title: of the report.
        unit: of the final loss; None for the first headline that the runs have.
        command: that asks for it.
        left: what was left out before: records that cannot be read.

    Raises:
        ValueError: too few runs, runs of different tasks or budgets, or none that reaches the share.
    """
    # Imported here: a sweep that only chooses needs no Matplotlib.
    from chemscale.laws.reports.early_stopping_report import TpeReport

    left = list(left)
    total = len(found) + len(left)
    if not total:
        raise ValueError(f"{title}: no run record below it. Give the directory of a sweep.")
    found = without_copies(list(found), left)
    unit = unit or headline(record for _, record in found)
    used: list[tuple[Path, RunRecord]] = []
    curves: list[TrainingCurve] = []
    for directory, record in found:
        why, curve = why_not_estimated(record), None
        if not why:
            curve = curve_of(directory, record, unit)
            why = _why_unranked(curve, rule)
        if curve is None or why:
            left.append(LeftOut(record.name, why))
        else:
            used.append((directory, record))
            curves.append(curve)
    text = sentence(left, total)
    if len(used) < MIN_SETTINGS:
        raise ValueError(
            f"{title}: {len(used)} runs can be ranked at {rule.share:.0%} of their budget, at least "
            f"{MIN_SETTINGS} are needed" + (f" ({text})." if text else ".")
        )
    one_task([{**record.config, "data_hash": record.data_hash} for _, record in used])
    one_budget([_work(record) for _, record in used])
    states = [record.state.value for _, record in used]
    return TpeReport(title, curves, rule, unit, states, command, text), used


def why_not_estimated(record: RunRecord) -> str:
    """Why an estimate leaves a run out, as a law would; empty for one that only has not ended."""
    ended = record.state in (State.DONE, State.FAILED)
    return record.why_left_out() if ended else ""


def _why_unranked(curve: TrainingCurve, rule: Rule) -> str:
    if not curve.reaches(rule.share):
        return f"short of {rule.share:.0%} of its budget"
    _, losses = curve.until(rule.share)
    return "" if np.isfinite(losses).all() else "diverged (no number in its training loss)"


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


def curve_of(directory: Path, record: RunRecord, unit: str) -> TrainingCurve:
    """The training log of a record, along its steps: equal steps are equal data within a run.

    Args:
        directory: of the run.
        record: of the run.
        unit: of the final loss.

    Raises:
        ValueError: a finished run has no such loss.
    """
    rows = record.curve_rows(directory)
    train = [row for row in rows if row.get("kind") == "train"]
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
    )


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def plan_settings(
    configs: Sequence[DictConfig],
    overrides: Sequence[Sequence[str]],
    typed: Sequence[str],
    settings: dict[str, Any],
) -> list[PointJob]:
    """Plan every setting, refused before anything is spent if an estimate could not compare them.

    Args:
        configs: as Hydra composed them.
        overrides: what each was composed from.
        typed: the command line.
        settings: of the rule, as the sweeper has them.

    Raises:
        ValueError: a rule that makes no sense, too few settings, settings of different tasks or budgets, or a
            log too coarse to see the first part of a run.
    """
    from omegaconf import OmegaConf

    from chemscale.points.cost import plan_points

    rule = rule_of(settings)
    if len(configs) < MIN_SETTINGS:
        raise ValueError(
            f"An estimate needs at least {MIN_SETTINGS} settings, this sweep has {len(configs)}."
        )
    plain: list[Any] = [OmegaConf.to_container(config, resolve=True) for config in configs]
    one_task(plain)
    jobs = plan_points(configs, overrides, typed)
    one_budget([job.plan.flops for job in jobs])
    for job in jobs:
        plan, every = job.plan, job.config["trainer"]["log_every"]
        if every > rule.share * plan.steps:
            raise ValueError(
                f"{plan.name} has {plan.steps} steps and logs every {every}: "
                f"nothing is logged in its first {rule.share:.0%}. Lower trainer.log_every."
            )
    return jobs


def rule_of(settings: dict[str, Any]) -> Rule:
    """The rule of a sweep's configuration.

    Args:
        settings: fields of ``Rule``.

    Raises:
        ValueError: a key that it does not have, or a number outside its range.
    """
    try:
        return Rule(**settings)
    except (TypeError, ValueError) as error:
        raise ValueError(f"hydra.sweeper.rule: {error}") from None


def choose(
    plans: Sequence[PointPlan], settings: dict[str, Any], busy: Mapping[int, float], free: int
) -> list[tuple[int, float]]:
    """Numbers of the points to start next and the share of its steps to train each to, most wanted first.

    Args:
        plans: of all settings.
        settings: of the rule, as the sweeper has them.
        busy: numbers of points that are not to be asked for, with the share that each is being trained to; 0
            for one that is not being trained and does not go on.
        free: the most that may start.
    """
    from chemscale.sweeps.settings_feed import has_reached

    rule, found = rule_of(settings), _load_records(plans)
    short = [n for n, plan in enumerate(plans) if n not in busy and not has_reached(plan, rule.share)]
    if short or any(0 < share <= rule.share for share in busy.values()):  # the rule compares all of them
        return [(n, rule.share) for n in short[:free]]
    unit = headline(record for _, record in found.values())
    curves = {n: curve_of(d, r, unit) for n, (d, r) in found.items() if not why_not_estimated(r)}
    numbers = [n for n, curve in curves.items() if curve.reaches(rule.share)]
    chosen = [numbers[k] for k in to_finish([curves[n] for n in numbers], rule)]
    return [(n, 1.0) for n in chosen if n not in busy][:free]


def finish(
    plans: Sequence[PointPlan], configs: Sequence[DictConfig], settings: dict[str, Any]
) -> list[float | None]:
    """Mark the runs that were not finished, show the table and the estimate, and write its report.

    Leaves with status 1 if a setting failed.

    Args:
        plans: of all settings.
        configs: of all settings.
        settings: of the rule, as the sweeper has them.

    Returns:
        The final objective of each run; None where it has none.
    """
    from chemscale.points.tables import show_results

    rule, found = rule_of(settings), _load_records(plans)
    root = Path(configs[0].runs) / str(configs[0].sweep_name)
    command = "python -m chemscale.train " + shlex.join(sys.argv[1:])
    failed = [record.name for _, record in found.values() if record.state is State.FAILED]
    if failed:
        log.error("%d of %d settings failed: %s", len(failed), len(plans), ", ".join(failed))
    try:
        report, used = report_of(list(found.values()), rule, title=root.name, unit=None, command=command)
        _mark_stopped(report, used)
        _mark_diverged(found.values(), rule)
    finally:  # what the runs reached is shown whether or not it allows an estimate
        show_results(plans, [found[n][1] if n in found else None for n in range(len(plans))])
    page = report.write(root / "estimate")
    for line in report.lines():
        log.info("%s", line)
    log.info("Report: %s", page)
    if failed:
        sys.exit(1)
    return [objective_of(record) for _, record in found.values()]


def objective_of(record: RunRecord | None) -> float | None:
    """The final objective of a run; None where there is no number."""
    return record.final.objective if record and record.final and record.final.is_finite else None


def _load_records(plans: Sequence[PointPlan]) -> dict[int, tuple[Path, RunRecord]]:
    return {
        n: (plan.directory, RunRecord.load(plan.directory))
        for n, plan in enumerate(plans)
        if (plan.directory / RECORD_NAME).exists()
    }


def _mark_diverged(found: Iterable[tuple[Path, RunRecord]], rule: Rule) -> None:
    """A paused run that nothing can rank is stopped, and its record says why."""
    for directory, record in found:
        if record.state is State.PAUSED:
            record.reason = _why_unranked(curve_of(directory, record, ""), rule) or record.reason
            record.state = State.STOPPED
            record.save(directory)


def _mark_stopped(report: TpeReport, used: Sequence[tuple[Path, RunRecord]]) -> None:
    for n, (directory, record) in enumerate(used):
        if record.state in (State.PAUSED, State.STOPPED):
            row = report.row(n)
            record.state = State.STOPPED
            record.reason = f"at {report.rule.share:.0%}: rank {row['rank']} of {len(used)}"
            if "predicted" in row:
                low, high = row["interval"]
                record.reason += f", predicted {row['predicted']:.4g} [{low:.4g}, {high:.4g}]"
            record.save(directory)
    report.states = [record.state.value for _, record in used]
