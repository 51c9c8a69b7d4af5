"""Training performance estimation: ``python -m chemscale.estimate RUNS``, and what its sweeps call."""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chemscale.errors import run_verb
from chemscale.records import HEADLINES, RECORD_NAME, RunRecord, State, find_records

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from chemscale.laws.curves import TrainingCurve
    from chemscale.laws.stopping import Rule
    from chemscale.laws.tpe_report import TpeReport
    from chemscale.sweeps.points import PointPlan

log = logging.getLogger("chemscale.estimate")
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
FEWEST = 4
"""Runs below which there is nothing to estimate from."""


@app.command()
def estimate(
    runs: Annotated[Path, typer.Argument(help="The directory of a sweep over settings.")],
    share: Annotated[float, typer.Option(help="Part of each run that the estimate may see.")] = 0.2,
    by: Annotated[
        str, typer.Option(help="tse, tse-e, tse-ema, ema, or a baseline: validation, power, offset, bnsl.")
    ] = "tse",
    unit: Annotated[
        str | None, typer.Option(help="Final loss to predict, such as nats_per_token or forces_mae.")
    ] = None,
    keep: Annotated[int, typer.Option(help="Most promising runs that are finished first.")] = 3,
    controls: Annotated[int, typer.Option(help="Other runs finished to judge the regression by.")] = 2,
    risk: Annotated[float, typer.Option(help="Chance of being best above which a run is finished.")] = 0.05,
    out: Annotated[Path | None, typer.Option(help="Where to write; RUNS/estimate if not given.")] = None,
) -> None:
    """Tell how well the end of each run shows in the first part of its training, and which to finish.

    On a sweep whose runs have all ended, every estimator is scored against the truth and the stopping rule is
    replayed. On one that was stopped early, the stopped runs are predicted from the finished ones.

    Examples:

      python -m chemscale.estimate runs/chemgpt_hparams

      python -m chemscale.estimate runs/painn_hparams --share 0.1 --by validation --unit energy_mae_per_atom
    """
    from chemscale.laws.stopping import Rule

    rule = Rule(share, keep, controls, risk, by)
    found = list(find_records(runs))
    command = "python -m chemscale.estimate " + shlex.join(sys.argv[1:])
    report = report_of(found, rule, title=Path(runs).name, unit=unit, command=command)
    page = report.write(out or Path(runs) / "estimate")
    for line in report.lines():
        typer.echo(line)
    typer.echo(f"Report: {page}")


# --- from records to curves -----------------------------------------------------------------------------


def report_of(
    found: Sequence[tuple[Path, RunRecord]], rule: Rule, *, title: str, unit: str | None, command: str
) -> TpeReport:
    """The report of runs that differ in settings.

    Raises:
        ValueError: too few runs, runs of different models or budgets, or none that reaches the share.
    """
    from chemscale.laws.tpe_report import TpeReport

    comparable(*_sizes([record for _, record in found]))
    unit = unit or headline(record for _, record in found)
    pairs = [(curve_of(d, r, unit), r) for d, r in found]
    short = [curve.label for curve, _ in pairs if not curve.reaches(rule.share)]
    pairs = [(curve, r) for curve, r in pairs if curve.reaches(rule.share)]
    if len(pairs) < FEWEST:
        raise ValueError(
            f"{title}: {len(pairs)} runs reach {rule.share:.0%} of their budget, at least {FEWEST} are needed"
            + (f" (short of it: {', '.join(short)})." if short else ".")
        )
    for label in short:
        log.warning("%s is left out: it has not reached %s of its budget.", label, f"{rule.share:.0%}")
    states = [record.state.value for _, record in pairs]
    return TpeReport(f"{title}", [curve for curve, _ in pairs], rule, unit, states, command)


def comparable(sizes: Sequence[int], work: Sequence[float]) -> None:
    """Larger models and longer runs start behind: estimates rank settings of one model and one budget only.

    Args:
        sizes: parameters of each run. work: FLOPs of each whole run, 0 where not known.

    Raises:
        ValueError: they differ.
    """
    if sizes and max(sizes) > 1.02 * min(sizes):
        raise ValueError(
            f"An estimate compares settings of one model: these have {min(sizes):,} to {max(sizes):,} "
            "parameters. Fit a law to them instead: python -m chemscale.fit."
        )
    known = [amount for amount in work if amount > 0]
    if known and max(known) > 1.2 * min(known):
        raise ValueError(
            f"An estimate compares runs of one budget: these cost {min(known):.2e} to {max(known):.2e} FLOPs."
        )


def _sizes(records: Sequence[RunRecord]) -> tuple[list[int], list[float]]:
    work = [record.compute.flops / max(1, record.data.steps) * record.planned_steps for record in records]
    return [record.parameters.all for record in records], work


