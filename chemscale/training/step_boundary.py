"""The life of an optimizer step: trained, counted, logged, validated, saved, and whether another follows.

In this order, in one place (``StepBoundary._at_boundary``). Between steps at which something is due
nothing is read from a device, and ranks do not wait for each other.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from typing import Any, cast

import pytorch_lightning as pl
import torch

from chemscale.records import Loss
from chemscale.tasks.device_values import read_values
from chemscale.training.checkpointing.trunks import Trunk
from chemscale.training.checkpointing.writer import CheckpointWriter
from chemscale.training.distributed.control import Control, Meetings, Watchdog
from chemscale.training.generation import Generation
from chemscale.training.health import DivergedError, Health, RolledBack
from chemscale.training.metrics.counters import Counters
from chemscale.training.run_log import RunLog
from chemscale.training.settings import Cadence
from chemscale.training.signals import StopFlag
from chemscale.training.stopping import Stop, Stopping
from chemscale.training.validation import validation_metrics

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StepPlan:
    """What is due at which step.

    Args:
        cadence: how often a run logs, validates and saves.
        pause_at: step at which the run saves itself and ends, for a sweep to decide on.
        trunk: where the end of the stable phase is left for longer runs.
        branched: whether this attempt begins from a trunk, so that what came before was not spent here.
        elastic: whether the run may go on from another number of ranks.
    """

    cadence: Cadence
    pause_at: int | None = None
    trunk: Trunk | None = None
    branched: bool = False
    elastic: bool = False

    def due(self, step: int, *, last: bool) -> Due:
        """What is due after a step, by its number.

        Args:
            step: optimizer steps done.
            last: whether the run ends there.
        """
        every = self.cadence.checkpoint_steps
        return Due(
            log=last or step % self.cadence.log_every == 0,
            validate=last or step % self.cadence.validate_every == 0,
            pause=self.pause_at is not None and step >= self.pause_at,
            save=bool(every and step % every == 0),
            trunk=self.trunk is not None and step == self.trunk.end,
        )


@dataclass(frozen=True)
class Due:
    """What is due after a step."""

    log: bool
    validate: bool
    pause: bool
    save: bool
    trunk: bool

    @property
    def any(self) -> bool:
        """Whether anything is."""
        return self.log or self.validate or self.pause or self.save or self.trunk


class StepBoundary(pl.Callback):
    """Logs, validates, checkpoints and stops a run at each optimizer step.

    Validation is driven from here and not by Lightning's loop, so that a checkpoint always holds the state
    after everything that belongs to its step: killed anywhere and resumed, a run logs the same rows.

    Args:
        plan: what is due when.
        control: how the ranks of the point agree.
        watchdog: ends a run one of whose ranks hangs.
        flag: where a signal to this rank is noted.
        counters: data and FLOPs.
        run_log: rows, record and progress.
        checkpoints: saves the run.
        health: what is done about spikes and steps without a finite gradient.
        generation: judges generated molecules beside training; None where that is not asked for.
    """

    def __init__(
        self,
        plan: StepPlan,
        *,
        control: Control,
        watchdog: Watchdog,
        flag: StopFlag,
        counters: Counters,
        run_log: RunLog,
        checkpoints: CheckpointWriter,
        health: Health,
        generation: Generation | None = None,
    ):
        self.plan, self.control, self.watchdog, self.flag = plan, control, watchdog, flag
        self.counters, self.run_log, self.checkpoints, self.health = counters, run_log, checkpoints, health
        self.record, self.throughput, self.generation = run_log.record, run_log.throughput, generation
        self.stopping = Stopping()
        self.meetings = Meetings(control.ranks)
        self._norms: list[torch.Tensor | float] = []
        """Gradient norms, before clipping, of the steps since they were last read."""
        self._warned = False

    # --- a step ---

    def on_train_batch_start(
        self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.watchdog.tick()
        self.throughput.batch_arrived()

    def on_before_backward(self, trainer: pl.Trainer, module: pl.LightningModule, loss: torch.Tensor) -> None:
        self.watchdog.tick()

    def on_after_backward(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.watchdog.tick()

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.throughput.batch_done()
        self.counters.add(batch)
        if (batch_idx + 1) % trainer.accumulate_grad_batches == 0:
            self._at_boundary(trainer, module)

    def _at_boundary(self, trainer: pl.Trainer, module: Any) -> None:
        """All ranks stand between two optimizer steps, and do the same things in the same order."""
        step = trainer.global_step
        last = step >= trainer.max_steps
        due = self.plan.due(step, last=last)
        self.watchdog.reached(step)
        self.counters.end_step()
        self._norms.append(0.0 if module.gradient_norm is None else module.gradient_norm)
        module.stepped()
        self.record.data.steps = step
        signalled, late = self._sync_ranks(step, due)
        judged = due.log or due.validate or step % self.health.policy.skips == 0
        if judged or due.any or signalled or late:
            self._read_gradients(trainer, module)
            self.throughput.batch_done()  # a device has caught up with the host: what it took was training
            self.throughput.pause()

        # log
        if due.log:
            loss = self.run_log.training(step, trainer.optimizers[0].param_groups[0]["lr"])
            self._roll_back_if(self.health.spiked(loss), step)
        if judged:  # never where a signal or the clock had it read: it would depend on them
            self._roll_back_if(self.health.stuck(), step)

        # validate
        if last:
            self.stopping.request(Stop.FINISHED)
        if due.validate:
            result = self.run_log.validation(step, validation_metrics(trainer, module, self.control))
            if module.validated(result.objective):
                self.stopping.request(Stop.ENDED_EARLY, "the learning rate fell below schedule.stop_below")

        # judge what it generates
        if self.generation is not None and self.generation.plan.due(step, last=last):
            self.generation.begin(step, module, self.waits)

        # pause
        if due.pause:
            self.stopping.request(Stop.PAUSED, f"at step {step} of {trainer.max_steps}")

        # save: a run that ends here must be, one that is interrupted can go on from an earlier checkpoint
        must = self.stopping.requested
        if signalled:
            signal = self.flag.name or "a signal to another rank"
            self.stopping.request(Stop.INTERRUPTED, f"{signal} at step {step} of {trainer.max_steps}")
        ends = self.stopping.requested
        if ends or late or due.save:
            self.checkpoints.save(trainer, step, must=must, later=not ends)
        self.checkpoints.poll()
        if due.trunk and self.plan.trunk is not None:
            self.plan.trunk.keep(trainer, self.run_log.curve, self.control)

        # stop, or go on
        if ends:
            trainer.should_stop = True
        self.run_log.reached(step)
        self.throughput.resume()

    def waits(self) -> bool:
        """Called while this rank waits for a process beside it; whether a signal asks it to stop."""
        self.watchdog.tick()
        return self.flag.name is not None

    def _sync_ranks(self, step: int, due: Due) -> tuple[bool, bool]:
        """Add up what the ranks did since they last met, where they meet after this step.

        Returns:
            Whether a rank was signalled, and whether a checkpoint is due by the clock.
        """
        if not (due.any or self.meetings.due(step)):
            return False, False
        signalled, late, ahead = self._meet(
            self.flag.name is not None, self.checkpoints.due_by_clock(), self.meetings.proposal(step)
        )
        self.meetings.agreed(step, ahead)
        return signalled > 0, late > 0

    def _meet(self, *mine: float) -> list[float]:
        """These values summed over ranks; what all ranks trained on since they last met is counted."""
        totals = self.control.total([*mine, *self.counters.pending()])
        for amounts in self.counters.count(totals[len(mine) :]):
            self.throughput.count(amounts)
        return totals[: len(mine)]

    def _read_gradients(self, trainer: pl.Trainer, module: Any) -> None:
        """Read the norms that wait; of a step without a finite one nothing is logged but a count.

        Weights and moments are as before it. An average of weights has taken it in, as one that did not move.
        """
        norms, limit = read_values(self._norms), trainer.gradient_clip_val
        self._norms.clear()
        each = trainer.accumulate_grad_batches
        first_row = len(module.step_sums) - each * len(norms)
        without = [index for index, norm in enumerate(norms) if self._count_gradient(norm, limit)]
        for index in reversed(without):
            start = first_row + each * index
            del module.step_sums[start : start + each]
        if without and self.control.ranks.is_first and not self._warned:
            log.warning(
                "Step %d: its gradient is not finite (a bad frame, or too high a rate). It is left "
                "out, as others like it will be; they are counted.",
                trainer.global_step - len(norms) + without[0] + 1,
            )
            self._warned = True

    def _count_gradient(self, norm: float, limit: float | None) -> bool:
        """Count a step by its gradient; whether it was left out."""
        left_out = self.health.left_out(norm)
        self.record.skipped_steps += left_out
        self.run_log.count_step(
            left_out=left_out, clipped=not left_out and limit is not None and norm > limit
        )
        return left_out

    def _roll_back_if(self, trouble: str, step: int) -> None:
        """Go back to before the trouble, if there is any.

        Args:
            trouble: in words, or an empty text.
            step: optimizer steps done.

        Raises:
            RolledBack: the run goes on from an earlier checkpoint.
            DivergedError: there is none, or it was done often enough, and no step succeeds.
        """
        if not trouble:
            return
        self._meet(0.0)  # the record counts what was trained on until here
        self.checkpoints.poll(wait=True)
        folder, target = self.checkpoints.folder, None
        if len(self.record.roll_backs) < self.health.policy.roll_backs:
            before = max(0, step - self.plan.cadence.log_every - self.health.in_a_row)
            found = folder.newest(at_most=before) if self.control.ranks.is_first else None
            target = cast(int | None, self.control.share(found and folder.step_of(found)))
        if target is None:
            if self.health.stuck():
                raise DivergedError(f"Step {step}: {trouble}, and there is no checkpoint to go back to.")
            log.warning("Step %d: %s. It goes on: there is no checkpoint to go back to.", step, trouble)
            return
        self.record.roll_backs.append({"from": step, "to": target, "reason": trouble})
        if self.control.ranks.is_first:
            folder.drop_after(target)
        self.run_log.save_record()
        self.control.any(False)  # nobody leaves before it is written down
        raise RolledBack(f"step {step}: {trouble}; back to step {target}, past the data in between")

    # --- the first step ---

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.flag.install()
        self.control.open()
        self.watchdog.start(trainer.global_step)
        self.meetings.start(trainer.global_step)
        self.run_log.start(module, trainer.global_step)
        self.checkpoints.start()
        self.run_log.save_record()
        self.throughput.resume()

    # --- state that must survive ---

    @property
    def state_key(self) -> str:
        """Under which Lightning files the state: the name that the class had in version 0.1.0."""
        return "Keeper"

    def state_dict(self) -> dict[str, Any]:
        return {
            **self.counters.state_dict(),
            "best": self.record.best and asdict(self.record.best),
            "final": self.record.final and asdict(self.record.final),
            "rng": torch.get_rng_state(),
            "health": self.health.state_dict(),
            "skipped_steps": self.record.skipped_steps,
            "world": self.control.ranks.world,
            **self.run_log.state_dict(),
            **(self.generation.state_dict() if self.generation is not None else {}),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.control.ranks.same_world(state.get("world", 1), self.plan.elastic)
        self.counters.load_state_dict(state, inherited=self.plan.branched)
        best = Loss(**state["best"]) if state["best"] else None
        self.record.best = best if best and best.is_finite else None  # version 0.1.0 kept a NaN for ever
        self.record.final = Loss(**state["final"]) if state["final"] else None
        torch.set_rng_state(state["rng"])
        self.run_log.load_state_dict(state)
        if self.generation is not None:
            self.generation.load_state_dict(state)
        if "health" in state:
            self.health.load_state_dict(state["health"])
            self.record.skipped_steps = state["skipped_steps"]

    def on_load_checkpoint(
        self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Lightning counts micro-batches; a step may have had another number of them before."""
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        done = checkpoint["global_step"] * trainer.accumulate_grad_batches
        moved = done - progress["current"]["ready"]
        for counts in (progress["total"], progress["current"]):
            counts.update({key: count + moved for key, count in counts.items()})
