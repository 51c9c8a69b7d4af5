"""What happens at a step boundary: log, validate, record, save, stop. In this order, in one place."""

from __future__ import annotations

import datetime
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from chemscale.records import Loss, RunRecord, State
from chemscale.training.checkpoints import Checkpoints
from chemscale.training.progress import TrainingProgress
from chemscale.training.signals import StopFlag
from chemscale.training.throughput import Meter
from chemscale.training.trackers import Tracker


@dataclass(frozen=True)
class Cadence:
    """How often things happen, in optimiser steps; checkpoints also by the clock, whichever comes first."""

    log_every: int = 10
    validate_every: int = 100
    checkpoint_seconds: float = 60.0
    checkpoint_steps: int | None = None


class Keeper(pl.Callback):
    """Keeps the books of a run at step boundaries.

    Validation is driven from here and not by Lightning's loop, so that a checkpoint always holds the state
    after everything that belongs to its step: killed anywhere and resumed, a run logs the same rows.

    Args:
        batch_flops: training FLOPs of a batch.
        epoch_tokens: targets in one pass over the training subset.
        peak: FLOP/s peak of the device, None where it is not known.
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
        batch_flops: Callable[[Any], float],
        epoch_tokens: int,
        peak: float | None = None,
    ):
        self.record, self.directory = record, Path(directory)
        self.tracker, self.checkpoints, self.cadence = tracker, checkpoints, cadence
        self.flag, self.progress, self.batch_flops = flag, progress, batch_flops
        self.epoch_tokens, self.peak = epoch_tokens, peak
        self.since_log, self.whole = Meter(), Meter()
        self.log_tokens = 0
        self._last_save = time.monotonic()
        self._last_tokens_per_second = 0.0
        self._module: Any = None
        self._unlogged_nats: list[float] = []

    # --- state that must survive ---

    def state_dict(self) -> dict[str, Any]:
        data, compute = self.record.data, self.record.compute
        return {
            "data": {key: getattr(data, key) for key in ("steps", "tokens", "molecules", "heavy_atoms")},
            "compute": {
                key: getattr(compute, key) for key in ("flops", "flops_6nd", "seconds", "device_seconds")
            },
            "best": _loss_state(self.record.best),
            "final": _loss_state(self.record.final),
            "rng": torch.get_rng_state(),
            "unlogged_tokens": self.log_tokens,
            "unlogged_nats": [float(nats) for nats in self._module.step_nats] if self._module else [],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for key, value in state["data"].items():
            setattr(self.record.data, key, value)
        for key, value in state["compute"].items():
            setattr(self.record.compute, key, value)
        self.record.best = Loss(**state["best"]) if state["best"] else None
        self.record.final = Loss(**state["final"]) if state["final"] else None
        torch.set_rng_state(state["rng"])
        self.log_tokens = state["unlogged_tokens"]
        self._unlogged_nats = state["unlogged_nats"]

    # --- the run ---

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.flag.install()
        self._module = module
        self._module.step_nats = [torch.tensor(nats, device=module.device) for nats in self._unlogged_nats]
        self.progress.start(trainer.global_step)
        self._last_save = time.monotonic()
        self._keep_record()
        self.since_log.resume()

    def on_train_batch_start(self, trainer, module, batch, batch_idx: int) -> None:
        self.since_log.batch_arrived()

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx: int) -> None:
        world = trainer.world_size
        flops = self.batch_flops(batch) * world
        tokens = batch.tokens.numel() * world
        self.since_log.batch_done(tokens, batch.slots * world, batch.molecules * world, flops)
        self._count(tokens, batch, flops, world)
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        step = trainer.global_step
        self.record.data.steps = step
        last = step >= trainer.max_steps
        if step % self.cadence.log_every == 0 or last:
            self._log(trainer, module, step)
        if step % self.cadence.validate_every == 0 or last:
            self._validate(trainer, module, step)
        if last or self._checkpoint_due(step):
            self._save(trainer, step)
        if self.flag.name is not None:
            trainer.should_stop = True
        self.progress.update(step, self._last_tokens_per_second)
        self.since_log.resume()

    def _count(self, tokens: int, batch, flops: float, world: int) -> None:
        data = self.record.data
        data.tokens += tokens
        data.molecules += batch.molecules * world
        data.heavy_atoms += batch.heavy_atoms * world
        data.epochs = data.tokens / self.epoch_tokens
        self.record.compute.flops += flops
        self.record.compute.flops_6nd += 6.0 * self.record.parameters.matrices * tokens
        self.log_tokens += tokens

    def _log(self, trainer: pl.Trainer, module: Any, step: int) -> None:
        nats = math.fsum(float(part) for part in module.step_nats)
        module.step_nats.clear()
        norm = module.gradient_norm
        row = {
            "kind": "train",
            "step": step,
            "tokens": self.record.data.tokens,
            "molecules": self.record.data.molecules,
            "flops": self.record.compute.flops,
            "loss": nats * trainer.world_size / max(1, self.log_tokens),
            "lr": trainer.optimizers[0].param_groups[0]["lr"],
            "gradient_norm": None if norm is None else float(norm),
        }
        self.log_tokens = 0
        self.tracker.log(row)
        truth = self.since_log.truth(module.device, self.peak)
        self.tracker.log({"kind": "truth", "step": step, "tokens": row["tokens"], **truth})
        self._last_tokens_per_second = truth["tokens_per_second"]
        self.record.compute.seconds += self.since_log.seconds
        self.record.compute.device_seconds += self.since_log.seconds * trainer.world_size
        self.whole.add(self.since_log)
        self.since_log = Meter()
        self.progress.trained(row["loss"])

    def _validate(self, trainer: pl.Trainer, module: Any, step: int) -> None:
        sums: dict[str, float] = {}
        module.eval()
        with torch.inference_mode(), trainer.precision_plugin.val_step_context():
            for index, batch in enumerate(trainer.datamodule.val_dataloader()):  # type: ignore[attr-defined]
                part = module.validation_step(batch.to(module.device), index)
                for key, value in part.items():
                    sums[key] = sums.get(key, 0.0) + float(value)
        module.train()
        loss = Loss(step, module.validation_metrics(sums))
        self.record.final = loss
        if self.record.best is None or loss.objective < self.record.best.objective:
            self.record.best = loss
        counts = {"step": step, "tokens": self.record.data.tokens, "molecules": self.record.data.molecules}
        self.tracker.log({"kind": "validation", **counts, "flops": self.record.compute.flops, **loss.values})
        self.progress.validated(loss.objective)

    def _checkpoint_due(self, step: int) -> bool:
        if self.flag.name is not None:
            return True
        if self.cadence.checkpoint_steps and step % self.cadence.checkpoint_steps == 0:
            return True
        return time.monotonic() - self._last_save >= self.cadence.checkpoint_seconds

    def _save(self, trainer: pl.Trainer, step: int) -> None:
        self.tracker.flush()
        path = self.checkpoints.save(trainer, step)
        self.record.checkpoint = str(path.relative_to(self.directory))
        self._keep_record()
        self._last_save = time.monotonic()

    def _keep_record(self) -> None:
        self.record.state = State.RUNNING
        self.record.updated = now()
        self.record.truth = self.truth()
        self.record.save(self.directory)

    def truth(self) -> dict[str, float]:
        """The truth line of this attempt so far; empty before the first log."""
        if not self.whole.seconds or self._module is None:
            return {}
        return self.whole.truth(self._module.device, self.peak)


def _loss_state(loss: Loss | None) -> dict[str, Any] | None:
    return None if loss is None else {"step": loss.step, "values": dict(loss.values)}


def now() -> str:
    """This moment in UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
