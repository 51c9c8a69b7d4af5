"""The whole weights from a checkpoint of any strategy, on one process and without a GPU."""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException

from chemscale.training.checkpointing.checkpoints import CheckpointError, layout_of
from chemscale.training.checkpointing.safe_pickle import check_pickles
from chemscale.training.distributed.zero import prepare_cpu


def load_weights(module: nn.Module, checkpoint: Path) -> None:
    """Fill a Lightning module that has whole weights.

    Args:
        module: with fresh weights.
        checkpoint: of any strategy.

    Raises:
        CheckpointError: the checkpoint holds other weights.
    """
    try:
        module.load_state_dict(whole_weights(checkpoint, module))
    except (RuntimeError, CheckpointException) as error:
        raise CheckpointError(f"{checkpoint} does not fit this model: {error}") from None


def whole_weights(checkpoint: Path, like: nn.Module) -> dict[str, Tensor]:
    """Every weight and buffer in full.

    Args:
        checkpoint: of any strategy.
        like: a module with the names and shapes, filled where a format needs a place to read into.

    Raises:
        UntrustedCheckpoint: it would run code when it is unpickled.
    """
    layout = layout_of(checkpoint)
    if layout is None:
        return torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    check_pickles(checkpoint)
    return _of_fsdp(checkpoint, like) if layout["strategy"] == "fsdp2" else _of_zero(checkpoint, like)


def _of_fsdp(checkpoint: Path, like: nn.Module) -> dict[str, Tensor]:
    from torch.distributed import checkpoint as dcp

    state = {"state_dict": like.state_dict()}
    with warnings.catch_warnings(action="ignore"):  # it remarks that there are no ranks
        dcp.load(state, checkpoint_id=str(checkpoint), no_dist=True)
    return state["state_dict"]


def _of_zero(checkpoint: Path, like: nn.Module) -> dict[str, Tensor]:
    """Up to stage 2 rank 0 saved all weights; at stage 3 DeepSpeed puts the parts together."""
    prepare_cpu()
    whole = checkpoint / "checkpoint" / "mp_rank_00_model_states.pt"
    if whole.exists():
        return torch.load(whole, map_location="cpu", weights_only=True)["module"]
    from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        trained = get_fp32_state_dict_from_zero_checkpoint(str(checkpoint), tag="checkpoint")
    return {**like.state_dict(), **trained}
