"""What a run writes down: the rows of its curve, its record, its progress bar."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

from chemscale.records import RECORD_NAME, Loss, RunRecord, State, now
from chemscale.tasks.device_values import read_rows
from chemscale.training.budget import Epoch
from chemscale.training.checkpointing.checkpoints import CheckpointError
from chemscale.training.distributed.control import Control
from chemscale.training.metrics.progress import TrainingProgress
from chemscale.training.metrics.throughput import Throughput
from chemscale.training.trackers import Tracker

log = logging.getLogger(__name__)


class RunLog:
    """Rows of training, validation and throughput for the trackers, and the record on the disk.

    Args:
        record: of the run.
        directory: the point's own.
        tracker: where rows go; silent on all ranks but the first.
        throughput: what the run does per second.
        progress: the bar.
        epoch: one pass over the training subset; its units stand in every row.
        control: sums over ranks.
    """

    def __init__(
        self,
        record: RunRecord,
        directory: Path,
        *,
        tracker: Tracker,
        throughput: Throughput,
        progress: TrainingProgress,
        epoch: Epoch,
        control: Control,
    ):
        self.record, self.directory, self.tracker = record, Path(directory), tracker
        self.throughput, self.progress, self.epoch, self.control = throughput, progress, epoch, control
        self.first = control.ranks.is_first
        self._module: Any = None
        self._restored: list[list[float]] = []
        self._steps = self._clipped = self._left_out = 0
        self._rate = 0.0

    @property
    def curve(self) -> Path:
        """``metrics.jsonl``"""
        return self.directory / self.record.curve

    # --- state that must survive ---

    def state_dict(self) -> dict[str, Any]:
        """What was trained since the last row. Called on all ranks together: it sums over them."""
        return {
            "unlogged": self._unlogged_rows() if self._module else [],
            "clipped": [self._clipped, self._steps],
            "left_out": self._left_out,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._restored = state["unlogged"]
        self._clipped, self._steps = state.get("clipped", (0, 0))
        self._left_out = state.get("left_out", 0)

    # --- the run ---

    def start(self, module: Any, step: int) -> None:
        """Training begins, or goes on.

        Args:
            module: a ``tasks.base.Task``, whose ``step_sums`` wait for the next row.
            step: optimizer steps done.
        """
        self._module = module
        share = 1.0 if self.first else 0.0  # the rows were added up over ranks when they were saved
        module.step_sums = [[share * value for value in sums] for sums in self._restored]
        self.progress.start(step)

    def count_step(self, *, left_out: bool, clipped: bool) -> None:
        """Count a step for the next row.

        Args:
            left_out: whether its gradient was not finite.
            clipped: whether its gradient was scaled down.
        """
        self._steps += 1
        self._left_out += left_out
        self._clipped += clipped

    def training(self, step: int, lr: float) -> float:
        """Write what was trained and how fast since the last time; the training loss.

        Args:
            step: optimizer steps done.
            lr: learning rate now.
        """
        module, rows = self._module, self._unlogged_rows()
        module.step_sums.clear()
        sums = [math.fsum(column) for column in zip(*rows, strict=True)]
        metrics = module.training_metrics(sums) if rows else {"loss": math.nan}
        norm = module.gradient_norm
        row = {
            "kind": "train",
            "step": step,
            **self._seen(),
            "flops": self.record.compute.flops,
            **metrics,
            "lr": lr,
            "gradient_norm": float(norm) if norm is not None and math.isfinite(norm) else None,
            "clipped_percent": 100 * self._clipped / max(1, self._steps),
            **({"left_out": self._left_out} if self._left_out else {}),
        }
        self._steps = self._clipped = self._left_out = 0
        self.tracker.log(row)
        self._throughput_row(step)
        self.progress.trained(metrics["loss"])
        return metrics["loss"]

    def _throughput_row(self, step: int) -> None:
        self.record_time()
        line = self.throughput.next_line()
        axis = self.epoch.axis
        self.tracker.log({"kind": "truth", "step": step, axis: getattr(self.record.data, axis), **line})
        self._rate = line[f"{self.progress.rate_unit}_per_second"]

    def record_time(self) -> None:
        """Time and energy since the last time go into the record; all ranks together."""
        self.throughput.record_time(self.record.compute)

    def validation(self, step: int, values: dict[str, float]) -> Loss:
        """Write a validation result, into the record too.

        Args:
            step: optimizer steps done.
            values: metrics over the whole held-out set.
        """
        loss = Loss(step, values)
        self.record.final = loss
        if loss.is_finite and (self.record.best is None or loss.objective < self.record.best.objective):
            self.record.best = loss
        counts = {"step": step, **self._seen(), "flops": self.record.compute.flops}
        self.tracker.log({"kind": "validation", **counts, **loss.values})
        self.progress.validated(loss.headline)
        return loss

    def counts(self) -> dict[str, float]:
        """Data and FLOPs that were seen until now."""
        return {**self._seen(), "flops": self.record.compute.flops}

    def generation(self, row: dict[str, Any]) -> None:
        """Write what generated molecules are like, unless an earlier session did.

        Args:
            row: step of the weights, counts then, the step ``logged_at``, and metrics.
        """
        earlier = self.record.curve_rows(self.directory)
        if not any(r.get("kind") == "generation" and r.get("step") == row["step"] for r in earlier):
            self.tracker.log({"kind": "generation", **row})

    def reached(self, step: int) -> None:
        """Show a step boundary in the progress bar."""
        self.progress.reached(step, self._rate)

    def _seen(self) -> dict[str, int]:
        return {unit: getattr(self.record.data, unit) for unit in self.epoch.amounts}

    def _unlogged_rows(self) -> list[list[float]]:
        """What every micro-batch since the last row summed, over ranks; from here on rank 0 holds it."""
        rows = self.control.total_rows(read_rows(self._module.step_sums))
        self._module.step_sums[:] = rows if self.first else [[0.0] * len(row) for row in rows]
        return rows

    # --- the disk ---

    def flush(self) -> None:
        """Bring the rows to the disk; all ranks together.

        Raises:
            CheckpointError: on every rank, if rank 0 cannot: a checkpoint never outruns the metrics.
        """
        problem = ""
        try:
            self.tracker.flush()
        except OSError as error:
            problem = str(error)
        problem = str(self.control.share(problem))
        if problem:
            raise CheckpointError(f"No checkpoint without the metrics before it ({problem}).")

    def save_record(self) -> None:
        """Write the record of a running point; where that fails the run goes on."""
        if not self.first:
            return
        self.record.state = State.RUNNING
        self.record.updated = now()
        self.record.truth = self.throughput.attempt_line()
        try:
            self.record.save(self.directory)
        except OSError as error:
            log.error("%s could not be written (%s).", self.directory / RECORD_NAME, error)
