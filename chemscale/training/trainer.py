"""The Lightning trainer of one point, and its trackers."""

from __future__ import annotations

import logging
import os
import warnings
from pathlib import Path
from typing import Any, Protocol

import pytorch_lightning as pl
import torch

from chemscale.training.keeper import Keeper
from chemscale.training.trackers import JsonLines, Trackers, Wandb

log = logging.getLogger(__name__)


class RunSettings(Protocol):
    """What of a point the trainer needs."""

    @property
    def config(self) -> dict[str, Any]: ...
    @property
    def directory(self) -> Path: ...
    @property
    def identity(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def steps(self) -> int: ...
    @property
    def precision(self) -> str: ...


def set_threads(threads: int | None) -> None:
    """CPU threads of this process: as asked, else OMP_NUM_THREADS, else all cores that it may use."""
    if threads is None:
        threads = int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))
    torch.set_num_threads(threads)


def build_trainer(point: RunSettings, keeper: Keeper) -> pl.Trainer:
    """A trainer that does nothing on its own: the keeper validates, logs and saves."""
    settings = point.config["trainer"]
    for chatty in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message=".*dataloader is not resumable.*")
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*GPU available but not used.*")
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
    precision = {"32": "32-true"}.get(point.precision, point.precision)
    if precision == "bf16-mixed" and not torch.cuda.is_available() and not has_fast_bf16():
        log.warning("This CPU has no AMX: bf16-mixed works but is slower here than trainer.precision=32.")
    return pl.Trainer(
        default_root_dir=str(point.directory),
        accelerator=settings["accelerator"],
        devices=1,
        precision=precision,  # type: ignore[arg-type]
        max_steps=point.steps,
        max_epochs=-1,
        accumulate_grad_batches=point.config["batch"]["accumulate"],
        gradient_clip_val=settings["clip"],
        callbacks=[keeper],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        deterministic="warn" if settings["deterministic"] else None,
    )


def has_fast_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 matrices in hardware."""
    try:
        return bool(torch.cpu._is_amx_tile_supported())
    except AttributeError:
        return False


def build_trackers(point: RunSettings, resume_step: int) -> Trackers:
    """JSON lines always; W&B as configured. A W&B that cannot start is reported and left out."""
    settings = point.config["logger"]
    primary = JsonLines(point.directory / "metrics.jsonl", resume_step)
    secondary: list[Any] = []
    if settings["wandb"] != "disabled":
        try:
            secondary.append(
                Wandb(
                    point.directory,
                    project=settings["project"],
                    group=point.config["sweep_name"],
                    name=point.name,
                    identity=point.identity,
                    mode=settings["wandb"],
                    config=point.config,
                )
            )
        except Exception as error:
            log.warning("W&B could not start (%s): metrics go to %s only.", error, primary.path)
    return Trackers(primary, secondary)
