"""A training session: where a run begins, what watches it, how it ends. Built on every rank alike."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl

from chemscale.records import RunRecord, State
from chemscale.training.checkpointing.checkpoints import CheckpointError, Checkpoints, layout_of
from chemscale.training.checkpointing.elastic import make_universal
from chemscale.training.checkpointing.gathering import load_weights
from chemscale.training.checkpointing.safe_pickle import check_pickles
from chemscale.training.checkpointing.writer import CheckpointWriter
from chemscale.training.compilation.install import CompileAtStart, fill_batches
from chemscale.training.distributed.control import GRACE, Control, Watchdog
from chemscale.training.distributed.ranks import Ranks, WorldError, join, this_rank
from chemscale.training.distributed.strategies import SHARDED_WEIGHTS, ZERO
from chemscale.training.generation import Generation, GenerationPlan
from chemscale.training.health import Health, RolledBack, skipped_data
from chemscale.training.metrics.counters import Counters
from chemscale.training.metrics.energy import energy_of
from chemscale.training.metrics.progress import TrainingProgress
from chemscale.training.metrics.throughput import Throughput, device_name
from chemscale.training.run_log import RunLog
from chemscale.training.signals import Interrupted, StopFlag
from chemscale.training.step_boundary import StepBoundary, StepPlan
from chemscale.training.stopping import Stop, Stopping
from chemscale.training.trained_point import TrainedPoint
from chemscale.training.trainer import build_trackers, build_trainer

log = logging.getLogger(__name__)

OF_THE_RECORD = (
    "identity", "sweep", "family", "name", "seed", "data_hash", "git_revision", "versions", "planned_steps",
    "attempts", "skipped_steps",
)  # fmt: skip
"""Fields of a record that trackers are given as they are."""


@dataclass(frozen=True)
class Beginning:
    """Where a session begins.

    Args:
        checkpoint: to go on from; None at a fresh start.
        step: of the checkpoint.
        branched: whether it is the end of a shorter point's stable phase, and not the point's own.
    """

    checkpoint: Path | None = None
    step: int = 0
    branched: bool = False


@dataclass(frozen=True)
class TrainingSession:
    """Everything around ``trainer.fit``; ``TrainingSession.open`` builds it.

    Args:
        point: what is trained.
        record: of the run.
        ranks: this process among those of the point.
        trainer: Lightning's.
        boundary: what happens at every step, and whether another follows.
        beginning: where it goes on from.
    """

    point: TrainedPoint
    record: RunRecord
    ranks: Ranks
    trainer: pl.Trainer
    boundary: StepBoundary
    beginning: Beginning

    @classmethod
    @contextlib.contextmanager
    def open(
        cls, point: TrainedPoint, record: RunRecord, extra: Sequence[pl.Callback] = ()
    ) -> Iterator[TrainingSession]:
        """A session; within ``with`` signals ask it to stop.

        Args:
            point: what is trained.
            record: of the run.
            extra: callbacks beside the step boundary.

        Raises:
            CheckpointError: the newest checkpoint is of another strategy or number of ranks.
            WorldError: the ranks divided their steps differently.
        """
        with StopFlag() as flag:
            session = cls._build(point, record, extra, flag)
            try:
                yield session
            finally:
                session.boundary.watchdog.stop()

    @classmethod
    def _build(
        cls, point: TrainedPoint, record: RunRecord, extra: Sequence[pl.Callback], flag: StopFlag
    ) -> TrainingSession:
        # --- ranks ---
        ranks, strategy = this_rank(point.settings.trainer.accelerator), point.settings.strategy
        limit = 60 * strategy.hang_minutes
        control = Control(ranks, limit)
        trainer = build_trainer(point, ranks, extra)
        device = trainer.strategy.root_device
        if point.strategy != "single":
            join(device, timedelta(seconds=limit + GRACE))
        control.open()
        check_same_division(point.settings.micro_batching.accumulate, control)
        # --- where it begins ---
        folder = Checkpoints(point.directory / "checkpoints")
        beginning = find_beginning(point, record, folder, control)
        if beginning.checkpoint is not None and point.strategy in ZERO:
            layout = layout_of(beginning.checkpoint)
            zero: Any = trainer.strategy
            zero.universal = layout is not None and layout["world"] != ranks.world
        point.data.skipped = skipped_data(record.roll_backs)
        # --- what it writes ---
        record.compute.device = device_name(device)
        run_log = RunLog(
            record,
            point.directory,
            tracker=build_trackers(point, beginning.step, ranks, record.roll_backs),
            throughput=Throughput(
                device,
                point.precision,
                energy_of(
                    device,
                    local_rank=ranks.local_rank,
                    alone=point.settings.alone,
                    per_gpu=point.settings.per_gpu,
                ),
                control,
                devices=ranks.world / (point.settings.per_gpu if device.type == "cuda" else 1),
            ),
            progress=TrainingProgress(
                point.name, point.steps, rate_unit=point.unit, silent=not ranks.is_first
            ),
            epoch=point.epoch,
            control=control,
        )
        background = point.settings.trainer.checkpoint_background
        in_background = device.type == "cuda" if background is None else background
        checkpoints = CheckpointWriter(
            folder,
            run_log,
            point.cadence,
            control,
            in_background=in_background and point.strategy in ("single", "ddp"),
        )
        # --- what happens at every step ---
        boundary = StepBoundary(
            StepPlan(point.cadence, point.pause_at, point.trunk, beginning.branched, strategy.elastic),
            control=control,
            watchdog=Watchdog(ranks, limit),
            flag=flag,
            counters=Counters(record, point.epoch, point.batch_flops),
            run_log=run_log,
            checkpoints=checkpoints,
            health=Health(point.health),
            generation=_generation(point, run_log, limit),
        )
        trainer.callbacks.insert(0, boundary)  # type: ignore[attr-defined]
        return cls(point, record, ranks, trainer, boundary, beginning)

    def fit(self, module: Any) -> Stopping:
        """Train until the run stops; how it stands then.

        Args:
            module: a ``tasks.base.Task``.
        """
        fill_batches(self.point)
        if self.point.compilation.on:
            compiling = CompileAtStart(self.point, self.boundary.control)
            self.trainer.callbacks.insert(0, compiling)  # type: ignore[attr-defined]
        try:
            self.trainer.fit(
                module,
                datamodule=self.point.data,
                ckpt_path=self.beginning.checkpoint,
                weights_only=True,
            )
            self._await_generation()
        finally:
            self._close()
        return self.boundary.stopping

    def _await_generation(self) -> None:
        """Wait for what the molecules of the last weights are like.

        Raises:
            Interrupted: a signal came; the same command goes on waiting.
        """
        boundary, step = self.boundary, self.trainer.global_step
        if boundary.generation is None or step < self.point.steps:
            return
        if not boundary.generation.collect(step, boundary.waits):
            raise Interrupted(f"{boundary.flag.name} while the last molecules were judged")

    def _close(self) -> None:
        """Stop what watches and tracks, however the fit ended."""
        boundary, run_log, record = self.boundary, self.boundary.run_log, self.record
        boundary.watchdog.stop()
        if boundary.generation is not None:
            boundary.generation.stop()
        run_log.progress.stop()
        boundary.checkpoints.poll(wait=True)
        record.truth = run_log.throughput.attempt_line() or record.truth
        if self.trainer.global_step >= self.point.steps:  # from its checkpoint on, perhaps
            boundary.stopping.request(Stop.FINISHED)
        run_log.tracker.finish(summary_of(record, boundary.stopping))

    def save_model(self, module: Any) -> None:
        """Write the trained model; where ranks share the weights, from the checkpoint left at the end.

        Args:
            module: that was trained.
        """
        if not self.ranks.is_first:
            return
        if self.point.strategy in SHARDED_WEIGHTS:
            module = self.point.build_module()
            load_weights(module, self.boundary.checkpoints.folder.path(self.trainer.global_step))
        self.point.save_model(module)


def _generation(point: TrainedPoint, run_log: RunLog, limit: float) -> Generation | None:
    """What judges the molecules of a point; None where that is not asked for."""
    every = point.settings.trainer.generate_every
    if every is None:
        return None
    return Generation(
        GenerationPlan(every * point.cadence.validate_every, point.write_generation, limit / 2), run_log
    )


def check_same_division(accumulate: int, control: Control) -> None:
    """See that all ranks divided their share of a step into equally many micro-batches.

    Raises:
        WorldError: they did not.
    """
    counts = control.gather(accumulate)
    if len(set(counts)) > 1:
        raise WorldError(
            f"batch.per_gpu=auto cut the step differently on different GPUs ({counts} micro-batches by "
            "rank): set batch.per_gpu to a number."
        )


def find_beginning(
    point: TrainedPoint, record: RunRecord, folder: Checkpoints, control: Control
) -> Beginning:
    """The point's own newest checkpoint, else the end of a shorter point's stable phase, else nothing.

    Rank 0 chooses for all.

    Args:
        point: what is trained.
        record: of the run; the checkpoint is noted there.
        folder: of the point's own checkpoints.
        control: how the ranks agree.

    Raises:
        CheckpointError: the checkpoint is of another strategy or number of ranks.
    """
    found: tuple[Path | None, bool] = (None, False)
    problem, ranks = "", control.ranks
    if ranks.is_first:
        own = folder.newest()
        if own is not None or point.trunk is None:
            found = own, False
        else:
            branch = point.trunk.branch(point.directory / record.curve)
            found = branch, branch is not None
        if found[0] is not None:
            try:
                check_layout(point, found[0], ranks)
            except (CheckpointError, WorldError) as error:
                problem = str(error)
    problem, path, branched = cast(tuple[str, Path | None, bool], control.share((problem, *found)))
    if problem:
        raise CheckpointError(problem)
    if path is None:
        return Beginning()
    step = folder.step_of(path)
    if not branched:
        record.checkpoint = str(path.relative_to(point.directory))
    if ranks.is_first:
        how = "begins from a shorter run's" if branched else "continues at"
        log.info("%s %s step %d of %d.", point.name, how, step, point.steps)
    return Beginning(path, step, branched)


def check_layout(point: TrainedPoint, path: Path, ranks: Ranks) -> None:
    """See that a checkpoint fits this strategy and number of ranks; convert it where that is wanted.

    Args:
        point: what is trained.
        path: of the checkpoint.
        ranks: of this process.

    Raises:
        CheckpointError: it is of another strategy.
        WorldError: it is of another number of ranks, and ``strategy.elastic`` is not set.
    """
    layout, strategy = layout_of(path), point.strategy
    sharded = strategy in (*ZERO, "fsdp2")
    if sharded != (layout is not None) or (layout and layout["strategy"] != strategy):
        wrote = layout["strategy"] if layout else "single or ddp"
        raise CheckpointError(
            f"{path} was written under strategy={wrote}, and this is strategy={strategy}: continue with "
            "the former. (python -m chemscale.export makes a model of either.)"
        )
    if layout is None:
        return
    check_pickles(path)
    if layout["world"] == ranks.world:
        return
    ranks.same_world(layout["world"], point.settings.strategy.elastic)
    if strategy in ZERO:
        make_universal(path)


def summary_of(record: RunRecord, stopping: Stopping) -> dict[str, Any]:
    """The record as a table of runs shows it: an export of it holds all that a law needs.

    Args:
        record: of the run.
        stopping: how it stands. A run that rolls back has not failed: the next session follows at once.
    """
    failure = sys.exception()
    state = State.PREEMPTED if isinstance(failure, RolledBack) else stopping.state
    ended = stopping.reason if stopping.stop is Stop.ENDED_EARLY else ""
    return {
        "state": state.value,
        "reason": f"{type(failure).__name__}: {failure}" if failure else ended,
        **{key: getattr(record, key) for key in OF_THE_RECORD},
        "roll_backs": len(record.roll_backs),
        "parameters": vars(record.parameters),
        "data": vars(record.data),
        "compute": vars(record.compute),
        "final": {"step": record.final.step, **record.final.values} if record.final else None,
        "best": {"step": record.best.step, **record.best.values} if record.best else None,
        "truth": record.truth,
    }