def headline(records: Any) -> str:
    """The first unit of loss that the runs have."""
    reached = {
        key for record in records for loss in (record.best, record.final) if loss for key in loss.values
    }
    return next((key for key, _, _ in HEADLINES if key in reached), HEADLINES[0][0])


def curve_of(directory: Path, record: RunRecord, unit: str) -> TrainingCurve:
    """The training log of a record, along its steps: equal steps are equal data within a run."""
    import numpy as np

    from chemscale.laws.curves import TrainingCurve

    rows = record.curve_rows(directory)
    train = [row for row in rows if row.get("kind") == "train"]
    validated = [row for row in rows if row.get("kind") == "validation" and unit in row]
    done = record.state is State.DONE and record.final is not None
    if done and record.final is not None and unit not in record.final.values:
        raise ValueError(f"--unit {unit}: {record.name} has {', '.join(record.final.values)}.")
    seen, loss = [float(r["step"]) for r in train], [_number(r["loss"]) for r in train]
    steps = max(1, record.data.steps)
    return TrainingCurve(
        label=record.name,
        seen=np.array(seen),
        loss=np.array(loss),
        planned=float(record.planned_steps),
        validated=np.array([float(row["step"]) for row in validated]),
        validation=np.array([_number(row[unit]) for row in validated]),
        final=record.final.values[unit] if done and record.final else None,
        flops=record.compute.flops / steps * record.planned_steps,
    )


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


# --- what an estimating sweep calls ---------------------------------------------------------------------


def plan_settings(configs: Sequence[DictConfig]) -> list[PointPlan]:
    """The plan of every setting, refused before anything is spent if they are not of one model and budget."""
    from chemscale.train import plan_points

    plans = plan_points(configs)
    comparable([plan.parameters for plan in plans], [plan.flops for plan in plans])
    return plans


def choose(plans: Sequence[PointPlan], settings: dict[str, Any]) -> list[int]:
    """Numbers of the points to finish next; empty when the rule is content."""
    from chemscale.laws.stopping import Rule, to_finish

    rule, found = Rule(**settings), _records(plans)
    unit = headline(record for _, record in found.values())
    curves = {n: curve_of(d, r, unit) for n, (d, r) in found.items() if r.state is not State.FAILED}
    numbers = [n for n, curve in curves.items() if curve.reaches(rule.share)]
    chosen = [numbers[k] for k in to_finish([curves[n] for n in numbers], rule)]
    for n in chosen:
        log.info("%s goes on: %s", plans[n].name, rule.by.title)
    return chosen


def finish(plans: Sequence[PointPlan], configs: Sequence[DictConfig], settings: dict[str, Any]) -> list[Any]:
    """Mark the runs that were not finished, show the table and the estimate, and write its report."""
    from chemscale.laws.stopping import Rule
    from chemscale.planning import show_results

    rule, found = Rule(**settings), _records(plans)
    root = Path(configs[0].runs) / str(configs[0].sweep_name)
    command = "python -m chemscale.train " + shlex.join(sys.argv[1:])
    usable = [pair for pair in found.values() if pair[1].state is not State.FAILED]
    report = report_of(usable, rule, title=root.name, unit=None, command=command)
    _mark_stopped(usable, report)
    show_results(plans, [found[n][1] if n in found else None for n in range(len(plans))])
    page = report.write(root / "estimate")
    for line in report.lines():
        log.info("%s", line)
    log.info("Report: %s", page)
    failed = [record.name for _, record in found.values() if record.state is State.FAILED]
    if failed:
        log.error("%d of %d settings failed: %s", len(failed), len(plans), ", ".join(failed))
        sys.exit(1)
    return [record.final.objective if record.final else None for _, record in found.values()]


def _records(plans: Sequence[PointPlan]) -> dict[int, tuple[Path, RunRecord]]:
    return {
        n: (plan.directory, RunRecord.load(plan.directory))
        for n, plan in enumerate(plans)
        if (plan.directory / RECORD_NAME).exists()
    }


def _mark_stopped(found: Sequence[tuple[Path, RunRecord]], report: TpeReport) -> None:
    rows = {row["run"]: row for row in report.rows()}
    for directory, record in found:
        if record.state in (State.PAUSED, State.STOPPED) and record.name in rows:
            row = rows[record.name]
            record.state = State.STOPPED
            record.reason = f"at {report.rule.share:.0%}: rank {row['rank']} of {len(rows)}"
            if "predicted" in row:
                low, high = row["interval"]
                record.reason += f", predicted {row['predicted']:.4g} [{low:.4g}, {high:.4g}]"
            record.save(directory)
    report.states = [record.state.value for _, record in found]


def main() -> None:
    run_verb(app)


if __name__ == "__main__":
    main()
