"""Train one point, or a sweep of points and fit its law: ``python -m chemscale.train --help``."""

from __future__ import annotations

import logging
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from chemscale.errors import CONFIG_DIRECTORY, one_paragraph, show_logs
from chemscale.records import RECORD_NAME, Parameters, RunRecord, State
from chemscale.sweeps.points import PointPlan
from chemscale.sweeps.sweeper import is_done

if TYPE_CHECKING:
    from chemscale.points.base import Point
    from chemscale.training.checkpoints import Checkpoints

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
    train_point(cfg, overrides)


def main() -> None:
    show_logs()
    with one_paragraph():
        hydra_main()


# --- the plan, before anything is spent -----------------------------------------------------------------


def plan_points(configs: Sequence[DictConfig], overrides: Sequence[str] | None = None) -> list[PointPlan]:
    """Check every point, estimate what it costs on this machine, and show the table."""
    from chemscale.configuration import read_point
    from chemscale.planning import estimate, share_trunks, show_plan

    named = list(overrides) if overrides is not None else command_line_overrides()
    points = [read_point(config, named) for config in configs]
    plans = share_trunks(points, [estimate(point) for point in points])
    show_plan(points, plans)
    return plans


def command_line_overrides() -> list[str]:
    """The overrides that the user typed, for what has to know whether a key was named."""
    return [argument for argument in sys.argv[1:] if "=" in argument and not argument.startswith("-")]


# --- one point ------------------------------------------------------------------------------------------


def train_point(cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Compose → build → fit → record. A failure is recorded with its reason, then raised."""
    from chemscale.configuration import read_point
    from chemscale.training.locks import PointLock
    from chemscale.training.signals import Interrupted

    point = read_point(cfg, command_line_overrides() or overrides)
    with PointLock(point.directory):
        record = open_record(point, overrides)
        try:
            fit(point, record)
        except Interrupted as stop:
            finish_record(record, point, State.PREEMPTED, str(stop))
            log.info("%s stopped (%s) and saved. The same command continues it.", point.name, stop)
            raise
        except KeyboardInterrupt:
            finish_record(record, point, State.PREEMPTED, "interrupted at once")
            raise
        except Exception as error:
            finish_record(record, point, State.FAILED, f"{type(error).__name__}: {error}")
            (point.directory / "error.txt").write_text(traceback.format_exc())
            log.error("%s failed: %s: %s", point.name, type(error).__name__, error)
            raise


def open_record(point: Point, overrides: Sequence[str]) -> RunRecord:
    """The record of an earlier attempt, or a new one."""
    from chemscale.training.keeper import now
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
    )
    point.note_unique(record)
    record.state = State.RUNNING
    record.updated = now()
    record.save(point.directory)
    return record


def fit(point: Point, record: RunRecord) -> None:
    """Train to the end of the budget, from the newest whole checkpoint if there is one."""
    import torch

    from chemscale.training.checkpoints import Checkpoints
    from chemscale.training.keeper import Keeper
    from chemscale.training.progress import TrainingProgress
    from chemscale.training.signals import Interrupted, StopFlag
    from chemscale.training.throughput import device_name, peak_flops, truth_text
    from chemscale.training.trainer import build_trackers, build_trainer, set_threads

    # --- build ---
    set_threads(point.config["trainer"]["threads"])
    torch.manual_seed(point.config["seed"])
    module = point.build_module()
    checkpoints = Checkpoints(point.directory / "checkpoints")
    resume, branched = beginning(point, checkpoints, point.directory / record.curve)
    resume_step = checkpoints.step_of(resume) if resume else 0
    if resume:
        how = "begins from a shorter run's" if branched else "continues at"
        log.info("%s %s step %d of %d.", point.name, how, resume_step, point.steps)
    with StopFlag() as flag:
        trackers = build_trackers(point, resume_step)
        keeper = Keeper(
            record,
            point.directory,
            tracker=trackers,
            checkpoints=checkpoints,
            cadence=point.cadence,
            flag=flag,
            progress=TrainingProgress(point.name, point.steps, unit=point.unit),
            batch_flops=point.batch_flops,
            epoch=point.epoch,
            trunk=point.trunk,
            branched=branched,
            pause_at=point.pause_at,
        )
        trainer = build_trainer(point, keeper)
        device = trainer.strategy.root_device
        keeper.peak = peak_flops(device_name(device), point.precision)
        record.compute.device = device_name(device)
        # --- fit ---
        try:
            trainer.fit(module, datamodule=point.data, ckpt_path=resume, weights_only=True)
        finally:
            keeper.progress.stop()
            record.truth = keeper.truth() or record.truth
            ended = trainer.global_step >= point.steps or keeper.ended_early
            state = ended_state(ended, keeper.paused, flag.name is not None)
            trackers.finish(summary_of(record, state))
    if flag.name is not None and not ended:
        raise Interrupted(f"{flag.name} at step {trainer.global_step} of {point.steps}")
    # --- record ---
    if keeper.paused and not ended:
        finish_record(record, point, State.PAUSED, f"at step {trainer.global_step} of {point.steps}")
        return
    point.save_model(module)
    finish_record(record, point, State.DONE, record.reason if keeper.ended_early else "")
    if record.final is not None and record.truth:
        log.info(
            "%s done: validation %s · %s", point.name, point.summary(record.final), truth_text(record.truth)
        )


def beginning(point: Point, checkpoints: Checkpoints, metrics: Path) -> tuple[Path | None, bool]:
    """The checkpoint to go on from: the point's own newest, else the end of a shorter point's stable phase.

    The second value says whether it is the latter.
    """
    own = checkpoints.newest()
    if own is not None or point.trunk is None:
        return own, False
    branch = point.trunk.branch(metrics)
    return branch, branch is not None


def summary_of(record: RunRecord, state: State) -> dict[str, Any]:
    """What W&B shows of a run in a table: an export of it holds all that a law needs."""
    return {
        "state": state.value,
        "parameters": vars(record.parameters),
        "data": vars(record.data),
        "flops": record.compute.flops,
        **(record.final.values if record.final else {}),
    }


def ended_state(done: bool, paused: bool, interrupted: bool) -> State:
    """What W&B is told of a run that has left its fit."""
    if done:
        return State.DONE
    if interrupted:
        return State.PREEMPTED
    return State.PAUSED if paused else State.FAILED


def finish_record(record: RunRecord, point: Point, state: State, reason: str) -> None:
    from chemscale.training.keeper import now

    record.state, record.reason, record.updated = state, reason, now()
    record.save(point.directory)


# --- the end of a sweep ---------------------------------------------------------------------------------


def finish_sweep(plans: Sequence[PointPlan], configs: Sequence[DictConfig]) -> list[float | None]:
    """The table of all points, the law, the report; leaves with status 1 if a point failed."""
    from chemscale.fit import Options, fit_runs
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
    failed = [p.name for p, r in zip(plans, records, strict=True) if r is None or r.state is not State.DONE]
    if failed:
        log.error("%d of %d points did not end well: %s", len(failed), len(plans), ", ".join(failed))
        sys.exit(1)
    return [record.final.objective if record and record.final else None for record in records]


if __name__ == "__main__":
    main()
