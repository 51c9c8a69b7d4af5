"""Train one point, or a sweep of points and fit its law: ``python -m chemscale.train --help``."""

from __future__ import annotations

import logging
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from chemscale.errors import CONFIG_DIRECTORY, one_paragraph, show_logs
from chemscale.records import RECORD_NAME, Parameters, RunRecord, State, now
from chemscale.sweeps.launchers import run_one
from chemscale.sweeps.points import PointPlan, planned_world
from chemscale.sweeps.sweeper import is_done

if TYPE_CHECKING:
    from chemscale.points.base import Point

log = logging.getLogger("chemscale.train")  # run with -m, __name__ is __main__


@hydra.main(config_path=str(CONFIG_DIRECTORY), config_name="train", version_base=None)
def hydra_main(cfg: DictConfig) -> None:
    hydra_config = HydraConfig.get()
    overrides = list(hydra_config.overrides.task)
    if hydra_config.mode is RunMode.MULTIRUN:
        train_point(cfg, overrides)
        return
    plan = plan_points([cfg], overrides)[0]
    if is_done(plan.directory):
        log.info("%s is done already: %s", plan.name, plan.directory / RECORD_NAME)
        return
    config = cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True))
    if config["launcher"]["name"] != "local" or planned_world(config) > 1:
        run_one(plan, config, overrides)
        return
    train_point(cfg, overrides)


def main() -> None:
    show_logs()
    with one_paragraph():
        hydra_main()


# --- the plan, before anything is spent -----------------------------------------------------------------


def plan_points(configs: Sequence[DictConfig], overrides: Sequence[str] | None = None) -> list[PointPlan]:
    """Check every point, estimate what it costs on this machine, and show the table."""
    from chemscale.configuration import read_points
    from chemscale.planning import estimate, share_trunks, show_plan

    named = list(overrides) if overrides is not None else command_line_overrides()
    points = read_points(configs, named)
    plans = share_trunks(points, [estimate(point) for point in points])
    show_plan(points, plans)
    return plans


def command_line_overrides() -> list[str]:
    """The overrides that the user typed, for what has to know whether a key was named."""
    return [argument for argument in sys.argv[1:] if "=" in argument and not argument.startswith("-")]


# --- one point ------------------------------------------------------------------------------------------


def run_rank(config: dict[str, Any], overrides: Sequence[str]) -> None:
    """One rank of a point, as a launcher starts it; all of them are given the same resolved configuration.

    Returns when the point is done or paused. Leaves with ``TEMPORARY_FAILURE`` when it saved itself after a
    signal or rolled back, for the launcher to start it again; raises when it failed for good.
    """
    from chemscale.training.control import TEMPORARY_FAILURE
    from chemscale.training.signals import Interrupted

    show_logs()
    cfg = OmegaConf.create(config)
    assert isinstance(cfg, DictConfig)
    try:
        train_point(cfg, overrides)
    except Interrupted as stop:
        print(f"stopped: {stop}", file=sys.stderr, flush=True)
        # Not sys.exit: threads of a communication library may never join.
        leave(TEMPORARY_FAILURE)


