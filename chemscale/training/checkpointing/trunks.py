"""One trunk, many horizons: points that differ only in their budget share their stable phase.

Under warm-up, stable, decay (WSD) the rate does not know the horizon until the cool-down begins (Hägele et
al. 2024). Two points whose configurations agree but for the budget therefore make the same steps up to the
earlier cool-down, to the bit, and the longer one may begin where the shorter one's stable phase ended.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chemscale.common.files import atomic_path
from chemscale.common.locks import PointBusyError
from chemscale.training.checkpointing.checkpoints import CheckpointError, Checkpoints
from chemscale.training.distributed.control import Control
from chemscale.training.locks import point_lock

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trunk:
    """The shared stable phase of the points in one folder, as far as one of them has walked it.

    Args:
        folder: of checkpoints and of the metrics up to each.
        end: the step at which this point's cool-down begins; later checkpoints are of no use to it.
    """

    folder: Path
    end: int

    @property
    def _checkpoints(self) -> Checkpoints:
        return Checkpoints(self.folder, keep=None)

    def _rows(self, step: int) -> Path:
        return self.folder / f"step-{step:09d}.jsonl"

    def newest(self) -> Path | None:
        """The latest whole checkpoint that this point may begin from."""
        return self._checkpoints.newest(at_most=self.end)

    def newest_step(self) -> int:
        """The step of ``newest``, 0 where there is none."""
        found = self.newest()
        return self._checkpoints.step_of(found) if found else 0

    def branch(self, metrics: Path) -> Path | None:
        """A checkpoint to begin from; the metrics up to it are laid at `metrics`."""
        found = self.newest()
        if found is not None:
            metrics.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self._rows(self._checkpoints.step_of(found)), metrics)
        return found

    def _copy_rows(self, metrics: Path) -> None:
        with atomic_path(self._rows(self.end)) as temporary:
            shutil.copyfile(metrics, temporary)

    def keep(self, trainer: Any, metrics: Path, control: Control) -> None:
        """Leave the end of this point's stable phase for longer ones, unless somebody has done so.

        Args:
            trainer: Lightning's.
            metrics: the rows up to that step.
            control: how the ranks agree.
        """
        first = control.ranks.is_first
        with contextlib.ExitStack() as held:
            mine, problem = False, ""
            if first and self.newest_step() != self.end:
                # Another point leaves its own: a longer one begins a little earlier.
                with contextlib.suppress(PointBusyError):
                    held.enter_context(point_lock(self.folder))
                    mine = True
            if not control.any(mine):
                return
            try:
                if first:
                    try:
                        self._copy_rows(metrics)
                    except OSError as error:
                        problem = str(error)
                problem = str(control.share(problem))
                if problem:
                    raise CheckpointError(f"{self.folder} takes no trunk ({problem}).")
                self._checkpoints.save(trainer, self.end, control)
            except CheckpointError as error:
                log.error("%s Longer points begin earlier.", error)
