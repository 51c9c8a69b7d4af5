"""One attempt at a point: where it begins, what watches it, and how it ends. Built on every rank alike."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl

from chemscale.records import RunRecord, State
from chemscale.training.checkpointing.checkpoints import CheckpointError, Checkpoints, layout_of
from chemscale.training.checkpointing.elastic import make_universal
from chemscale.training.checkpointing.safe_pickle import check_pickles
from chemscale.training.distributed.control import GRACE, Control, Watchdog
from chemscale.training.distributed.ranks import WorldError, join, this_rank
from chemscale.training.distributed.strategies import SHARDED_WEIGHTS, ZERO
from chemscale.training.health import RolledBack, passed_over
from chemscale.training.metrics.energy import energy_of
from chemscale.training.metrics.progress import TrainingProgress
from chemscale.training.metrics.throughput import device_name, peak_flops
from chemscale.training.signals import StopFlag
from chemscale.training.step_boundary import Keeper
from chemscale.training.trainer import build_trackers, build_trainer

log = logging.getLogger(__name__)

OF_THE_RECORD = (
    "identity", "sweep", "family", "name", "seed", "data_hash", "git_revision", "versions", "planned_steps",
    "attempts", "skipped_steps",
)  # fmt: skip
"""What trackers are told of a record beside its numbers."""


class Attempt:
    """Everything around ``trainer.fit``; within ``with`` the signals are ours.

    Args:
        point: a ``points.base.Point``.
        extra: callbacks beside the keeper.
    """

    def __init__(self, point: Any, record: RunRecord, extra: Sequence[pl.Callback] = ()):
        self.point, self.record, self.extra = point, record, extra
        self.ranks = this_rank()
        self.flag = StopFlag()

    def __enter__(self) -> Attempt:
        self.flag.__enter__()
        try:
            return self._open()
        except BaseException:
            self.flag.__exit__()
            raise

    def _open(self) -> Attempt:
        point, record, ranks = self.point, self.record, self.ranks
        limit = 60 * float(point.config["strategy"]["hang_minutes"])
        control = Control(ranks, limit)
        checkpoints = Checkpoints(point.directory / "checkpoints")
        self.keeper = Keeper(
            record,
            point.directory,
            tracker=None,  # type: ignore[arg-type]
            checkpoints=checkpoints,
            cadence=point.cadence,
            flag=self.flag,
            progress=TrainingProgress(
                point.name, point.steps, rate_unit=point.unit, silent=not ranks.is_first
            ),
            control=control,
            watchdog=Watchdog(ranks, limit),
            batch_flops=point.batch_flops,
            epoch=point.epoch,
            trunk=point.trunk,
            pause_at=point.pause_at,
            health=point.health,
            elastic=point.config["strategy"]["elastic"],
        )
        self.trainer = build_trainer(point, self.keeper, ranks, self.extra)
        device = self.trainer.strategy.root_device
        if point.strategy != "single":
            join(device, timedelta(seconds=limit + GRACE))
        control.open()
        cuts = control.gather(point.config["batch"]["accumulate"])
        if len(set(cuts)) > 1:
            raise WorldError(
                f"batch.per_gpu=auto cut the step differently on different GPUs ({cuts} micro-batches by "
                "rank): set batch.per_gpu to a number."
            )
        self.resume, self.keeper.branched = self._begin(checkpoints, control)
        step = checkpoints.step_of(self.resume) if self.resume else 0
        if self.resume and not self.keeper.branched:
            record.checkpoint = str(self.resume.relative_to(point.directory))
        if self.resume and ranks.is_first:
            how = "begins from a shorter run's" if self.keeper.branched else "continues at"
            log.info("%s %s step %d of %d.", point.name, how, step, point.steps)
        point.data.passed = passed_over(record.roll_backs)
        self.keeper.tracker = build_trackers(point, step, ranks, record.roll_backs)
        peak = peak_flops(device_name(device), point.precision)
        background = point.config["trainer"].get("checkpoint_background")
        self.keeper.in_background = point.strategy in ("single", "ddp") and (
            device.type == "cuda" if background is None else bool(background)
        )
        self.keeper.peak = None if peak is None else peak * ranks.world
        record.compute.device = device_name(device)
        launcher = point.config["launcher"]  # a node of a cluster may be shared with anyone
        alone = launcher["name"] == "local" and int(launcher.get("parallel") or 1) == 1
        self.keeper.energy = energy_of(device, local_rank=ranks.local_rank, alone=alone)
        return self

    def __exit__(self, *exception: object) -> None:
        self.keeper.watchdog.stop()
        self.flag.__exit__(*exception)

    def _begin(self, checkpoints: Checkpoints, control: Control) -> tuple[Path | None, bool]:
        """The checkpoint to go on from: the point's own newest, else the end of a shorter point's stable one.

        Rank 0 chooses for all. The second value says whether it is the latter.

        Raises:
            CheckpointError: the checkpoint is of another strategy or number of ranks.
        """
        found: tuple[Path | None, bool] = (None, False)
        problem = ""
        if self.ranks.is_first:
            own = checkpoints.newest()
            if own is not None or self.point.trunk is None:
                found = own, False
            else:
                branch = self.point.trunk.branch(self.point.directory / self.record.curve)
                found = branch, branch is not None
            if found[0] is not None:
                try:
                    self._fit_layout(found[0])
                except (CheckpointError, WorldError) as error:
                    problem = str(error)
        problem, path, branched = cast(tuple[str, Path | None, bool], control.share((problem, *found)))
        if problem:
            raise CheckpointError(problem)
        if path is not None and self.point.strategy in ZERO:
            layout = layout_of(path)
            strategy: Any = self.trainer.strategy
            strategy.universal = layout is not None and layout["world"] != self.ranks.world
        return path, branched

    def _fit_layout(self, path: Path) -> None:
        """See that a checkpoint fits this strategy and number of ranks; convert it where that is wanted."""
        layout, strategy, world = layout_of(path), self.point.strategy, self.ranks.world
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
        if layout["world"] == world:
            return
        self.ranks.same_world(layout["world"], self.point.config["strategy"]["elastic"])
        if strategy in ZERO:
            make_universal(path)

    # --- the end ---

    def close(self) -> State:
        """Stop what watches and tracks; how the run stands. Called however the fit ended."""
        keeper, record, trainer = self.keeper, self.record, self.trainer
        keeper.watchdog.stop()
        keeper.progress.stop()
        keeper.heard(wait=True)
        record.truth = keeper.truth() or record.truth
        ended = trainer.global_step >= self.point.steps or keeper.ended_early
        state = ended_state(ended, keeper.paused, keeper.interrupted)
        if keeper.tracker is not None:
            goes_on = isinstance(sys.exception(), RolledBack)  # not failed: the next attempt follows at once
            keeper.tracker.finish(summary_of(record, State.PREEMPTED if goes_on else state))
        return state

    def save_model(self, module: Any) -> None:
        """The trained model; where ranks share the weights, from the checkpoint that they left at the end."""
        if not self.ranks.is_first:
            return
        if self.point.strategy in SHARDED_WEIGHTS:
            from chemscale.training.checkpointing.gathering import load_weights

            module = self.point.build_module()
            load_weights(module, self.keeper.checkpoints.path(self.trainer.global_step))
        self.point.save_model(module)


def summary_of(record: RunRecord, state: State) -> dict[str, Any]:
    """The record as a table of runs shows it: an export of it holds all that a law needs."""
    failure = sys.exception()
    return {
        "state": state.value,
        "reason": f"{type(failure).__name__}: {failure}" if failure else record.reason,
        **{key: getattr(record, key) for key in OF_THE_RECORD},
        "roll_backs": len(record.roll_backs),
        "parameters": vars(record.parameters),
        "data": vars(record.data),
        "compute": vars(record.compute),
        "final": {"step": record.final.step, **record.final.values} if record.final else None,
        "best": {"step": record.best.step, **record.best.values} if record.best else None,
        "truth": record.truth,
    }


def ended_state(done: bool, paused: bool, interrupted: bool) -> State:
    """How a run stands that has left its fit."""
    if done:
        return State.DONE
    if interrupted:
        return State.PREEMPTED
    return State.PAUSED if paused else State.FAILED