def leave(status: int) -> None:
    """End this process now, its output written out."""
    import os

    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def train_point(cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Compose → build → fit → record. A failure is recorded with its reason, then raised."""
    from contextlib import nullcontext

    from chemscale.configuration import read_point
    from chemscale.training.locks import PointLock
    from chemscale.training.ranks import take_gpu, this_rank
    from chemscale.training.signals import Interrupted

    ranks = this_rank()
    take_gpu(ranks, str(cfg.trainer.accelerator))
    point = read_point(cfg, command_line_overrides() or overrides)
    with PointLock(point.directory) if ranks.is_first else nullcontext():
        record = open_record(point, overrides, keep=ranks.is_first)
        try:
            fit_through(point, record)
        except Interrupted as stop:
            finish_record(record, point, State.PREEMPTED, str(stop))
            log.info("%s stopped (%s) and saved. The same command continues it.", point.name, stop)
            raise
        except (KeyboardInterrupt, SystemExit):  # Lightning makes the one of the other
            finish_record(record, point, State.PREEMPTED, "interrupted at once")
            raise
        except Exception as error:
            finish_record(record, point, State.FAILED, f"{type(error).__name__}: {error}")
            name = "error.txt" if ranks.is_first else f"error-rank{ranks.rank}.txt"
            (point.directory / name).write_text(traceback.format_exc())
            log.error("%s failed: %s: %s", point.name, type(error).__name__, error)
            raise


def fit_through(point: Point, record: RunRecord) -> None:
    """Fit, and again from an earlier checkpoint for every roll-back.

    Raises:
        Interrupted: ranks in a job meet anew for that: the launcher starts them again.
    """
    from chemscale.training.health import RolledBack
    from chemscale.training.ranks import inside_job
    from chemscale.training.signals import Interrupted

    while True:
        try:
            return fit(point, record)
        except RolledBack as back:
            log.warning("%s rolled back at %s.", point.name, back)
            if inside_job():
                raise Interrupted(f"rolled back at {back}") from None


def open_record(point: Point, overrides: Sequence[str], *, keep: bool = True) -> RunRecord:
    """The record of an earlier attempt, or a new one; saved by the rank that keeps it."""
    from chemscale.training.versions import git_revision, versions

    earlier = RunRecord.load(point.directory) if (point.directory / RECORD_NAME).exists() else None
    record = RunRecord(
        identity=point.identity,
        sweep=point.config["sweep_name"],
        family=point.config["model"]["family"],
        name=point.name,
        config=point.config,
        versions=versions(),
        git_revision=git_revision(),
        data_hash=point.data_hash,
        seed=point.config["seed"],
        parameters=Parameters(**point.parameter_counts()),
        overrides=list(overrides),
        planned_steps=point.steps,
        started=earlier.started if earlier else now(),
        attempts=(earlier.attempts if earlier else 0) + 1,
        roll_backs=earlier.roll_backs if earlier else [],
    )
    point.note_unique(record)
    record.state = State.RUNNING
    record.updated = now()
    if keep:
        record.save(point.directory)
    return record


def fit(point: Point, record: RunRecord, extra: Sequence[Any] = ()) -> None:
    """Train to the end of the budget, from the newest whole checkpoint if there is one.

    Args:
        extra: Lightning callbacks beside the keeper.
    """
    import torch

    from chemscale.training.attempt import Attempt
    from chemscale.training.signals import Interrupted
    from chemscale.training.throughput import truth_text
    from chemscale.training.trainer import set_threads

    # --- build ---
    set_threads(point.config["trainer"]["threads"])
    torch.manual_seed(point.config["seed"])
    module = point.build_module()
    with Attempt(point, record, extra) as attempt:
        # --- fit ---
        try:
            attempt.trainer.fit(module, datamodule=point.data, ckpt_path=attempt.resume, weights_only=True)
        finally:
            state = attempt.close()
    step = attempt.trainer.global_step
    if state is State.PREEMPTED:
        raise Interrupted(f"{attempt.flag.name} at step {step} of {point.steps}")
    # --- record ---
    if state is State.PAUSED:
        finish_record(record, point, state, f"at step {step} of {point.steps}")
        return
    attempt.save_model(module)
    finish_record(record, point, State.DONE, record.reason if attempt.keeper.ended_early else "")
    if attempt.ranks.is_first and record.final is not None and record.truth:
        log.info(
            "%s done: validation %s · %s", point.name, point.summary(record.final), truth_text(record.truth)
        )


def finish_record(record: RunRecord, point: Point, state: State, reason: str) -> None:
    """What became of the run, written by the rank that keeps the record."""
    from chemscale.training.ranks import this_rank

    record.state, record.reason, record.updated = state, reason, now()
    if not this_rank().is_first:
        return
    record.save(point.directory)
    if state is State.DONE:  # what an earlier attempt failed of is history
        for told in point.directory.glob("error*.txt"):
            told.unlink()


# --- the end of a sweep ---------------------------------------------------------------------------------


def finish_sweep(plans: Sequence[PointPlan], configs: Sequence[DictConfig]) -> list[float | None]:
    """The table of all points, the law, the report; leaves with status 1 if a point failed."""
    from chemscale.fit import Options, fit_runs
    from chemscale.law_tracking import log_law
    from chemscale.planning import show_results

    records = [
        RunRecord.load(plan.directory) if (plan.directory / RECORD_NAME).exists() else None for plan in plans
    ]
    show_results(plans, records)
    root = Path(configs[0].runs) / str(configs[0].sweep_name)
    if any(record is not None and record.state is State.DONE for record in records):
        started = time.monotonic()
        outcome = fit_runs(
            root,
            only=[plan.identity for plan in plans],
            command="python -m chemscale.train " + " ".join(sys.argv[1:]),
            options=Options(say=log.info),
        )
        for line in outcome.lines:
            log.info("%s", line)
        log.info("Report: %s (%.0f s)", outcome.report, time.monotonic() - started)
        tracked = cast(dict[str, Any], OmegaConf.to_container(configs[0], resolve=True))
        log_law(tracked, root.name, outcome.report, outcome.law, log.info)
    failed = [p.name for p, r in zip(plans, records, strict=True) if r is None or r.state is not State.DONE]
    if failed:
        log.error("%d of %d points did not end well: %s", len(failed), len(plans), ", ".join(failed))
        sys.exit(1)
    return [record.final.objective if record and record.final else None for record in records]


if __name__ == "__main__":
    main()
