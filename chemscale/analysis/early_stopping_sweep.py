"""What a sweep over settings asks of this package: its plan, what to train next, and its end."""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chemscale.analysis.early_stopping import (
    MIN_SETTINGS,
    curves_of,
    earlier_sweeps,
    headline,
    one_budget,
    one_task,
    report_of,
    why_not_estimated,
    why_unranked,
)
from chemscale.common.sections import ConfigurationError, read_section
from chemscale.laws.data.curves import TrainingCurve
from chemscale.laws.early_stopping.reference import population
from chemscale.laws.early_stopping.rule import Rule, next_steps
from chemscale.laws.early_stopping.transitions import Population
from chemscale.objects.address import local_place
from chemscale.records import RECORD_NAME, PointPlan, RunRecord, State

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from chemscale.launchers.settings import PointJob
    from chemscale.laws.reports.early_stopping_report import EarlyStoppingReport

log = logging.getLogger(__name__)


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
        ValueError: a rule that makes no sense, too few settings, settings of different tasks or budgets, or
            losses noted too seldom to see the first rung.
    """
    from omegaconf import OmegaConf

    from chemscale.points.cost import plan_points

    rule, earlier = rule_of(settings)
    earlier_sweeps(earlier)  # refused now rather than when the first run has ended
    if len(configs) < MIN_SETTINGS:
        raise ValueError(
            f"An estimate needs at least {MIN_SETTINGS} settings, this sweep has {len(configs)}."
        )
    plain: list[Any] = [OmegaConf.to_container(config, resolve=True) for config in configs]
    one_task(plain)
    jobs = plan_points(configs, overrides, typed)
    one_budget([job.plan.flops for job in jobs])
    for job in jobs:
        _refuse_blind(job, rule)
    return jobs


def _refuse_blind(job: PointJob, rule: Rule) -> None:
    """A run whose first rung would show nothing.

    Raises:
        ValueError: it logs or validates too seldom.
    """
    plan, first = job.plan, rule.rungs[0]
    for key in ("log_every", *(["validate_every"] if rule.estimator == "validation" else [])):
        every = job.config["trainer"][key]
        steps = max(1, int(every * plan.steps)) if every < 1 else every
        if steps > first * plan.steps * (1 + 1e-9):
            noted = "logged" if key == "log_every" else "validated"
            raise ValueError(
                f"{plan.name} has {plan.steps} steps, trainer.{key}={every}: nothing is {noted} by its first "
                f"rung, {first:.0%}. Lower trainer.{key}, or begin later: hydra.sweeper.rule.rungs."
            )


def rule_of(settings: Mapping[str, Any]) -> tuple[Rule, tuple[str, ...]]:
    """The rule of a sweep's configuration, and the folders of earlier sweeps that it learns from.

    Args:
        settings: fields of ``Rule``, and ``earlier``.

    Raises:
        ValueError: a key that it does not have, or a number outside its range.
    """
    try:
        found = read_section(_RuleSection, settings, "hydra.sweeper.rule")
    except ConfigurationError:
        raise
    except ValueError as error:
        raise ValueError(f"hydra.sweeper.rule: {error}") from None
    rule = Rule(**{field.name: getattr(found, field.name) for field in fields(Rule)})
    return rule, (found.earlier,) if isinstance(found.earlier, str) else found.earlier


@dataclass(frozen=True)
class _RuleSection(Rule):
    """The section ``hydra.sweeper.rule``: a rule, and folders of earlier sweeps."""

    earlier: str | tuple[str, ...] = ()


def choose(
    plans: Sequence[PointPlan], settings: dict[str, Any], busy: Mapping[int, float], free: int
) -> list[tuple[int, float]]:
    """Points to start next and the share of its steps to train each to, the most wanted first.

    Args:
        plans: of all settings.
        settings: of the rule, as the sweeper has them.
        busy: numbers of points that are not to be asked for, with the share that each is being trained to; 0
            for one that is not being trained and does not go on.
        free: the most that may start.
    """
    rule, earlier = rule_of(settings)
    curves = _curves(plans)
    numbers = [n for n in curves if busy.get(n, 1.0) > 0]
    place = {n: k for k, n in enumerate(numbers)}
    chosen = next_steps(
        [curves[n] for n in numbers],
        rule,
        _population_of(rule, earlier),
        busy={place[n]: share for n, share in busy.items() if n in place},
        free=free,
    )
    return [(numbers[k], share) for k, share in chosen]


@lru_cache(maxsize=1)
def _population_of(rule: Rule, earlier: tuple[str, ...]) -> Population:
    """What earlier sweeps tell; they are read once, not at each of a command's hundred decisions."""
    return population(rule, earlier_sweeps(earlier))


