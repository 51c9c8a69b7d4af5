"""The Lightning trainer of one point, and its trackers."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch

from chemscale.hardware.devices import set_backends, set_determinism
from chemscale.models.kernels.compiled import use_kernels
from chemscale.training.distributed.ranks import Ranks, environment
from chemscale.training.distributed.strategies import ZERO, build_strategy
from chemscale.training.trackers import RunInfo, Silent, Tracker, open_trackers
from chemscale.training.trained_point import TrainedPoint

log = logging.getLogger(__name__)


def set_threads(threads: int | None) -> None:
    """CPU threads of this process: as asked, else OMP_NUM_THREADS, else all cores that it may use."""
    if threads is None:
        threads = int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))
    torch.set_num_threads(threads)


def build_trainer(point: TrainedPoint, ranks: Ranks, extra: Sequence[pl.Callback] = ()) -> pl.Trainer:
    """A trainer that does nothing on its own: ``StepBoundary`` validates, logs and saves.

    Args:
        point: what is trained.
        ranks: of this process; they exist already, none is started here.
        extra: callbacks beside the step boundary, which is added once it is built.
    """
    settings = point.settings.trainer
    quieten_lightning()
    on_cpu = settings.accelerator == "cpu" or not torch.cuda.is_available()
    if point.precision == "bf16-mixed" and on_cpu and not has_fast_bf16() and ranks.is_first:
        log.warning("This CPU has no AMX: bf16-mixed works but is slower here than precision=32.")
    use_kernels(settings.kernels)
    torch.set_float32_matmul_precision("high" if point.precision == "tf32" else "highest")
    set_backends()
    set_determinism(settings.deterministic)
    accelerator = settings.accelerator
    if accelerator == "auto":
        accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    name = point.strategy
    device = torch.device(accelerator, ranks.local_rank) if accelerator == "cuda" else torch.device("cpu")
    precision: dict[str, Any] = {
        "precision": {"32": "32-true", "tf32": "32-true"}.get(point.precision, point.precision)
    }
    if name in ZERO:
        precision = {}  # its plugin comes with the strategy
    return pl.Trainer(
        default_root_dir=str(point.directory),
        accelerator=accelerator,
        devices=ranks.per_node,
        num_nodes=ranks.nodes,
        strategy=build_strategy(name, point.settings, device),
        plugins=[environment(settings.accelerator)],
        **precision,
        max_steps=point.steps,
        max_epochs=-1,
        accumulate_grad_batches=point.settings.micro_batching.accumulate,
        gradient_clip_val=settings.clip,
        callbacks=list(extra),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )


def quieten_lightning() -> None:
    """Silence Lightning's remarks and the warnings of what is wanted here."""
    for chatty in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    for message in (
        ".*dataloader is not resumable.*",
        ".*You have overridden `transfer_batch_to_device`.*",
        ".*does not have many workers.*",
        ".*GPU available but not used.*",
        ".*isinstance.treespec, LeafSpec.*",
        ".*`srun` command is available.*",
        ".*`broadcast_buffers` is deprecated.*",
        ".*(all_gather_into_tensor|reduce_scatter_tensor). is deprecated.*",
        ".*torch.distributed is disabled, unavailable or uninitialized.*",
        ".*saving the DeepSpeed Stage 3 checkpoint.*",
        ".*Grad strides do not match bucket view strides.*",
    ):
        warnings.filterwarnings("ignore", message=message)


def has_fast_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 matrices in hardware."""
    try:
        return bool(torch.cpu._is_amx_tile_supported())
    except AttributeError:
        return False


def build_trackers(
    point: TrainedPoint, resume_step: int, ranks: Ranks, roll_backs: Sequence[dict[str, Any]]
) -> Tracker:
    """What the configuration names, on rank 0; the other ranks do not track.

    Args:
        point: what is trained.
        resume_step: optimizer step that it goes on from.
        ranks: of this process.
        roll_backs: of the record.
    """
    if not ranks.is_first:
        return Silent()
    return open_trackers(
        RunInfo(
            directory=point.directory,
            sweep=point.config["sweep_name"],
            name=point.name,
            identity=point.identity,
            axis=point.epoch.axis,
            config=point.config,
            resume_step=resume_step,
            roll_backs=tuple(roll_backs),
        )
    )
