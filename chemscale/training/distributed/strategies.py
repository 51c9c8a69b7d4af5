"""How the ranks of a point share its work: the axis ``strategy``, and what of it is right for what.

Weights, gradients and the optimizer's moments are float32 under every strategy and a mixed precision is
autocast in the forward pass alone, so that a strategy changes memory and speed and never the numbers
(``python -m chemscale.certify``).
"""

from __future__ import annotations

from datetime import timedelta
from importlib.metadata import PackageNotFoundError, version

import torch
from packaging.version import Version
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy, Strategy

from chemscale.training.distributed.control import GRACE
from chemscale.training.distributed.fsdp import FullyShardedStrategy
from chemscale.training.distributed.zero import ZeroStrategy
from chemscale.training.settings import RunSettings, StrategySettings

SHARDED_WEIGHTS = ("zero3", "fsdp2")
ZERO = ("zero1", "zero2", "zero3")


class StrategyError(ValueError):
    """A strategy that would train wrongly, or cannot run here; the message says what to use."""


# DeepSpeed releases that train wrongly: first, first good again, what is wrong with them.
BROKEN_DEEPSPEED = (
    ("0.17.6", "0.18.3", "wrong ZeRO-2 gradients under accumulation (DeepSpeed issue 7718)"),
    ("0.18.3", "0.19.4", "wrong ZeRO-2 gradients where a module is used twice (DeepSpeed issue 8224)"),
)
OLDEST_DEEPSPEED = "0.19.4"


def check_deepspeed(installed: str | None = None) -> None:
    """Refuse a DeepSpeed that is missing, untested, or known to train wrongly.

    Raises:
        StrategyError: with the release to install.
    """
    cure = f"pip install 'deepspeed>={OLDEST_DEEPSPEED},<0.20', or use strategy=ddp or strategy=fsdp2."
    if installed is None:
        try:
            installed = version("deepspeed")
        except PackageNotFoundError:
            raise StrategyError(f"ZeRO needs DeepSpeed, which is not installed: {cure}") from None
    found = Version(installed)
    for first, good, what in BROKEN_DEEPSPEED:
        if Version(first) <= found < Version(good):
            raise StrategyError(f"DeepSpeed {installed} has {what}: {cure}")
    if not Version(OLDEST_DEEPSPEED) <= found < Version("0.20"):
        raise StrategyError(f"DeepSpeed {installed} was not tested: {cure}")


def resolve(settings: StrategySettings, precision: str, world: int, *, forces: bool) -> str:
    """The strategy that a configuration means on so many ranks.

    Args:
        settings: the section ``strategy``.
        precision: of the forward pass.
        world: number of ranks.
        forces: whether the loss holds forces.

    Raises:
        StrategyError: not for this many ranks, or wrong for this kind of model or precision.
    """
    name, offload = settings.name, settings.offload
    if name == "auto":
        name = "single" if world == 1 else "ddp"
    if name == "single" and world > 1:
        raise StrategyError(
            f"strategy=single trains on one rank, but the launcher asks for {world}: choose ddp, zero1, "
            "zero2, zero3 or fsdp2, or set launcher.nodes=1 launcher.gpus_per_node=1."
        )
    if offload == "cpu" and name not in ZERO:
        raise StrategyError(f"strategy.offload=cpu is for zero1, zero2 and zero3, not {name}.")
    if forces and name in SHARDED_WEIGHTS:
        raise StrategyError(
            f"strategy={name} shares the weights and gathers them for one backward pass, but the loss on "
            "forces needs a second one through the same weights. Use strategy=ddp, or zero1 or zero2 for "
            "less memory."
        )
    if name in ZERO:
        check_deepspeed()
    if precision == "16-mixed" and name in (*ZERO, "fsdp2"):
        raise StrategyError(
            f"precision=16-mixed scales its loss, which strategy={name} does not do here: use "
            "precision=bf16-mixed, or strategy=ddp."
        )
    return name


def build_strategy(name: str, settings: RunSettings, device: torch.device) -> Strategy:
    """The Lightning strategy of a resolved name, on CUDA or on CPU ranks over gloo.

    Args:
        name: what ``resolve`` gave.
        settings: of the run.
        device: of this rank.
    """
    timeout = timedelta(minutes=settings.strategy.hang_minutes, seconds=GRACE)
    backend = "nccl" if device.type == "cuda" else "gloo"
    if name == "single":
        return SingleDeviceStrategy(device=device)
    if name == "ddp":
        # A loss without forces, or a molecule without charge, leaves weights of a potential unused.
        unused = settings.forces
        return DDPStrategy(
            process_group_backend=backend,
            timeout=timeout,
            find_unused_parameters=unused,
            gradient_as_bucket_view=True,
            broadcast_buffers=False,
        )
    if name == "fsdp2":
        return FullyShardedStrategy(process_group_backend=backend, timeout=timeout)
    return ZeroStrategy(
        stage=int(name[-1]),
        offload=settings.strategy.offload == "cpu",
        autocast=settings.trainer.precision == "bf16-mixed",
        process_group_backend=backend,
        timeout=timeout,
    )