def _curves(plans: Sequence[PointPlan]) -> dict[int, TrainingCurve]:
    """Curves of the points that count, by number; without rows where one has not begun."""
    found = load_records(plans)
    unit = headline(record for _, record in found.values())
    read = dict(zip(found, curves_of(list(found.values()), unit), strict=True))
    return {
        n: read.get(n)
        or TrainingCurve(plan.name, np.empty(0), np.empty(0), float(plan.steps), flops=plan.flops)
        for n, plan in enumerate(plans)
        if n not in found or not why_not_estimated(found[n][1])
    }


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
    from chemscale.objects.seals import publish_report
    from chemscale.points.estimates.tables import show_results
    from chemscale.points.mirroring import end_mirrored

    (rule, earlier), found = rule_of(settings), load_records(plans)
    root = local_place(configs[0].runs) / str(configs[0].sweep_name)
    command = "python -m chemscale.train " + shlex.join(sys.argv[1:])
    failed = [record.name for _, record in found.values() if record.state is State.FAILED]
    if failed:
        log.error("%d of %d settings failed: %s", len(failed), len(plans), ", ".join(failed))
    try:
        report, used = report_of(
            list(found.values()),
            rule,
            title=root.name,
            unit=None,
            command=command,
            earlier=earlier,
        )
        _mark_stopped(report, used)
        _mark_diverged(found.values(), rule)
    finally:  # what the runs reached is shown whether or not it allows an estimate
        show_results(plans, [found[n][1] if n in found else None for n in range(len(plans))])
    page = report.write(root / "estimate")
    for line in report.lines():
        log.info("%s", line)
    log.info("Report: %s", page)
    publish_report(page.parent)
    end_mirrored([plan.directory for plan in plans])
    if failed:
        sys.exit(1)
    return [objective_of(record) for _, record in found.values()]


def objective_of(record: RunRecord | None) -> float | None:
    """The final objective of a run; None where there is no number."""
    return record.final.objective if record and record.final and record.final.is_finite else None


def load_records(plans: Sequence[PointPlan]) -> dict[int, tuple[Path, RunRecord]]:
    """Directories and records of the points that have begun, by number."""
    return {
        n: (plan.directory, RunRecord.load(plan.directory))
        for n, plan in enumerate(plans)
        if (plan.directory / RECORD_NAME).exists()
    }


def _mark_diverged(found: Iterable[tuple[Path, RunRecord]], rule: Rule) -> None:
    """A paused run that nothing can rank is stopped, and its record says why."""
    for directory, record in found:
        if record.state is State.PAUSED:
            (curve,) = curves_of([(directory, record)], headline([record]))
            record.reason = why_unranked(curve, rule) or record.reason
            record.state = State.STOPPED
            record.save(directory)


def _mark_stopped(report: EarlyStoppingReport, used: Sequence[tuple[Path, RunRecord]]) -> None:
    for n, (directory, record) in enumerate(used):
        if record.state in (State.PAUSED, State.STOPPED):
            row = report.row(n)
            record.state = State.STOPPED
            record.reason = f"at {row['reached']:.0%}: {row['chance']:.1%} to be the best"
            if "predicted" in row:
                low, high = row["interval"]
                record.reason += f", predicted {row['predicted']:.4g} [{low:.4g}, {high:.4g}]"
            record.save(directory)
    report.states = [record.state.value for _, record in used]
