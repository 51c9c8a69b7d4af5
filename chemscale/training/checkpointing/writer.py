"""When a run is saved, and how: at once or while training goes on, never ahead of its metrics."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import pytorch_lightning as pl

from chemscale.training.checkpointing.checkpoints import CheckpointError, Checkpoints
from chemscale.training.distributed.control import Control
from chemscale.training.run_log import RunLog
from chemscale.training.settings import Cadence

log = logging.getLogger(__name__)


class CheckpointWriter:
    """Saves a run by the clock and by its steps; all ranks together.

    Args:
        folder: of the run's checkpoints.
        run_log: what has to be on the disk before a checkpoint is.
        cadence: how often.
        control: how the ranks agree.
        in_background: whether training goes on while a checkpoint is written.
    """

    def __init__(
        self,
        folder: Checkpoints,
        run_log: RunLog,
        cadence: Cadence,
        control: Control,
        *,
        in_background: bool = False,
    ):
        self.folder, self.run_log, self.cadence, self.control = folder, run_log, cadence, control
        self.in_background = in_background
        self._last_save, self._save_seconds = time.monotonic(), 0.0

    def start(self) -> None:
        """Training begins: the clock runs from now on."""
        self._last_save = time.monotonic()

    def due_by_clock(self) -> bool:
        """Whether it is time for a checkpoint by the clock of rank 0, which decides; elsewhere False."""
        pause = self.cadence.pause_after(self._save_seconds)
        return self.control.ranks.is_first and time.monotonic() - self._last_save >= pause

    def save(self, trainer: pl.Trainer, step: int, *, must: bool, later: bool) -> None:
        """Save the run; where that fails it goes on from memory, with an error in the log.

        Args:
            trainer: of the run.
            step: optimizer steps done.
            must: whether the run fails instead.
            later: whether the file may still be under way when training goes on.

        Raises:
            CheckpointError: it must be saved, and cannot.
        """
        began = time.monotonic()
        self.run_log.record_time()
        try:
            self.poll(wait=True)
            self.run_log.flush()
            if later and self.in_background:
                self.folder.save_in_background(trainer, step, self.control)
            else:
                self._saved(self.folder.save(trainer, step, self.control))
        except CheckpointError as error:
            if must:
                raise
            log.error("%s Training goes on from memory; the next checkpoint is tried again.", error)
        self._last_save = time.monotonic()
        self._save_seconds = self._last_save - began

    def poll(self, *, wait: bool = False) -> None:
        """Take note of a checkpoint that was written in the background, or could not be.

        Args:
            wait: until the one that is being written is done.
        """
        try:
            written = self.folder.written(wait=wait)
        except CheckpointError as error:
            log.error("%s Training goes on from memory; the next checkpoint is tried again.", error)
            return
        if written is not None:
            self._saved(written)

    def _saved(self, path: Path) -> None:
        self.run_log.record.checkpoint = str(path.relative_to(self.run_log.directory))
        self.run_log.save_record()
