"""What happens at a step boundary: log, validate, record, save, stop. In this order, in one place."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from chemscale.records import RECORD_NAME, SEEN, Loss, RunRecord, State, now
from chemscale.training.budget import Epoch
from chemscale.training.cadence import Cadence
from chemscale.training.checkpointing.checkpoints import CheckpointError, Checkpoints
from chemscale.training.checkpointing.trunks import Trunk
from chemscale.training.distributed.control import Control, Watchdog
from chemscale.training.health import DivergedError, Health, HealthPolicy, RolledBack
from chemscale.training.metrics.energy import Energy
from chemscale.training.metrics.progress import TrainingProgress
from chemscale.training.metrics.throughput import Meter
from chemscale.training.signals import StopFlag
from chemscale.training.trackers import Tracker
from chemscale.training.validation import validation_metrics

log = logging.getLogger(__name__)


class Keeper(pl.Callback):
    """Keeps the books of a run at step boundaries.

    Validation is driven from here and not by Lightning's loop, so that a checkpoint always holds the state
    after everything that belongs to its step: killed anywhere and resumed, a run logs the same rows.

    Args:
        control: how the ranks of the point agree. watchdog: ends a run whose ranks no longer meet.
        batch_flops: training FLOPs of a batch.
        epoch: one pass over the training subset; its first unit is the axis of progress.
        peak: FLOP/s peak of the device, None where it is not known.
        trunk: where the end of the stable phase is left for longer runs.
        branched: whether this attempt begins from a trunk, so that what came before was not spent here.
        pause_at: step at which the run saves itself and ends, for a sweep to decide on.
        health: what is done about spikes and steps without a finite gradient.
        in_background: whether checkpoints are written while training goes on.
        energy: of this rank's device.
        elastic: whether it may go on from another number of ranks.
    """

    def __init__(
        self,
        record: RunRecord,
        directory: Path,
        *,
        tracker: Tracker,
        checkpoints: Checkpoints,
        cadence: Cadence,
        flag: StopFlag,
        progress: TrainingProgress,
        control: Control,
        watchdog: Watchdog,
        batch_flops: Callable[[Any], float],
        epoch: Epoch,
        peak: float | None = None,
        trunk: Trunk | None = None,
        branched: bool = False,
        pause_at: int | None = None,
        elastic: bool = False,
        in_background: bool = False,
        health: HealthPolicy | None = None,
        energy: Energy | None = None,
    ):
        self.record, self.directory = record, Path(directory)
        self.tracker, self.checkpoints, self.cadence = tracker, checkpoints, cadence
        self.flag, self.progress, self.batch_flops = flag, progress, batch_flops
        self.control, self.watchdog = control, watchdog
        self.in_background = in_background
        self.elastic, self.health = elastic, Health(health or HealthPolicy())
        self.energy = energy or Energy()
        self.first = control.ranks.is_first
        self.epoch, self.peak = epoch, peak
        self.trunk, self.branched, self.pause_at = trunk, branched, pause_at
        self.since_log, self.whole = Meter(), Meter()
        self._last_save, self._save_seconds = time.monotonic(), 0.0
        self._last_rate = 0.0
        self.ended_early = self.paused = self.interrupted = False
        self._held: Counter[str] = Counter()
        self._left_out = 0
        self._steps = self._clipped = 0
        self._module: Any = None
        self._unlogged: list[list[float]] = []

    # --- state that must survive ---

    def state_dict(self) -> dict[str, Any]:
        data, compute = self.record.data, self.record.compute
        return {
            "data": {key: getattr(data, key) for key in ("steps", *SEEN)},
            "compute": {
                key: getattr(compute, key)
                for key in ("flops", "flops_6nd", "inherited_flops", "seconds", "device_seconds", "joules")
            },
            "best": self.record.best and asdict(self.record.best),
            "final": self.record.final and asdict(self.record.final),
            "rng": torch.get_rng_state(),
            "health": self.health.state_dict(),
            "skipped_steps": self.record.skipped_steps,
            "world": self.control.ranks.world,
            "unlogged": self._unlogged_rows() if self._module else [],
            "clipped": [self._clipped, self._steps],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.control.ranks.same_world(state.get("world", 1), self.elastic)
        for key, value in state["data"].items():
            setattr(self.record.data, key, value)
        seen = getattr(self.record.data, self.epoch.axis)
        self.record.data.epochs = seen / self.epoch.amounts[self.epoch.axis]
        for key, value in state["compute"].items():
            setattr(self.record.compute, key, value)
        if self.branched:  # what the trunk cost was spent by another run
            self.record.compute.inherited_flops = self.record.compute.flops
            self.record.compute.seconds = self.record.compute.device_seconds = 0.0
            self.record.compute.joules = None
        self.record.best = Loss(**state["best"]) if state["best"] else None
        self.record.final = Loss(**state["final"]) if state["final"] else None
        torch.set_rng_state(state["rng"])
        self._unlogged = state["unlogged"]
        self._clipped, self._steps = state.get("clipped", (0, 0))
        if "health" in state:
            self.health.load_state_dict(state["health"])
            self.record.skipped_steps = state["skipped_steps"]

    def on_load_checkpoint(self, trainer: pl.Trainer, module: Any, checkpoint: dict[str, Any]) -> None:
        """Lightning counts micro-batches; a step may have been cut into another number of them before."""
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        done = checkpoint["global_step"] * trainer.accumulate_grad_batches
        moved = done - progress["current"]["ready"]
        for counts in (progress["total"], progress["current"]):
            counts.update({key: count + moved for key, count in counts.items()})

    # --- the run ---

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.flag.install()
        self._module = module
        self.control.open()
        self.watchdog.start(trainer.global_step)
        share = 1.0 if self.first else 0.0  # the rows were added up over ranks when they were saved
        self._module.step_sums = [
            share * torch.tensor(sums, device=module.device, dtype=torch.float64) for sums in self._unlogged
        ]
        self.progress.start(trainer.global_step)
        self._last_save = time.monotonic()
        self._keep_record()
        self._go_on()

    def _go_on(self) -> None:
        self.since_log.resume()
        self.energy.resume()

    def on_train_batch_start(self, trainer, module, batch, batch_idx: int) -> None:
        self.watchdog.tick()
        self.since_log.batch_arrived()

    def on_before_backward(self, trainer, module, loss) -> None:
        self.watchdog.tick()

    def on_after_backward(self, trainer, module) -> None:
        self.watchdog.tick()

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx: int) -> None:
        self.since_log.batch_done()
        self._held.update(batch.counts)
        self._held["slots"] += getattr(batch, "slots", next(iter(batch.counts.values())))
        self._held["flops"] += self.batch_flops(batch)  # type: ignore[assignment]
        if (batch_idx + 1) % trainer.accumulate_grad_batches == 0:
            self._at_boundary(trainer, module)

    def _at_boundary(self, trainer: pl.Trainer, module: Any) -> None:
        """All ranks stand between two optimiser steps, and do the same things in the same order."""
        step = trainer.global_step
        self.watchdog.reached(step)
        self.energy.pause()
        self._look_after(trainer, module)
        stop, due = self._meet()
        self.record.data.steps = step
        last = step >= trainer.max_steps
        if step % self.cadence.log_every == 0 or last:
            self._heed(self.health.spiked(self._log(trainer, module, step)), step)
        self._heed(self.health.stuck(), step)
        if step % self.cadence.validate_every == 0 or last:
            objective = self._validate(trainer, module, step)
            if module.validated(objective):
                self.record.reason = "the learning rate fell below schedule.stop_below"
                trainer.should_stop = last = self.ended_early = True
        if self.pause_at is not None and step >= self.pause_at and not last:
            trainer.should_stop = self.paused = True
        every = self.cadence.checkpoint_steps
        ends = last or self.paused or stop
        if ends or due or (every and step % every == 0):
            self._save(trainer, step, must=last or self.paused, later=not ends)
        self.heard()
        if self.trunk is not None and step == self.trunk.end:
            self.trunk.keep(trainer, self.directory / self.record.curve, self.control)
        if stop:
            trainer.should_stop = self.interrupted = True
        self.progress.reached(step, self._last_rate)
        self._go_on()

    def _look_after(self, trainer: pl.Trainer, module: Any) -> None:
        """A step that was left out for want of a finite gradient leaves no trace but a count."""
        norm, limit = module.gradient_norm, trainer.gradient_clip_val
        self._steps += 1
        if not self.health.left_out(None if norm is None else float(norm)):
            module.stepped()
            self._clipped += norm is not None and limit is not None and float(norm) > limit
            return
        self.record.skipped_steps += 1
        self._left_out += 1
        del module.step_sums[-trainer.accumulate_grad_batches :]

    def _heed(self, trouble: str, step: int) -> None:
        """Go back to before the trouble, if there is any.

        Raises:
            RolledBack: the run goes on from an earlier checkpoint.
            DivergedError: there is none, or it was done often enough, and no step succeeds.
        """
        if not trouble:
            return
        self.heard(wait=True)
        target: Any = None
        if len(self.record.roll_backs) < self.health.policy.roll_backs:
            before = max(0, step - self.cadence.log_every - self.health.in_a_row)
            found = self.checkpoints.newest(at_most=before) if self.first else None
            target = self.control.share(found and self.checkpoints.step_of(found))
        if target is None:
            if self.health.stuck():
                raise DivergedError(f"Step {step}: {trouble}, and there is no checkpoint to go back to.")
            log.warning("Step %d: %s. It goes on: there is no checkpoint to go back to.", step, trouble)
            return
        self.record.roll_backs.append({"from": step, "to": target, "reason": trouble})
        if self.first:
            self.checkpoints.drop_after(target)
        self._keep_record()
        self.control.any(False)  # nobody leaves before it is written down
        raise RolledBack(f"step {step}: {trouble}; back to step {target}, past the data in between")

    def _meet(self) -> tuple[bool, bool]:
        """Add up what the ranks did in this step; whether one was told to stop, and a checkpoint is due."""
        units = list(self._held)
        due = self.first and time.monotonic() - self._last_save >= self.cadence.pause_after(
            self._save_seconds
        )
        sums = self.control.total(
            [self.flag.name is not None, due, *(float(self._held[unit]) for unit in units)]
        )
        done = dict(zip(units, sums[2:], strict=True))
        self._held.clear()
        slots, flops = int(done.pop("slots")), done.pop("flops")
        amounts = {unit: int(amount) for unit, amount in done.items()}
        self.since_log.count(amounts, slots, flops)
        self._count(amounts, flops)
        if sums[0] and self.flag.name is None:
            self.flag.name = "a signal to another rank"
        return sums[0] > 0, sums[1] > 0

    def _count(self, amounts: dict[str, int], flops: float) -> None:
        data = self.record.data
        for unit, amount in amounts.items():
            setattr(data, unit, getattr(data, unit) + amount)
        seen = getattr(data, self.epoch.axis)
        data.epochs = seen / self.epoch.amounts[self.epoch.axis]
        self.record.compute.flops += flops
        per_unit = 6.0 * self.record.parameters.matrices
        self.record.compute.flops_6nd += per_unit * amounts.get("tokens", amounts.get("atoms", 0))

    def _log(self, trainer: pl.Trainer, module: Any, step: int) -> float:
        """Write what was trained since the last time; the loss."""
        rows = self._unlogged_rows()
        module.step_sums.clear()
        sums = [math.fsum(column) for column in zip(*rows, strict=True)]
        metrics = module.training_metrics(sums) if rows else {"loss": math.nan}
        norm = module.gradient_norm
        left_out = {"left_out": self._left_out} if self._left_out else {}
        self._left_out = 0
        row = {
            "kind": "train",
            "step": step,
            **self._seen(),
            "flops": self.record.compute.flops,
            **metrics,
            "lr": trainer.optimizers[0].param_groups[0]["lr"],
            "gradient_norm": float(norm) if norm is not None and math.isfinite(norm) else None,
            "clipped_percent": 100 * self._clipped / max(1, self._steps),
            **left_out,
        }
        self._steps = self._clipped = 0
        self.tracker.log(row)
        self._settle()
        truth = self.since_log.truth(module.device, self.peak)
        axis = self.epoch.axis
        self.tracker.log({"kind": "truth", "step": step, axis: getattr(self.record.data, axis), **truth})
        self._last_rate = truth[f"{self.progress.rate_unit}_per_second"]
        self.whole.add(self.since_log)
        self.since_log = Meter()
        self.progress.trained(metrics["loss"])
        return metrics["loss"]

    def _settle(self) -> None:
        self.since_log.settle(self.record.compute, self.energy, self.control.total, self.control.ranks.world)

    def _unlogged_rows(self) -> list[list[float]]:
        """What every micro-batch since the last log summed, over ranks; from here on rank 0 holds it."""
        rows = self.control.total_rows([sums.tolist() for sums in self._module.step_sums])
        keep = rows if self.first else [[0.0] * len(row) for row in rows]
        self._module.step_sums[:] = [torch.tensor(row, dtype=torch.float64) for row in keep]
        return rows

    def _seen(self) -> dict[str, int]:
        return {unit: getattr(self.record.data, unit) for unit in self.epoch.amounts}

    def _validate(self, trainer: pl.Trainer, module: Any, step: int) -> float:
        loss = Loss(step, validation_metrics(trainer, module, self.control))
        self.record.final = loss
        if self.record.best is None or loss.objective < self.record.best.objective:
            self.record.best = loss
        counts = {"step": step, **self._seen(), "flops": self.record.compute.flops}
        self.tracker.log({"kind": "validation", **counts, **loss.values})
        self.progress.validated(loss.headline)
        return loss.objective

    def _save(self, trainer: pl.Trainer, step: int, *, must: bool, later: bool) -> None:
        """Save the run; one that cannot be saved now goes on, unless it `must` be saved, and says so.

        Args:
            later: whether the file may still be under way when training goes on.
        """
        began = time.monotonic()
        self._settle()
        try:
            self.heard(wait=True)
            self._flush()
            if later and self.in_background:
                self.checkpoints.save_in_background(trainer, step, self.control)
            else:
                self._saved(self.checkpoints.save(trainer, step, self.control))
        except CheckpointError as error:
            if must:
                raise
            log.error("%s Training goes on from memory; the next checkpoint is tried again.", error)
        self._last_save = time.monotonic()
        self._save_seconds = self._last_save - began

    def _flush(self) -> None:
        """What was logged is on the disk, or no rank saves: a checkpoint never outruns the metrics."""
        problem = ""
        try:
            self.tracker.flush()
        except OSError as error:
            problem = str(error)
        problem = str(self.control.share(problem))
        if problem:
            raise CheckpointError(f"No checkpoint without the metrics before it ({problem}).")

    def heard(self, *, wait: bool = False) -> None:
        """Take note of a checkpoint that was written meanwhile, or could not be."""
        try:
            written = self.checkpoints.written(wait=wait)
        except CheckpointError as error:
            log.error("%s Training goes on from memory; the next checkpoint is tried again.", error)
            return
        if written is not None:
            self._saved(written)

    def _saved(self, path: Path) -> None:
        self.record.checkpoint = str(path.relative_to(self.directory))
        self._keep_record()

    def _keep_record(self) -> None:
        if not self.first:
            return
        self.record.state = State.RUNNING
        self.record.updated = now()
        self.record.truth = self.truth()
        try:
            self.record.save(self.directory)
        except OSError as error:
            log.error("%s could not be written (%s).", self.directory / RECORD_NAME, error)

    def truth(self) -> dict[str, float]:
        """The truth line of this attempt so far; empty before the first log."""
        if not self.whole.seconds or self._module is None:
            return {}
        return self.whole.truth(self._module.device, self.peak)
