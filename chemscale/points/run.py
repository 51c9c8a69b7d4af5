"""Running one point: a record is opened, the point is fitted through roll-backs, the record is finished."""

from __future__ import annotations

import logging
import math
import sys
import traceback
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch

from chemscale.common.exit_status import START_AGAIN, exit_now
from chemscale.common.logs import show_logs
from chemscale.common.versions import git_revision, versions
from chemscale.config.effects import SAID_ALWAYS
from chemscale.objects.address import address_of
from chemscale.points.base import Point
from chemscale.points.build import build_point
from chemscale.points.mirroring import mirrored
from chemscale.records import RECORD_NAME, Parameters, RunRecord, State, is_done, now
from chemscale.training.distributed.ranks import inside_job, take_gpu, this_rank
from chemscale.training.health import REMEDY, DivergedError, RolledBack
from chemscale.training.locks import point_lock
from chemscale.training.metrics.throughput import format_throughput
from chemscale.training.session import TrainingSession
from chemscale.training.signals import Interrupted
from chemscale.training.trainer import set_threads

log = logging.getLogger(__name__)


def run_rank(config: dict[str, Any], overrides: Sequence[str]) -> None:
    """Train one rank of a point, as a launcher starts it; all are given the same resolved configuration.

    Returns when the point is done or paused. Leaves with ``START_AGAIN`` when it saved itself after a signal
    or rolled back, for the launcher to start it again; raises when it failed for good.

    Args:
        config: plain dictionaries.
        overrides: what the point was composed from, for its record.
    """
    show_logs()
    accelerator = config["trainer"]["accelerator"]
    take_gpu(this_rank(accelerator), accelerator, int(config["launcher"].get("per_gpu", 1)))
    try:
        train_point(build_point(config), overrides)
    except Interrupted as stop:
        print(f"stopped: {stop}", file=sys.stderr, flush=True)
        exit_now(START_AGAIN)


def train_point(point: Point, overrides: Sequence[str]) -> None:
    """Fit a point and keep its record. A failure is recorded with its reason, then raised.

    Raises:
        PointBusyError: another process trains it; nothing is recorded, the record is that process's.
        Interrupted: a signal stopped it; it saved itself.
    """
    accelerator = point.settings.trainer.accelerator
    ranks = this_rank(accelerator)
    take_gpu(ranks, accelerator, point.settings.per_gpu)
    with point_lock(point.directory) if ranks.is_first else nullcontext(), mirrored(point, ranks):
        if ranks.is_first and ranks.world == 1 and is_brought_done(point):
            return
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
            diverged = isinstance(error, DivergedError)
            what = f"{error} {REMEDY}" if diverged else f"{type(error).__name__}: {error}"
            log.error("%s failed: %s (%s)", point.name, what, point.directory / name)
            raise


def is_brought_done(point: Point) -> bool:
    """Whether another machine has done a point that lies at an address since the command began."""
    done = address_of(point.directory) is not None and is_done(point.directory)
    if done:
        log.info("%s is done already: %s", point.name, point.directory / RECORD_NAME)
    return done


def fit_through(point: Point, record: RunRecord) -> None:
    """Fit, and again from an earlier checkpoint for every roll-back.

    Raises:
        Interrupted: ranks in a job meet anew for that: the launcher starts them again.
    """

    while True:
        try:
            return fit(point, record)
        except RolledBack as back:
            log.warning("%s rolled back at %s.", point.name, back)
            if inside_job():
                raise Interrupted(f"rolled back at {back}") from None


def open_record(point: Point, overrides: Sequence[str], *, keep: bool = True) -> RunRecord:
    """The record of an earlier attempt, or a new one; saved by the rank that keeps it."""
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
    record.generation = earlier.generation if earlier else {}
    record.without_effect = {k: v for k, v in point.without_effect().items() if k in SAID_ALWAYS}
    point.note_unique(record)
    record.state = State.RUNNING
    record.updated = now()
    if keep:
        record.save(point.directory)
        point.keep_description()
    return record


def fit(point: Point, record: RunRecord, extra: Sequence[Any] = ()) -> None:
    """Train to the end of the budget, from the newest whole checkpoint if there is one.

    Args:
        point: what is trained.
        record: of the run.
        extra: Lightning callbacks beside the step boundary.

    Raises:
        Interrupted: by a signal; the run saved itself.
    """
    set_threads(point.settings.trainer.threads)
    torch.manual_seed(point.config["seed"])
    module = point.build_module()
    with TrainingSession.open(point, record, extra) as session:
        stopping = session.fit(module)
    if stopping.state is State.PREEMPTED:
        raise Interrupted(stopping.reason)
    if stopping.state is State.DONE:
        refuse_without_loss(record)
        session.save_model(module)
    finish_record(record, point, stopping.state, stopping.reason)
    if stopping.state is State.DONE and session.ranks.is_first and record.final is not None and record.truth:
        log.info(
            "%s done: validation %s · %s",
            point.name,
            point.summary(record.final),
            format_throughput(record.truth),
        )
        if record.skipped_steps:
            log.warning("%s: %s", point.name, record.describe_skipped())


def refuse_without_loss(record: RunRecord) -> None:
    """A run whose last validation has no number, in any unit, has not ended well, whatever its steps did.

    Raises:
        DivergedError: it has none.
    """
    final = record.final
    if final is None or final.is_finite:
        return
    without = [key for key, value in final.values.items() if not math.isfinite(value)]
    what = ", ".join(without) if len(without) < len(final.values) else "number"
    left_out = f", and {record.skipped_steps} steps had no finite gradient" if record.skipped_steps else ""
    raise DivergedError(
        f"The last validation, at step {final.step}, has no finite {what}{left_out}. No model is written."
    )


def finish_record(record: RunRecord, point: Point, state: State, reason: str) -> None:
    """What became of the run, written by the rank that keeps the record."""
    record.state, record.reason, record.updated = state, reason, now()
    if not this_rank().is_first:
        return
    record.save(point.directory)
    if state is State.DONE:  # what an earlier attempt failed of is history
        for traceback_file in point.directory.glob("error*.txt"):
            traceback_file.unlink()
