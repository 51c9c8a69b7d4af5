"""TensorBoard: event files of a sweep below ``runs/SWEEP/tensorboard``, a folder a point."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from chemscale.training.trackers.base import RunInfo, Tracker, TrackerError, flat, metrics_of

HEADLINES = ("validation/nats_per_token", "validation/forces_mae", "validation/energy_mae_per_atom")


class TensorBoard(Tracker):
    """Scalars against the optimiser step; configuration and record as text and in the HParams tab.

    A run that goes on from a checkpoint hides what an earlier attempt wrote after it.
    """

    def __init__(self, run: RunInfo):
        from torch.utils.tensorboard import SummaryWriter

        folder = run.directory.parent / "tensorboard" / f"{run.name}-{run.identity}".replace("/", "_")
        self._writer = SummaryWriter(str(folder), purge_step=run.resume_step + 1)
        self._seen: set[str] = set()
        self._step = run.resume_step
        self._config = flat(run.config)
        text = json.dumps(run.config, indent=2, default=str)
        self._writer.add_text("configuration", f"```\n{text}\n```", run.resume_step + 1)

    @classmethod
    def check(cls, settings: Mapping[str, Any]) -> None:
        try:
            import torch.utils.tensorboard  # noqa: F401
        except ImportError as error:
            raise TrackerError(f"logger=tensorboard: {error}. pip install tensorboard") from None

    def log(self, row: Mapping[str, Any]) -> None:
        self._step = row["step"]
        for key, value in metrics_of(row).items():
            self._writer.add_scalar(key, value, row["step"])
            self._seen.add(key)

    def flush(self) -> None:
        self._writer.flush()

    def finish(self, summary: Mapping[str, Any]) -> None:
        from torch.utils.tensorboard.summary import hparams

        text = json.dumps(summary, indent=2, default=str)
        self._writer.add_text("record", f"```\n{text}\n```", self._step)
        settings = {**self._config, **{f"parameters.{k}": v for k, v in summary["parameters"].items()}}
        metrics = dict.fromkeys((key for key in HEADLINES if key in self._seen), 0.0)
        for part in hparams(settings, metrics):  # SummaryWriter.add_hparams would open a run of its own
            self._writer._get_file_writer().add_summary(part)
        self._writer.close()
